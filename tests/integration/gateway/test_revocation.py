"""A sign-in that ends takes its open sockets with it, on every gateway, and opens no new ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import socketio

from engine.core.database import Pool
from engine.core.ids import PersonId, WorkerSlot
from engine.core.vocabulary import Role
from engine.people.refresh_tokens import add_refresh_token
from engine.people.revocation import tell_people_ended
from engine.people.sign_in import refresh, sign_out
from tests.integration.gateway.harness import ORG, REGION, City, Page, Stage, eventually, page_on, phone_on

pytestmark = pytest.mark.integration


class SignIn:
    """One sign-in of a person: the tokens that their device keeps."""

    def __init__(self, stage: Stage, pool: Pool, person_id: UUID, role: Role, slot: int | None = None) -> None:
        self.session_id = uuid4()
        self.person_id = PersonId(person_id)
        self.access = stage.tokens.issue(
            person_id=self.person_id,
            role=role,
            org_id=ORG,
            region_id=REGION,
            slot=None if slot is None else WorkerSlot(slot),
            session_id=self.session_id,
            now_ms=stage.clock.now_ms(),
        )
        self.refresh = ""
        self._pool = pool
        self._stage = stage

    async def begin(self) -> "SignIn":
        now_ms = self._stage.clock.now_ms()
        self.refresh = await add_refresh_token(
            self._pool, person_id=self.person_id, family_id=self.session_id, now_ms=now_ms
        )
        return self

    async def sign_out(self) -> None:
        principal = self._stage.tokens.verify(self.access, self._stage.clock.now_ms())
        async with self._pool.acquire() as conn, conn.transaction():
            await sign_out(conn, refresh_token=self.refresh, principal=principal, now_ms=self._stage.clock.now_ms())


@asynccontextmanager
async def console_of(stage: Stage, sign_in: SignIn) -> AsyncIterator[Page]:
    async with page_on(stage, "/console", {"token": sign_in.access}) as page:
        await page.hear("welcome")
        yield page


async def test_a_console_that_signed_out_is_closed_and_hears_nothing_more(stage: Stage, pool: Pool, city: City) -> None:
    leaver = await SignIn(stage, pool, await city.person(Role.DISPATCHER, "D"), Role.DISPATCHER).begin()
    other = await SignIn(stage, pool, leaver.person_id, Role.DISPATCHER).begin()
    async with console_of(stage, leaver) as leaving, console_of(stage, other) as staying:
        await leaver.sign_out()
        await city.relay(stage)
        assert (await leaving.hear("error"))["code"] == "not_signed_in"
        await leaving.hear("disconnect")
        await stage.publish(f"desk:{ORG}", "incident", {"incident_id": str(uuid4())})
        await staying.hear("incident")
        assert leaving.heard.empty(), "no event of the desk after the end of the sign-in"
        assert len(stage.gateway.services.registry) == 1
        with pytest.raises(socketio.exceptions.ConnectionError, match="failed to connect: /console"):
            async with console_of(stage, leaver):
                pass


async def test_a_worker_whose_refresh_token_came_back_spent_is_closed(stage: Stage, pool: Pool, city: City) -> None:
    thief = await SignIn(stage, pool, await city.worker(5), Role.WORKER, slot=5).begin()
    async with phone_on(stage, thief.access) as phone:
        await phone.hear(0)
        for _ in range(2):
            async with pool.acquire() as conn, conn.transaction():
                await refresh(conn, stage.tokens, refresh_token=thief.refresh, now_ms=stage.clock.now_ms())
        await city.relay(stage)
        assert await phone.close_code() == 4401
    async with phone_on(stage, thief.access) as again:
        assert await again.close_code() == 4401
        assert again.frames[0][1]["code"] == "not_signed_in"


async def test_a_person_whose_tokens_have_ended_is_closed_everywhere(stage: Stage, pool: Pool, city: City) -> None:
    person_id = await city.person(Role.DISPATCHER, "D")
    first = await SignIn(stage, pool, person_id, Role.DISPATCHER).begin()
    second = await SignIn(stage, pool, person_id, Role.DISPATCHER).begin()
    async with console_of(stage, first) as one, console_of(stage, second) as two:
        async with pool.acquire() as conn, conn.transaction():
            await tell_people_ended(conn, [PersonId(person_id)], now_ms=stage.clock.now_ms() + 1)
        await city.relay(stage)
        for page in (one, two):
            assert (await page.hear("error"))["code"] == "not_signed_in"
            await page.hear("disconnect")


async def _suspend(pool: Pool, sign_in: SignIn) -> None:
    await pool.execute("UPDATE person SET status = 'suspended' WHERE person_id = $1", sign_in.person_id)


async def _sign_out_unheard(pool: Pool, sign_in: SignIn) -> None:
    await pool.execute("UPDATE refresh_token SET revoked_at = issued_at WHERE family_id = $1", sign_in.session_id)


@pytest.mark.parametrize("end", [_suspend, _sign_out_unheard])
async def test_what_no_event_told_is_found_when_a_session_opens_and_after_a_gap(
    stage: Stage, pool: Pool, city: City, end: Any
) -> None:
    sign_in = await SignIn(stage, pool, await city.worker(5), Role.WORKER, slot=5).begin()
    async with phone_on(stage, sign_in.access) as phone:
        await phone.hear(0)
        await eventually(lambda: not stage.gateway.services.registry._unchecked)
        await end(pool, sign_in)
        stage.gateway._after_gap()
        assert await phone.close_code() == 4401
    async with phone_on(stage, sign_in.access) as again:
        assert await again.close_code() == 4401


async def test_while_postgres_is_away_everybody_stays(stage: Stage, pool: Pool, city: City) -> None:
    sign_in = await SignIn(stage, pool, await city.worker(5), Role.WORKER, slot=5).begin()
    async with phone_on(stage, sign_in.access) as phone:
        await phone.hear(0)
        calls = stage.gateway.services.calls
        pool_before, calls._pool = calls._pool, None
        stage.gateway._revocations.check_all()
        await eventually(lambda: bool(stage.gateway.services.registry._unchecked))
        await phone.send(4, 1, "state", {})
        assert (await phone.hear(5))[3]["code"] == "unavailable"
        calls._pool = pool_before
        await eventually(lambda: not stage.gateway.services.registry._unchecked)
        await phone.send(4, 2, "state", {})
        assert (await phone.hear(5))[2] is True
