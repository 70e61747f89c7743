"""Writes triggers to Postgres, many in one statement: an alarm is there whole or not at all, a flood costs one flush.

Several doors, or several lanes of one, may write for the same people at once. Each first takes its people's turns, in
one order, and only then looks: whoever looked earlier would lock the incidents that were there first and those that
came since later, and two of them would wait in a circle. Then incidents are locked by their ids, as all do who write.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

import asyncpg
import orjson

from config.limits import SEVERITY_MAX
from engine.core.database import Connection
from engine.core.ids import IncidentId, PersonId
from engine.core.vocabulary import Door
from engine.people.crews import is_on_crew
from engine.safetap.incident_views import INCIDENT_JSON
from engine.safetap.policy import default_policy
from engine.safetap.trigger import TokenState, Trigger, Trust

ATTEMPTS_MAX: Final = 5
"""Attempts of one commit; each loser of a race sees the winner's row at its next attempt."""

TURNS: Final = 0x5AFE
"""The class of Postgres' advisory locks in which each person has one; it lasts as long as the transaction."""
TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock($1, turn) FROM unnest($2::integer[]) AS turn"


class StorableTrigger(Protocol):
    """What is written of a trigger; whose organisation and region it is, the person's row says."""

    @property
    def trigger(self) -> Trigger: ...  # noqa: D102
    @property
    def person_id(self) -> PersonId: ...  # noqa: D102
    @property
    def door(self) -> Door: ...  # noqa: D102
    @property
    def token_state(self) -> TokenState: ...  # noqa: D102
    @property
    def trust(self) -> Trust: ...  # noqa: D102
    @property
    def received_at_ms(self) -> int: ...  # noqa: D102
    @property
    def incident_id(self) -> IncidentId: ...  # noqa: D102
    @property
    def issued_at_ms(self) -> int | None: ...  # noqa: D102


SOFT: Final = """
(excluded.is_drill AND NOT had.is_drill
 OR excluded.trust = 'unverified' AND had.trust = 'verified' AND NOT (had.is_drill AND NOT excluded.is_drill))
"""
"""The further trigger is worth less than the incident: it is noted and changes nothing."""
NEWER: Final = """
(excluded.fix_at IS NOT NULL AND CASE WHEN had.trust = excluded.trust
   THEN excluded.fix_at >= coalesce(had.fix_at, excluded.fix_at) ELSE excluded.trust = 'verified' END)
"""
"""The further trigger's fix takes the place of the incident's. Nobody unverified moves a verified one."""

