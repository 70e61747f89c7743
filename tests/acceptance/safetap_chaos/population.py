"""The people of a run: who is in danger, who answers; their tokens are minted as the API would."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import asyncpg

from engine.core.ids import PersonId, WorkerSlot
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens
from sim.client.rest import Tokens
from tests.acceptance.safetap_chaos.victims import wall_ms
from tests.conftest import TokenKeys
from tests.integration.safetap.world import World

RENEWED_MS = 300_000
PHONE = "+351910000011"
STEPS_S = (0, 2, 2)
REPEAT_S = FOLLOW_UP_S = 10


@dataclass(slots=True)
class Minted:
    """Somebody signed in, in the shape that the simulator's clients want."""

    person_id: str
    role: Role
    slot: int | None
    mint: "Mint"
    _tokens: Tokens | None = None
    _renew_ms: int = 0

    @property
    def tokens(self) -> Tokens:
        if self._tokens is None or wall_ms() >= self._renew_ms:
            self._tokens, self._renew_ms = self.mint.tokens(self), wall_ms() + RENEWED_MS
        return self._tokens

    async def access_token(self) -> str:
        return self.tokens.access_token

    async def refreshed(self, *, instead_of: str | None) -> str:
        if self.tokens.access_token == instead_of:
            self._renew_ms = 0
        return self.tokens.access_token


@dataclass
class Mint:
    """Signs tokens of one organisation."""

    world: World
    keys: TokenKeys
    signer: AccessTokens = field(init=False)

    def __post_init__(self) -> None:
        self.signer = AccessTokens(public_key_pem=self.keys.public_pem, private_key_pem=self.keys.private_pem)

    def account(self, person_id: UUID, role: Role, slot: int | None = None) -> Minted:
        return Minted(str(person_id), role, slot, self)

    def tokens(self, one: Minted) -> Tokens:
        token = self.signer.issue(
            person_id=PersonId(UUID(one.person_id)),
            role=one.role,
            org_id=self.world.org_id,
            region_id=self.world.region_id,
            slot=None if one.slot is None else WorkerSlot(one.slot),
            session_id=uuid4(),
            now_ms=wall_ms(),
        )
        return Tokens(token, wall_ms() + 2 * RENEWED_MS, "", one.person_id, one.role.value)


@dataclass(frozen=True, slots=True)
class Population:
    """Who takes part."""

    in_danger: Sequence[Minted]
    on_sockets: Sequence[Minted]
    """Workers whose phone calls through the gateway."""
    responder: Minted


async def settle_people(pool: asyncpg.Pool, mint: Mint, *, people: int, on_sockets: int, hook_url: str) -> Population:
    """Found the organisation, its ladder and everybody in it."""
    world = await mint.world.build()
    people_ids = [PersonId(uuid4()) for _ in range(people)]
    worker_ids = [PersonId(uuid4()) for _ in range(on_sockets)]
    async with pool.acquire() as conn, conn.transaction():
        for number, person_id in enumerate(people_ids):
            await world.add_person(conn, person_id, Role.CUSTOMER, f"Somebody{number}")
        for number, person_id in enumerate(worker_ids):
            await world.add_person(conn, person_id, Role.WORKER, f"Worker{number}")
            await conn.execute("INSERT INTO worker (worker_id, updated_at) VALUES ($1, now())", person_id)
        await conn.execute("UPDATE person SET phone = $2 WHERE person_id = $1", world.dispatcher, PHONE)
        await conn.execute("UPDATE person SET email = NULL WHERE person_id <> $1", world.admin)
    await world.set_policy(steps=_ladder(), repeat_s=REPEAT_S, follow_up_s=FOLLOW_UP_S, webhook_url=hook_url)
    slots = {row["worker_id"]: row["slot"] for row in await pool.fetch("SELECT worker_id, slot FROM worker")}
    return Population(
        [mint.account(one, Role.CUSTOMER) for one in people_ids],
        [mint.account(one, Role.WORKER, slots[one]) for one in worker_ids],
        mint.account(world.dispatcher, Role.DISPATCHER),
    )


def _ladder() -> list[dict[str, object]]:
    webhook = {"target": "webhook", "channels": ["webhook"]}
    told = (
        [{"target": "desk", "channels": ["desk"]}, webhook],
        [{"target": "dispatchers", "channels": ["sms"]}],
        [{"target": "admins", "channels": ["email"]}, webhook],
    )
    return [{"delay_s": delay_s, "notify": notify} for delay_s, notify in zip(STEPS_S, told, strict=True)]
