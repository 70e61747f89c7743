"""The ladder as a state machine on a real Postgres: escalators that die, desks that come and go, people who leave."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config.limits import ARMED_LEASE_MS, ESCALATION_LEASE_MS
from engine.core.units import ms_from_utc
from engine.outbox.listener import Wake
from engine.people.keyring import Keyring, ensure_keyring
from engine.people.sealing import Sealing
from engine.safetap.armed_desks import arm
from engine.safetap.desk import acknowledge, close
from engine.safetap.escalation_loop import EscalationLoop
from tests.integration.safetap.test_escalation_loop import press
from tests.integration.safetap.world import NOW_MS, World

T = TypeVar("T")

pytestmark = pytest.mark.integration


class Store:
    """An event loop and a pool that the machine, which knows no `await`, can use."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.pool: asyncpg.Pool = self.run(self._open(url))

    async def _open(self, url: str) -> asyncpg.Pool:
        with TemporaryDirectory() as folder:
            sealing = Sealing(Keyring(ensure_keyring(Path(folder) / "keys.json")))
        return await asyncpg.create_pool(url, min_size=1, max_size=2, init=sealing.prepare)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self.pool.close())
        self.runner.close()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


class LadderInPostgres(RuleBasedStateMachine):
    """Each run has an organisation of its own."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.now_ms = NOW_MS
        self.world = self.store.run(World(self.store.pool).build())
        self.store.run(
            self.store.pool.execute("DELETE FROM incident_timer")
        )  # other runs' ladders are not ours to climb
        self.store.run(self.store.pool.execute("DELETE FROM armed_desk"))
        self.loop = EscalationLoop(pool=self.store.pool, wake=Wake(), new_id=uuid4)
        self.dead_ms: int | None = None
        self.is_live = False

    @rule()
    def press(self) -> None:
        self.store.run(press(self.world, at_ms=self.now_ms))
        self.is_live = True
        self.dead_ms = None

    @precondition(lambda self: self.is_live)
    @rule()
    def acknowledge(self) -> None:
        self.store.run(self.act(acknowledge))

    @precondition(lambda self: self.is_live)
    @rule()
    def close(self) -> None:
        self.store.run(self.act(close, reason="all is well"))
        self.is_live = False

    @rule(seconds=st.integers(0, 700))
    def wait(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        self.store.run(self.escalate())

    @precondition(lambda self: self.is_live)
    @rule()
    def kill_an_escalator_between_claim_and_commit(self) -> None:
        async def claim() -> int:
            async with self.store.pool.acquire() as conn:
                return len(await self.loop.claim(conn, self.now_ms))

        if self.store.run(claim()):
            self.dead_ms = self.now_ms

    @rule(is_other=st.booleans())
    def arm(self, *, is_other: bool) -> None:
        async def watch() -> None:
            person_id = self.world.other_dispatcher if is_other else self.world.dispatcher
            async with self.store.pool.acquire() as conn:
                await arm(
                    conn,
                    desk_id=uuid4(),
                    org_id=self.world.org_id,
                    person_id=person_id,
                    now_ms=self.now_ms,
                    for_ms=ARMED_LEASE_MS,
                )

        self.store.run(watch())

    @rule()
    def every_desk_is_left(self) -> None:
        self.store.run(self.store.pool.execute("DELETE FROM armed_desk"))

    @rule(status=st.sampled_from(["active", "suspended"]))
    def a_responder_comes_or_leaves(self, status: str) -> None:
        self.store.run(
            self.store.pool.execute(
                "UPDATE person SET status = $2 WHERE person_id = $1", self.world.other_dispatcher, status
            )
        )

    @rule(delay_s=st.integers(0, 300))
    def edit_the_policy(self, delay_s: int) -> None:
        step = {"delay_s": delay_s, "notify": [{"target": "dispatchers", "channels": ["email"]}]}
        steps = [{"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]}, step]
        self.store.run(self.store.pool.execute("DELETE FROM escalation_policy WHERE org_id = $1", self.world.org_id))
        self.store.run(self.world.set_policy(steps=steps))

    async def act(self, what: Any, **fields: object) -> None:
        incident = await self.store.pool.fetchrow(
            "SELECT incident_id FROM incident WHERE org_id = $1 AND state <> 'closed'", self.world.org_id
        )
        async with self.store.pool.acquire() as conn:
            actor = self.world.principal(self.world.dispatcher)
            await what(conn, incident_id=incident["incident_id"], actor=actor, now_ms=self.now_ms, **fields)

    async def escalate(self) -> None:
        """Do what an escalator's round does, until nothing is due."""
        async with self.store.pool.acquire() as conn:
            await self.loop.hurry(conn, self.now_ms)
            for _ in range(40):
                if not await self.loop.cycle(conn, self.now_ms):
                    return
        raise AssertionError("the ladder spins")

    @invariant()
    def a_live_incident_has_one_timer_and_others_none(self) -> None:
        timers = self.store.run(self.store.pool.fetch("SELECT * FROM incident_timer"))
        assert len(timers) == int(self.is_live)

    @invariant()
    def an_escalator_that_comes_now_finds_what_is_due(self) -> None:
        """Nothing but a dead escalator's lease, and that for no longer than a second, holds up what is due."""
        if not self.is_live:
            return
        timer = self.store.run(self.store.pool.fetchrow("SELECT due_at, lease_until FROM incident_timer"))
        if timer["lease_until"] is not None:
            assert self.dead_ms is not None
            assert ms_from_utc(timer["lease_until"]) <= self.dead_ms + ESCALATION_LEASE_MS

    @invariant()
    def the_history_skips_no_step(self) -> None:
        rows = self.store.run(
            self.store.pool.fetch(
                "SELECT e.incident_id, (e.body ->> 'step')::int AS step, (e.body ->> 'loop')::int AS loop, e.kind"
                "  FROM incident_event e JOIN incident i USING (incident_id)"
                " WHERE i.org_id = $1 AND e.body ? 'told' ORDER BY e.incident_id, e.version",
                self.world.org_id,
            )
        )
        last: dict[object, tuple[int, int]] = {}
        for row in rows:
            loop, step = last.get(row["incident_id"], (0, 0))
            is_next = (row["loop"], row["step"]) == (loop, step + 1)
            is_anew = row["loop"] > loop and (row["step"] == 1 or row["kind"] == "broadcast")
            assert is_next or is_anew, (loop, step, dict(row))
            last[row["incident_id"]] = (row["loop"], row["step"])

    def teardown(self) -> None:
        """Leave everything alone: within one ladder everybody who is left has been told."""
        if not self.is_live:
            return
        before = {row["notice_id"] for row in self.store.run(self.store.pool.fetch("SELECT notice_id FROM notice"))}
        for _ in range(12):
            due_at = self.store.run(
                self.store.pool.fetchval("SELECT greatest(due_at, lease_until) FROM incident_timer")
            )
            self.now_ms = max(self.now_ms, ms_from_utc(due_at))
            self.store.run(self.escalate())
        told = self.store.run(
            self.store.pool.fetch(
                "SELECT DISTINCT target FROM notice WHERE org_id = $1 AND NOT notice_id = ANY($2::uuid[])",
                self.world.org_id,
                list(before),
            )
        )
        left = self.store.run(
            self.store.pool.fetch(
                "SELECT person_id FROM person WHERE org_id = $1 AND status = 'active'"
                " AND role IN ('dispatcher', 'admin')",
                self.world.org_id,
            )
        )
        assert {f"person:{row['person_id']}" for row in left} | {"desk"} <= {row["target"] for row in told}


@pytest.mark.timeout(120)
def test_the_ladder_in_postgres(store: Store) -> None:
    run_state_machine_as_test(
        lambda: LadderInPostgres(store),
        settings=settings(
            max_examples=8, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