# Two devices or two doors may bring the same trigger at once: both see no such trigger, the second waits for the first
# one's incident, then breaks the key of `safetap_trigger`, which takes everything back; its next attempt finds the
# trigger (`known`). Each further press hastens the next step until the severity is at its limit; an acknowledged
# incident opens again, because the person needs more than the help that is on its way.
# One that a duress PIN has joined is one of duress from then on: no safe PIN stands that down.
# A drill that is joined by a real alarm becomes one; a real alarm that is joined by a drill only notes it. So it is
# with trust: a verified trigger makes an unverified incident verified, never the other way round. The same trigger
# that comes again verified (`vouched`) does the same. Then the ladder begins anew: what it told so far was for the
# desk alone, or was told as practice. Nobody is held back from work on an unverified word.
# Of one person at most one trigger is in a batch: no row is changed twice.
# A trigger came no later than now by the clock that escalators go by: a door whose own is ahead puts no step off. Nor
# is a fix newer than its trigger: a phone whose clock is ahead would hold on to its first place, and call it new.
TAKE_TRIGGERS: Final = (
    """
WITH turn AS MATERIALIZED (
  SELECT count(pg_advisory_xact_lock(:turns, turn)) AS taken
    FROM jsonb_to_recordset($1::text::jsonb) AS g (turn integer)
), sent AS (
  SELECT g.*, p.org_id, p.region_id, p.role,
         CASE WHEN p.tokens_valid_after > to_timestamp(g.issued_ms / 1000.0) THEN 'revoked'
              ELSE g.shown_state END AS token_state,
         CASE WHEN p.tokens_valid_after > to_timestamp(g.issued_ms / 1000.0) THEN 'unverified'
              ELSE g.shown_trust END AS trust,
         CASE WHEN g.fix_ms IS NOT NULL THEN least(to_timestamp(g.fix_ms / 1000.0), at.received) END AS fix_at,
         at.received AS received_at
    FROM jsonb_to_recordset($1::text::jsonb) AS g (
           position integer, trigger_id uuid, incident_id uuid, spare_id uuid, hold_id uuid, person_id uuid,
           kind text, is_drill boolean, severity integer, booking_id uuid, lat double precision, lng double precision,
           accuracy_m real, fix_ms bigint, received_ms bigint, door text, shown_state text, shown_trust text,
           issued_ms bigint, note jsonb)
    JOIN person p USING (person_id)
    CROSS JOIN LATERAL (SELECT least(to_timestamp(g.received_ms / 1000.0), clock_timestamp()) AS received) AS at
   WHERE (g.shown_trust = 'verified' OR p.role IN ('customer', 'worker')) AND (SELECT taken FROM turn) >= 0
), known AS (
  SELECT s.position, t.incident_id
    FROM sent s JOIN safetap_trigger t USING (person_id, trigger_id)
   WHERE t.trust = 'verified' OR s.trust = 'unverified'
), vouched AS (
  UPDATE safetap_trigger t
     SET trust = s.trust, token_state = s.token_state
    FROM sent s
   WHERE t.person_id = s.person_id AND t.trigger_id = s.trigger_id AND t.trust = 'unverified' AND s.trust = 'verified'
  RETURNING s.position
), placed AS (
  SELECT s.*, place.booking_id AS place_id, place.address_id
    FROM sent s
    LEFT JOIN LATERAL (
      SELECT b.booking_id, b.address_id, b.updated_at FROM booking b
       WHERE b.booking_id = s.booking_id AND (s.person_id IN (b.customer_id, b.worker_id) OR :on_crew)
      UNION ALL
      SELECT b.booking_id, b.address_id, b.updated_at FROM booking b
       WHERE s.booking_id IS NULL AND b.worker_id = s.person_id
         AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')
      UNION ALL
      SELECT b.booking_id, b.address_id, b.updated_at FROM booking b
       WHERE s.booking_id IS NULL AND b.customer_id = s.person_id
         AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')
       ORDER BY updated_at DESC
       LIMIT 1
    ) place ON true
   WHERE s.position NOT IN (SELECT position FROM known)
), locked AS (
  SELECT had.incident_id, had.trust, had.is_drill
    FROM incident had
   WHERE had.person_id IN (SELECT person_id FROM placed) AND had.state <> 'closed'
   ORDER BY had.incident_id
     FOR UPDATE
), raised AS (
  INSERT INTO incident AS had (incident_id, org_id, region_id, person_id, person_role, booking_id, kind, is_drill,
                               state, version, severity, policy, lat, lng, accuracy_m, fix_at, opened_at, trust)
  SELECT CASE WHEN EXISTS (SELECT FROM incident used WHERE used.incident_id = s.incident_id)
              THEN s.spare_id ELSE s.incident_id END,
         s.org_id, s.region_id, s.person_id, s.role, s.place_id, s.kind, s.is_drill, 'open', 1, s.severity,
         coalesce((SELECT body FROM escalation_policy e
                    WHERE e.org_id = s.org_id AND (e.region_id = s.region_id OR e.region_id IS NULL)
                    ORDER BY e.region_id NULLS LAST
                    LIMIT 1), $2::text::jsonb),
         s.lat, s.lng, s.accuracy_m, s.fix_at, s.received_at, s.trust
    FROM placed s
   WHERE (SELECT count(*) FROM locked) >= 0  -- the locks come first
   ORDER BY s.person_id
  ON CONFLICT (person_id) WHERE state <> 'closed' DO UPDATE
     SET version = had.version + 1,
         kind = CASE WHEN (had.is_drill OR excluded.kind = 'duress_pin') AND NOT :soft THEN excluded.kind
                     ELSE had.kind END,
         is_drill = had.is_drill AND excluded.is_drill,
         trust = CASE WHEN excluded.is_drill AND NOT had.is_drill THEN had.trust
                      WHEN had.is_drill AND NOT excluded.is_drill THEN excluded.trust
                      WHEN 'verified' IN (had.trust, excluded.trust) THEN 'verified' ELSE 'unverified' END,
         severity = CASE WHEN :soft THEN had.severity
                         ELSE least(greatest(had.severity, excluded.severity) + 1, $3) END,
         state = CASE WHEN :soft THEN had.state ELSE 'open' END,
         acknowledged_at = CASE WHEN :soft THEN had.acknowledged_at END,
         acknowledged_by = CASE WHEN :soft THEN had.acknowledged_by END,
         booking_id = CASE WHEN had.trust = 'unverified' AND excluded.trust = 'verified'
                           THEN coalesce(excluded.booking_id, had.booking_id)
                           ELSE coalesce(had.booking_id, excluded.booking_id) END,
         lat = CASE WHEN :newer THEN excluded.lat ELSE had.lat END,
         lng = CASE WHEN :newer THEN excluded.lng ELSE had.lng END,
         accuracy_m = CASE WHEN :newer THEN excluded.accuracy_m ELSE had.accuracy_m END,
         fix_at = CASE WHEN :newer THEN excluded.fix_at ELSE had.fix_at END
  RETURNING had.*
), taken AS (
  SELECT s.*, r.incident_id AS raised_id, r.version AS raised_version,
         (r.is_drill OR NOT s.is_drill) AND (r.trust = 'unverified' OR s.trust = 'verified') AS counts,
         EXISTS (SELECT FROM locked l
                  WHERE l.incident_id = r.incident_id
                    AND (r.trust = 'verified' AND l.trust = 'unverified' OR l.is_drill AND NOT r.is_drill)
         ) AS begins_anew
    FROM raised r JOIN placed s USING (person_id)
), trigger_row AS (
  INSERT INTO safetap_trigger (trigger_id, incident_id, person_id, door, kind, token_state, body, received_at, trust)
  SELECT trigger_id, raised_id, person_id, door, kind, token_state, note, received_at, trust
    FROM taken
   WHERE position NOT IN (SELECT position FROM vouched)
), event AS (
  INSERT INTO incident_event (incident_id, version, kind, actor_id, body, at)
  SELECT raised_id, raised_version,
         CASE WHEN raised_version = 1 THEN 'triggered'
              WHEN position IN (SELECT position FROM vouched) THEN 'vouched' ELSE 'retriggered' END,
         person_id,
         jsonb_strip_nulls(jsonb_build_object(
           'trigger_id', trigger_id, 'kind', kind, 'door', door, 'token', token_state, 'trust', trust,
           'ignored', note -> 'ignored', 'booking_refused', CASE WHEN place_id IS NULL THEN booking_id END)),
         received_at
    FROM taken
), timer AS (
  INSERT INTO incident_timer AS due (incident_id, due_at, step)
  SELECT raised_id, received_at, 1 FROM taken WHERE counts
  ON CONFLICT (incident_id) DO UPDATE
     SET due_at = least(due.due_at, excluded.due_at), fence = due.fence + 1, lease_until = NULL,
         step = CASE WHEN excluded.incident_id IN (SELECT raised_id FROM taken WHERE begins_anew)
                     THEN 1 ELSE due.step END,
         loop = due.loop + CASE WHEN excluded.incident_id IN (SELECT raised_id FROM taken WHERE begins_anew)
                                THEN 1 ELSE 0 END
   WHERE due.step = 1 OR (SELECT severity FROM raised r WHERE r.incident_id = due.incident_id) < $3
      OR due.incident_id IN (SELECT raised_id FROM taken WHERE begins_anew)
  RETURNING incident_id, due_at
), hold AS (
  INSERT INTO safety_hold (hold_id, org_id, incident_id, person_id, address_id, created_at)
  SELECT s.hold_id, s.org_id, r.incident_id, s.person_id, s.address_id, s.received_at
    FROM raised r JOIN placed s USING (person_id)
   WHERE NOT r.is_drill AND r.trust = 'verified'
     AND NOT EXISTS (SELECT FROM safety_hold held
                      WHERE held.incident_id = r.incident_id AND held.released_at IS NULL
                        AND (s.address_id IS NULL OR held.address_id = s.address_id))
), shown AS (
  INSERT INTO outbox (topic, kind, body, created_at)
  SELECT 'desk:' || i.org_id, 'incident', :incident_json, s.received_at
    FROM raised i
    JOIN placed s ON s.person_id = i.person_id
    JOIN person p ON p.person_id = i.person_id
    LEFT JOIN booking b ON b.booking_id = i.booking_id
    LEFT JOIN address a ON a.address_id = b.address_id
    LEFT JOIN LATERAL (
      SELECT coalesce((SELECT due_at FROM timer WHERE timer.incident_id = i.incident_id),
                      (SELECT due_at FROM incident_timer now_due WHERE now_due.incident_id = i.incident_id)) AS due_at
    ) t ON true
)
SELECT position, raised_id AS incident_id FROM taken UNION ALL SELECT position, incident_id FROM known
""".replace(":incident_json", INCIDENT_JSON)
    .replace(":on_crew", is_on_crew("s.person_id"))
    .replace(":soft", SOFT)
    .replace(":turns", str(TURNS))
    .replace(":newer", NEWER)
)


