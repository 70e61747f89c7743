"""Who signs in how: by the cache, by a batch and codes, again when the server was made anew."""

import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from sim.client.clock import wall_ms
from sim.client.rest import Account, Rest, Tokens
from sim.client.roster import Person, Roster, TokenCache, stable_number
from tests.unit.sim.phone_server import PhoneServer

PEOPLE = [Person(f"w{number}", "worker", f"Worker {number}", ("cleaning",), 4.5) for number in range(3)]


class People(PhoneServer):
    """Makes people and codes, and signs them in by code."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[dict[str, Any]]] = []
        self.is_new = False
        """Knows nobody who signed in before."""

    async def _rest(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        body = await request.json() if request.can_read_body else {}
        match request.path:
            case "/v1/people/batch":
                self.batches.append(body["people"])
                made = [
                    {
                        "person_id": p["external_ref"],
                        "external_ref": p["external_ref"],
                        "enrolment_code": "C" + p["external_ref"],
                    }
                    for p in body["people"]
                ]
                return aiohttp.web.json_response({"items": made})
            case "/v1/auth/enrol":
                return aiohttp.web.json_response(tokens(body["code"][1:]))
            case "/v1/me":
                status = 401 if self.is_new else 200
                return aiohttp.web.json_response({"person_id": "w0", "code": "not_signed_in"}, status=status)
            case _:
                return aiohttp.web.json_response({"code": "not_signed_in"}, status=401)


def tokens(ref: str) -> dict[str, Any]:
    return {
        "access_token": f"a-{ref}",
        "expires_in_s": 900,
        "refresh_token": f"r-{ref}",
        "person_id": ref,
        "role": "worker",
    }


@pytest.fixture
async def people() -> AsyncIterator[People]:
    server = People()
    async with server.running():
        yield server


async def bring(people: People, cache: TokenCache) -> dict[str, Account]:
    arrived: dict[str, Account] = {}
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, people.url)
        admin = Account(rest, Tokens("admin", wall_ms() + 900_000, "r", "admin", "admin"))
        await Roster(rest, admin, cache).bring(
            PEOPLE, lambda person, account: arrived.update({person.external_ref: account})
        )
    return arrived


async def test_everybody_is_made_in_a_batch_and_enrolled(people: People) -> None:
    arrived = await bring(people, TokenCache(None, server="s"))
    assert sorted(arrived) == ["w0", "w1", "w2"]
    assert arrived["w1"].tokens.access_token == "a-w1"
    assert people.batches == [
        [
            {
                "external_ref": f"w{n}",
                "role": "worker",
                "full_name": f"Worker {n}",
                "skills": ["cleaning"],
                "rating": 4.5,
            }
            for n in range(3)
        ]
    ]


async def test_the_second_start_needs_no_admin(people: People, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "cache.json"
    await bring(people, TokenCache(file, server="s"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    cache = TokenCache(file, server="s")
    arrived = await bring(people, cache)
    assert len(people.batches) == 1
    assert arrived["w2"].tokens.refresh_token == "r-w2"
    assert cache.kept == {"w0", "w1", "w2"}


async def test_a_server_made_anew_gets_everybody_again(people: People, tmp_path: Path) -> None:
    file = tmp_path / "cache.json"
    await bring(people, TokenCache(file, server="s"))
    people.is_new = True
    assert len(await bring(people, TokenCache(file, server="s"))) == 3
    assert len(people.batches) == 2


async def test_a_dead_refresh_token_is_healed_by_a_new_code(people: People) -> None:
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, people.url)
        admin = Account(rest, Tokens("admin", wall_ms() + 900_000, "r", "admin", "admin"))
        arrived: list[Account] = []
        await Roster(rest, admin, TokenCache(None, server="s")).bring(
            PEOPLE[:1], lambda _, account: arrived.append(account)
        )
        arrived[0].tokens = Tokens("old", 0, "dead", "w0", "worker")
        assert await arrived[0].access_token() == "a-w0"
    assert len(people.batches) == 2


async def test_places_are_kept_and_only_changes_are_written(people: People, tmp_path: Path) -> None:
    file = tmp_path / "cache.json"
    cache = TokenCache(file, server="s")
    await bring(people, cache)
    await cache.save({"w0": (41.1, -8.6)})
    written = file.stat().st_mtime_ns
    await cache.save({"w0": (41.1, -8.6)})
    assert file.stat().st_mtime_ns == written
    again = TokenCache(file, server="s")
    assert set(again.load()) == {"w0", "w1", "w2"}
    assert again.places == {"w0": (41.1, -8.6)}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", orjson.dumps({"server": "s", "people": {"w0": {}}, "places": {}})]
)
def test_a_spoilt_cache_is_no_cache(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "cache.json"
    file.write_bytes(content)
    assert TokenCache(file, server="s").load() == {}


def test_the_cache_of_another_server_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "cache.json"
    file.write_bytes(orjson.dumps({"server": "other", "people": {}, "places": {}}))
    assert TokenCache(file, server="s").load() == {}


def test_stable_numbers_do_not_change_between_two_starts() -> None:
    assert stable_number("worker 1") == stable_number("worker 1") != stable_number("worker 2")
    assert stable_number("worker 1") == 3_933_930_981
