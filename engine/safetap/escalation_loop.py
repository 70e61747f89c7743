"""Takes the steps that are due. Any number of these loops may run: none leads, none is needed.

A cycle reads the database's clock once, claims what is due (lease and fence, SKIP LOCKED), decides (pure), and writes
the notices, the history and the next timer in one transaction. A loop that is killed in between has changed nothing but
a lease; a claim that somebody else has overtaken (an acknowledgement, a further trigger, an expired lease) is void,
because each of them moves the fence.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Never
from uuid import UUID

import asyncpg
import orjson
import structlog

from config.jurisdictions import Jurisdictions, load_jurisdictions
from config.limits import (
    ESCALATION_BATCH_MAX,
    ESCALATION_LEASE_MS,
    ESCALATION_PAUSE_MS,
    ESCALATION_POLL_MS,
    ESCALATION_RETRY_MS,
)
from engine.core.clock import Clock
from engine.core.crash_point import crash_point
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.ids import IncidentId
from engine.core.units import MS_PER_S, ms_from_utc, utc_from_ms
from engine.core.vocabulary import Channel, IncidentState, NoticeState
from engine.outbox.durable_loop import LOOP_FAILURES, end_if_cancelled, together_or_alone
from engine.outbox.listener import Wake
from engine.people.crews import is_on_crew, workers_of
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.escalation import Decision, Haste, Incident, Timer, decide
from engine.safetap.escalation_facts import DueIncident, load_facts
from engine.safetap.incident_store import read_clock, read_policy
from engine.safetap.metrics import OPEN_INCIDENTS, STEP_LATENESS, STEPS
from engine.safetap.policy import Policy
from engine.safetap.trigger import Trust

log = structlog.get_logger(__name__)

ReadClock = Callable[[Connection], Awaitable[int]]
"""Returns the Unix milliseconds that a whole cycle goes by: `incident_store.read_clock`, or a test's own time."""

GAUGE_MS: Final = 1_000
"""How often the open incidents are counted: the count reads all of them."""
PAUSE_MS_MIN: Final = 10
"""What is due may be in another loop's hands: look again this soon, but do not spin."""

# A claim need not outlive Postgres, and so it waits for no disk: lost with it, the step is due and free again, and its
# claimer's connection is gone. Only this statement's own transaction is eased.
CLAIM: Final = """
WITH eased AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
UPDATE incident_timer
   SET fence = fence + 1, lease_until = $2
  FROM eased
 WHERE incident_id IN (SELECT incident_id FROM incident_timer
                        WHERE due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
                        ORDER BY due_at
                        LIMIT $3
                          FOR UPDATE SKIP LOCKED)
RETURNING incident_id, fence
"""

# Steps that waited because a desk was armed, and none is any more that may answer. A press or an acknowledgement in
# between has set a time of its own. SKIP LOCKED: never waiting, this statement needs no order of locks.
DESERTED: Final = """
SELECT t.incident_id
  FROM incident_timer t
  JOIN incident i USING (incident_id)
  LEFT JOIN booking b USING (booking_id)
 WHERE t.waits_for_desk AND t.due_at > $1 AND i.state = 'open'
   AND NOT EXISTS (SELECT FROM armed_desk a
                    WHERE a.org_id = i.org_id AND a.lease_until > $1 AND a.person_id <> i.person_id
                      AND a.person_id IS DISTINCT FROM b.customer_id AND a.person_id IS DISTINCT FROM b.worker_id
                      AND NOT :on_crew)
""".replace(":on_crew", is_on_crew("a.person_id"))
HURRY: Final = f"""
UPDATE incident_timer
   SET due_at = $1, waits_for_desk = false, fence = fence + 1, lease_until = NULL
 WHERE incident_id IN ({DESERTED} FOR UPDATE OF t SKIP LOCKED)
"""  # noqa: S608 - both are written above