# The same, turns first, in one way to Postgres and back: on a crowded machine each way costs more than the work. It is
# the connection's own, so that there is one text, and no other than this program's, whatever runs beside.
DEFINE_TAKE_IN_TURN: Final = """
CREATE FUNCTION pg_temp.take_in_turn(text, text, integer) RETURNS SETOF record LANGUAGE plpgsql AS $define$
BEGIN
  PERFORM pg_advisory_xact_lock(:turns, turn)
     FROM (SELECT DISTINCT turn FROM jsonb_to_recordset($1::jsonb) AS g (turn integer) ORDER BY turn) AS people;
  RETURN QUERY :take;
END $define$
""".replace(":turns", str(TURNS)).replace(":take", TAKE_TRIGGERS)
TAKE_IN_TURN: Final = "SELECT * FROM pg_temp.take_in_turn($1, $2, $3) AS taken (position integer, incident_id uuid)"


async def rehearse(conn: Connection) -> None:
    """Prepare a new connection for `store_triggers(in_one=True)`.

    Postgres plans what it is asked first on a connection, and no alarm shall wait for that: this stores nothing.
    """
    await conn.execute(DEFINE_TAKE_IN_TURN)
    await conn.fetch(TAKE_IN_TURN, *_given([]))


async def store_triggers(
    conn: Connection, received: Sequence[StorableTrigger], *, new_id: Callable[[], UUID], in_one: bool = False
) -> list[IncidentId | None]:
    """Commit triggers and return their incidents' ids, in their order; what is there already changes nothing.

    `None` stands where the person does not exist (any more). Outside of a transaction each wave is one of its own,
    `in_one` way to Postgres and back where the connection was prepared for it by `rehearse`.

    Raises:
        asyncpg.IntegrityConstraintViolationError: the organisation or the region of somebody does not exist.
    """
    found: list[IncidentId | None] = [None] * len(received)
    for wave in _waves(received):
        rows = [_row(position, received[position], new_id) for position in wave]
        for position, incident_id in await _store(conn, rows, in_one=in_one):
            found[position] = IncidentId(incident_id)
    return found


