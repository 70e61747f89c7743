"""Brings people into being through the public door: created by an admin in batches, enrolled by code, remembered.

The cache file holds refresh tokens: it is readable by its owner only and is as secret as the people's phones.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from sim.client.errors import Refused
from sim.client.rest import Account, Rest, Tokens, enrol

BATCH_PEOPLE: Final = 250
ENROLMENTS_AT_ONCE: Final = 12


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who shall exist. `external_ref` is our own name for them and stays theirs."""

    external_ref: str
    role: str
    full_name: str
    skills: tuple[str, ...] = ()
    rating: float | None = None
    experience: float | None = None

    def body(self) -> dict[str, Any]:
        """Return the person as `POST /v1/people/batch` takes it; absent fields are left out."""
        return {name: list(value) if name == "skills" else value for name, value in asdict(self).items() if value}


Arrival = Callable[[Person, Account], None]


Places = Mapping[str, tuple[float, float]]
"""Where people are, `(lat_deg, lng_deg)` by external reference."""


class TokenCache:
    """Tokens by external reference in one file, and where people were; without a path nothing is kept.

    The places matter because a phone does not forget where it is: somebody who starts again at the other end of the
    city is a jump to the server.
    """

    def __init__(self, path: Path | None, *, server: str) -> None:
        self._path = path
        self._server = server
        self._accounts: dict[str, Account] = {}
        self._saved: tuple[int, Places] | None = None
        self.places: dict[str, tuple[float, float]] = {}
        """Where people were when the file was last written; filled by `load`."""
        self.kept: frozenset[str] = frozenset()
        """Whose tokens the file had; filled by `load`."""

    def load(self) -> dict[str, Tokens]:
        """Return what was kept for this server; nothing where there is no file, or it is of another server."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            kept = orjson.loads(self._path.read_bytes())
            if kept["server"] != self._server:
                return {}
            tokens = {ref: Tokens(**tokens) for ref, tokens in kept["people"].items()}
            self.places = {ref: (float(lat), float(lng)) for ref, (lat, lng) in kept["places"].items()}
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return {}
        self.kept = frozenset(tokens)
        return tokens

    def add(self, external_ref: str, account: Account) -> None:
        """Keep the tokens of `account` from now on."""
        self._accounts[external_ref] = account
        self._saved = None

    async def save(self, places: Places | None = None) -> None:
        """Write the file if a token or a place changed since it was last written."""
        state = (sum(account.exchanges for account in self._accounts.values()), places or {})
        if self._path is None or state == self._saved or not self._accounts:
            return
        people = {ref: asdict(account.tokens) for ref, account in self._accounts.items()}
        content = {"server": self._server, "people": people, "places": state[1]}
        await asyncio.to_thread(_write_private, self._path, content)
        self._saved = state


def _write_private(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(path.suffix + ".new")
    beside.touch(mode=0o600)
    beside.write_bytes(orjson.dumps(content))
    beside.replace(path)


class Roster:
    """Turns `Person`s into accounts: from the cache where it still holds, through the admin where it does not."""

    def __init__(self, rest: Rest, admin: Account, cache: TokenCache) -> None:
        self._rest = rest
        self._admin = admin
        self._cache = cache
        self.enrolled = 0

    async def bring(self, people: Sequence[Person], on_arrival: Arrival) -> None:
        """Call `on_arrival` with every one of `people` as soon as they are signed in.

        Raises:
            Refused: the admin may not create people, or a person breaks a rule.
            Disconnected: the server is away.
        """
        kept = await self._living_tokens(people)
        missing: list[Person] = []
        for person in people:
            tokens = kept.get(person.external_ref)
            if tokens is None:
                missing.append(person)
            else:
                self._arrive(person, Account(self._rest, tokens), on_arrival)
        for start in range(0, len(missing), BATCH_PEOPLE):
            await self._enrol_batch(missing[start : start + BATCH_PEOPLE], on_arrival)
        await self._cache.save()

    async def _living_tokens(self, people: Sequence[Person]) -> Mapping[str, Tokens]:
        """Return the cached tokens, none where the first of them is dead: then the server was made anew."""
        kept = self._cache.load()
        first = next((kept[person.external_ref] for person in people if person.external_ref in kept), None)
        if first is None:
            return {}
        probe = Account(self._rest, first)
        try:
            me = await self._rest.get("/v1/me", account=probe)
        except Refused:
            return {}
        if me.get("person_id") != first.person_id:
            return {}
        return {ref: probe.tokens if tokens == first else tokens for ref, tokens in kept.items()}

    async def _enrol_batch(self, people: Sequence[Person], on_arrival: Arrival) -> None:
        codes = await self._codes(people)
        at_once = asyncio.Semaphore(ENROLMENTS_AT_ONCE)

        async def arrive(person: Person) -> None:
            async with at_once:
                account = await enrol(self._rest, codes[person.external_ref])
            self.enrolled += 1
            self._arrive(person, account, on_arrival)

        await asyncio.gather(*(arrive(person) for person in people))

    async def _codes(self, people: Sequence[Person]) -> dict[str, str]:
        answer = await self._rest.post(
            "/v1/people/batch", {"people": [person.body() for person in people]}, account=self._admin
        )
        return {item["external_ref"]: item["enrolment_code"] for item in answer["items"]}

    def _arrive(self, person: Person, account: Account, on_arrival: Arrival) -> None:
        account.recovery = partial(self._enrol_again, person)
        self._cache.add(person.external_ref, account)
        on_arrival(person, account)

    async def _enrol_again(self, person: Person) -> Tokens:
        codes = await self._codes([person])
        return (await enrol(self._rest, codes[person.external_ref])).tokens


def stable_number(text: str) -> int:
    """Return a number that the same text always gives, for what shall not change between two starts."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest())