# What is under somebody's lease counts from the lease's end: it may have to be taken over then.
NEXT_DUE: Final = """
SELECT (extract(epoch FROM min(greatest(due_at, coalesce(lease_until, due_at)))) * 1000)::bigint FROM incident_timer
"""

# Incidents before timers, and in the order of their ids: every writer takes locks in this order.
LOCK_INCIDENTS: Final = """
SELECT i.incident_id, i.org_id, i.person_id, i.state, i.is_drill, i.trust, i.policy::text AS policy,
       b.customer_id, :workers AS worker_ids
  FROM incident i LEFT JOIN booking b USING (booking_id)
 WHERE i.incident_id = ANY($1::uuid[])
 ORDER BY i.incident_id
   FOR UPDATE OF i
""".replace(":workers", workers_of())

# Locked, so that nobody can take the claim over between this look at the fence and the step.
CLAIMED_TIMERS: Final = """
SELECT t.incident_id, t.step, t.loop, t.due_at, t.fence
  FROM incident_timer t
  JOIN unnest($1::uuid[], $2::bigint[]) AS claim (incident_id, fence) USING (incident_id, fence)
 ORDER BY t.incident_id
   FOR UPDATE OF t
"""

TAKE_STEPS: Final = """
WITH step AS (
  SELECT * FROM unnest($2::uuid[], $3::integer[], $4::text[], $5::text[],
                       $6::timestamptz[], $7::integer[], $8::integer[], $9::boolean[])
             AS step (incident_id, number, kind, body, next_due_at, next_step, next_loop, waits_for_desk)
), timer AS (
  UPDATE incident_timer t
     SET due_at = step.next_due_at, step = step.next_step, loop = step.next_loop,
         waits_for_desk = step.waits_for_desk, lease_until = NULL
    FROM step
   WHERE t.incident_id = step.incident_id
), changed AS (
  UPDATE incident i
     SET step = step.number, state = 'open', version = version + 1, acknowledged_at = NULL, acknowledged_by = NULL
    FROM step
   WHERE i.incident_id = step.incident_id
  RETURNING i.incident_id, i.version, step.kind, step.body
)
INSERT INTO incident_event (incident_id, version, kind, body, at)
SELECT incident_id, version, kind, body::jsonb, $1 FROM changed
"""

# A notice to the desk is sent by this very transaction. The address of a person's own contact stays in its envelope;
# in its place stands what tells it from others, and by which an answer from that number is known.
ADD_NOTICES: Final = """
INSERT INTO notice (notice_id, incident_id, org_id, idempotency_key, step, loop, target, channel, address,
                    address_sealed, state, due_at, created_at, sent_at)
SELECT notice_id, incident_id, org_id, key, step, loop, target, channel,
       CASE WHEN own.sealed IS NULL THEN address
            ELSE 'index:' || encode(coalesce(own.index, sha256(own.sealed)), 'hex') END,
       own.sealed, state, $1::timestamptz, $1, CASE WHEN state = 'sent' THEN $1 END
  FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::integer[], $8::text[], $9::text[],
              $10::text[], $11::text[])
    AS new (notice_id, incident_id, org_id, key, step, loop, target, channel, address, state)
  LEFT JOIN LATERAL (
    SELECT CASE channel WHEN 'email' THEN c.email_sealed ELSE c.phone_sealed END AS sealed,
           CASE channel WHEN 'email' THEN NULL ELSE c.phone_index END AS index
      FROM safety_contact c
     WHERE c.contact_id = CASE WHEN target LIKE 'contact:%' THEN substring(target FROM 9 FOR 36)::uuid END) own ON true
ON CONFLICT (idempotency_key) DO NOTHING
"""

LIVE_INCIDENTS: Final = "SELECT count(*) FROM incident WHERE state <> 'closed'"


@dataclass(frozen=True, slots=True)
class Claim:
    """A timer that this loop holds until its lease ends, unless its fence moves first."""

    incident_id: IncidentId
    fence: int