async def store_trigger(conn: Connection, received: StorableTrigger, *, new_id: Callable[[], UUID]) -> IncidentId:
    """Commit one trigger and return its incident's id; the same trigger again changes nothing.

    Raises:
        asyncpg.ForeignKeyViolationError: the person does not exist.
    """
    (incident_id,) = await store_triggers(conn, [received], new_id=new_id)
    if incident_id is None:
        raise asyncpg.ForeignKeyViolationError("there is no such person")
    return incident_id


async def _store(conn: Connection, rows: Sequence[dict[str, Any]], *, in_one: bool) -> list[tuple[int, UUID]]:
    for attempt in range(ATTEMPTS_MAX):
        try:
            stored = await (conn.fetch(TAKE_IN_TURN, *_given(rows)) if in_one else _store_once(conn, rows))
        except (asyncpg.UniqueViolationError, asyncpg.TransactionRollbackError):
            if attempt == ATTEMPTS_MAX - 1:
                raise
        else:
            # asyncpg's own kind of UUID is none that orjson writes.
            return [(row["position"], UUID(int=row["incident_id"].int)) for row in stored]
    raise AssertionError("unreachable")


async def _store_once(conn: Connection, rows: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
    if len(rows) == 1:  # holds one incident, and so is in no circle: the statement itself waits for its turn
        return await conn.fetch(TAKE_TRIGGERS, *_given(rows))
    async with conn.transaction():
        await conn.execute(TAKE_TURNS, TURNS, sorted({row["turn"] for row in rows}))
        return await conn.fetch(TAKE_TRIGGERS, *_given(rows))


def _given(rows: Sequence[dict[str, Any]]) -> tuple[str, str, int]:
    return orjson.dumps(rows, default=str).decode(), orjson.dumps(default_policy()).decode(), SEVERITY_MAX


def _turn(person_id: PersonId) -> int:
    """Return a person's turn; the few people who share one wait for each other."""
    return int.from_bytes(person_id.bytes[-4:], signed=True)


def _waves(received: Sequence[StorableTrigger]) -> list[list[int]]:
    """Return positions in groups that hold nobody twice; each person's own triggers keep their order."""
    waves: list[list[int]] = []
    turns: dict[PersonId, int] = {}
    for position, one in enumerate(received):
        turn = turns.get(one.person_id, 0)
        turns[one.person_id] = turn + 1
        if turn == len(waves):
            waves.append([])
        waves[turn].append(position)
    return waves


def _row(position: int, received: StorableTrigger, new_id: Callable[[], UUID]) -> dict[str, Any]:
    trigger = received.trigger
    fix = trigger.fix
    return {
        "position": position,
        "trigger_id": trigger.trigger_id,
        "incident_id": received.incident_id,
        "spare_id": new_id(),
        "hold_id": new_id(),
        "person_id": received.person_id,
        "turn": _turn(received.person_id),
        "kind": trigger.kind.value,
        "is_drill": trigger.is_drill,
        "severity": trigger.severity,
        "booking_id": trigger.booking_id,
        "lat": None if fix is None else fix.lat_deg,
        "lng": None if fix is None else fix.lng_deg,
        "accuracy_m": None if fix is None else fix.accuracy_m,
        "fix_ms": None if fix is None else fix.ts_ms,
        "received_ms": received.received_at_ms,
        "door": received.door.value,
        "shown_state": received.token_state.value,
        "shown_trust": received.trust.value,
        "issued_ms": received.issued_at_ms,
        "note": {"ignored": trigger.ignored} if trigger.ignored else {},
    }