class EscalationLoop:
    """One escalator. `wake` is set when a timer may have become due earlier than expected."""

    def __init__(
        self,
        *,
        pool: Pool,
        wake: Wake,
        new_id: Callable[[], UUID],
        read_clock: ReadClock = read_clock,
        jurisdictions: Jurisdictions | None = None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Without `jurisdictions` those of the installation are read, and checked. `on_round` hears of whole rounds."""
        self._pool = pool
        self._on_round = on_round
        self._wake = wake
        self._new_id = new_id
        self._read_clock = read_clock
        self._counted_at_ms = 0
        self._jurisdictions = load_jurisdictions() if jurisdictions is None else jurisdictions

    async def run(self, clock: Clock) -> Never:
        """Take what is due until cancelled, through restarts of Postgres.

        While Postgres is away it is asked again at one short pace, and not ever more slowly as elsewhere: a ladder that
        stands still is what this process must not have.
        """
        while True:
            try:
                until_ms = await self.round()
                self._on_round()
                # What comes in these milliseconds is taken together; what came alone was taken at once.
                await clock.sleep_ms(ESCALATION_PAUSE_MS)
                await self._wake.wait(until_ms)
            except POSTGRES_ERRORS as error:
                end_if_cancelled()
                LOOP_FAILURES.labels("escalation").inc()
                log.warning("escalation.store_away", error=repr(error))
                await clock.sleep_ms(ESCALATION_RETRY_MS)

    async def round(self) -> float:
        """Take everything that is due; return after how many milliseconds something may be due again."""
        async with self._pool.acquire() as conn:
            now_ms = await self._read_clock(conn)
            await self.hurry(conn, now_ms)
            while await self.cycle(conn, now_ms) == ESCALATION_BATCH_MAX:
                now_ms = await self._read_clock(conn)
            next_due_ms = await conn.fetchval(NEXT_DUE)
            if now_ms >= self._counted_at_ms + GAUGE_MS:
                self._counted_at_ms = now_ms
                OPEN_INCIDENTS.set(await conn.fetchval(LIVE_INCIDENTS))
        until_due_ms = ESCALATION_POLL_MS if next_due_ms is None else next_due_ms - now_ms
        return min(ESCALATION_POLL_MS, max(PAUSE_MS_MIN, until_due_ms))

    async def hurry(self, conn: Connection, now_ms: int) -> None:
        """Make due at once what waits for a desk that is armed no more."""
        # An update of timers wakes every escalator, this one too, even where it changes none.
        if not await conn.fetch(DESERTED, utc_from_ms(now_ms)):
            return
        hurried = await conn.execute(HURRY, utc_from_ms(now_ms))
        if hurried != "UPDATE 0":
            log.warning("escalation.no_armed_desk", timers=int(hurried.removeprefix("UPDATE ")))

    async def cycle(self, conn: Connection, now_ms: int) -> int:
        """Claim and take one batch of due steps; return how many were claimed."""
        claims = await self.claim(conn, now_ms)
        if claims:
            crash_point("step_claimed")
            await together_or_alone(
                lambda some: self.take(conn, some, now_ms),
                claims,
                batch_failed="escalation.batch_failed",
                claim_failed="escalation.step_failed",
                named=lambda claim: {"incident_id": str(claim.incident_id)},
            )
        return len(claims)

    async def claim(self, conn: Connection, now_ms: int) -> list[Claim]:
        """Lease what is due and free, the longest overdue first."""
        lease_until = utc_from_ms(now_ms + ESCALATION_LEASE_MS)
        rows = await conn.fetch(CLAIM, utc_from_ms(now_ms), lease_until, ESCALATION_BATCH_MAX)
        return [Claim(row["incident_id"], row["fence"]) for row in rows]

    async def take(self, conn: Connection, claims: Sequence[Claim], now_ms: int) -> int:
        """Take the claimed steps in one transaction; return how many claims still held."""
        async with conn.transaction():
            due = await _load(conn, claims)
            if not due:
                return 0
            facts = await load_facts(conn, due, jurisdictions=self._jurisdictions, now_ms=now_ms)
            steps = [
                (one.incident, decide(one.incident, one.policy, now_ms, facts=facts[one.incident.incident_id]))
                for one in due
            ]
            await _save_steps(conn, steps, now_ms)
            crash_point("step_written")
            await self._save_notices(conn, steps, now_ms)
            await show_at_desk(conn, [one.incident_id for one, _ in steps], now_ms=now_ms)
        crash_point("step_taken")
        for one, decision in steps:
            _observe(one, decision, now_ms)
        return len(steps)

    async def _save_notices(self, conn: Connection, steps: Sequence[tuple[Incident, Decision]], now_ms: int) -> None:
        rows = [
            (
                self._new_id(), one.incident_id, one.org_id,
                f"{one.incident_id}/{decision.loop}/{decision.step}/{notice.target}/{notice.channel}",
                decision.step, decision.loop, notice.target, notice.channel.value, notice.address,
                (NoticeState.SENT if notice.channel is Channel.DESK else NoticeState.PENDING).value,
            )
            for one, decision in steps
            for notice in decision.notices
        ]  # fmt: skip
        if rows:
            await conn.execute(ADD_NOTICES, utc_from_ms(now_ms), *map(list, zip(*rows, strict=True)))


async def _load(conn: Connection, claims: Sequence[Claim]) -> list[DueIncident]:
    """Lock the claimed incidents; return those whose claim still holds."""
    locked = await conn.fetch(LOCK_INCIDENTS, [claim.incident_id for claim in claims])
    timers = {
        row["incident_id"]: Timer(row["step"], row["loop"], ms_from_utc(row["due_at"]))
        for row in await conn.fetch(
            CLAIMED_TIMERS, [claim.incident_id for claim in claims], [claim.fence for claim in claims]
        )
    }
    policies: dict[str, Policy] = {}
    due = []
    for row in locked:
        if row["incident_id"] not in timers:
            continue
        text = row["policy"]
        if text not in policies:
            policies[text] = read_policy(text, row["incident_id"])
        due.append(DueIncident(_incident(row, timers[row["incident_id"]]), row["person_id"], policies[text]))
    return due


def _incident(row: asyncpg.Record, timer: Timer) -> Incident:
    stakes = (row["person_id"], row["customer_id"], *row["worker_ids"])
    return Incident(
        incident_id=row["incident_id"],
        org_id=row["org_id"],
        state=IncidentState(row["state"]),
        timer=timer,
        excluded=frozenset(person_id for person_id in stakes if person_id is not None),
        is_drill=row["is_drill"],
        is_verified=row["trust"] == Trust.VERIFIED,
    )


async def _save_steps(conn: Connection, steps: Sequence[tuple[Incident, Decision]], now_ms: int) -> None:
    rows = [
        (
            one.incident_id, decision.step, decision.kind.value, _event_body(decision),
            utc_from_ms(decision.next_timer.due_at_ms), decision.next_timer.step, decision.next_timer.loop,
            decision.waits_for_desk,
        )
        for one, decision in steps
    ]  # fmt: skip
    await conn.execute(TAKE_STEPS, utc_from_ms(now_ms), *map(list, zip(*rows, strict=True)))


def _event_body(decision: Decision) -> str:
    told = [f"{notice.channel}:{notice.target}" for notice in decision.notices]
    body: dict[str, object] = {"step": decision.step, "loop": decision.loop, "told": told}
    if decision.haste is not None:
        body["haste"] = decision.haste.value
    if not decision.is_desk_armed:
        body["is_desk_armed"] = False
    return orjson.dumps(body).decode()


def _observe(incident: Incident, decision: Decision, now_ms: int) -> None:
    STEPS.labels(decision.kind.value).inc()
    STEP_LATENESS.observe((now_ms - incident.timer.due_at_ms) / MS_PER_S)
    if decision.haste is Haste.NOBODY_TOLD:
        log.warning("escalation.step_told_nobody", incident_id=str(incident.incident_id), step=decision.step)
