"""Reads why a booking's workers were asked, for the desk. Every look is recorded: it tells how far away people were."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final
from uuid import UUID

from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import BookingId, OrgId, PersonId
from engine.matcher.cost_policy import CostPolicy, CostWeights
from engine.matcher.decision_record import DecisionRecord, decode
from engine.matcher.packed import RecordError
from engine.matcher.record_store import StoredDecision, answers_of, names_of, org_of, read_decisions
from engine.matcher.why import Person, RecordState, Told, logged_candidates, why
from engine.people.audit import append_audit

READ: Final = "decision.read"

Answers = Mapping[tuple[int, UUID], str]


async def read_why(
    conn: Connection, booking_id: BookingId, *, org_id: OrgId, actor_id: PersonId | None, limit: int, now_ms: int
) -> list[dict[str, object]]:
    """Return the newest decisions about a booking in full, newest first, and record the look. One transaction.

    Raises:
        NotFound: the organisation has no such booking.
    """
    if await org_of(conn, booking_id) != org_id:
        raise NotFound
    stored = await read_decisions(conn, booking_id, org_id=org_id, limit=limit)
    answers = await answers_of(conn, booking_id)
    opened = await asyncio.to_thread(lambda: [opened_of(each) for each in stored])
    everybody = {worker_id for _, record in opened if record is not None for worker_id in record.worker_ids}
    everybody |= {
        UUID(candidate["worker_id"])
        for each, (_, record) in zip(stored, opened, strict=True)
        if record is None
        for candidate in logged_candidates(each.detail)
    }
    names = await names_of(conn, everybody, org_id=org_id)
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action=READ,
        subject=f"booking:{booking_id}",
        now_ms=now_ms,
        detail={"decisions": len(stored), "workers": len(everybody)},
    )
    return await asyncio.to_thread(_told, stored, opened, names, answers)


def opened_of(stored: StoredDecision) -> tuple[RecordState, DecisionRecord | None]:
    """Return the record of a decision, and whether there is one as it was written."""
    if stored.body is None:
        return RecordState.NONE, None
    try:
        return RecordState.KEPT, decode(stored.body)
    except RecordError:
        return RecordState.DAMAGED, None


def _told(
    stored: Sequence[StoredDecision],
    opened: Sequence[tuple[RecordState, DecisionRecord | None]],
    names: Mapping[UUID, str],
    answers: Answers,
) -> list[dict[str, object]]:
    return [
        why(
            Told(
                dispatch_id=each.dispatch_id,
                at_ms=each.at_ms,
                outcome=each.outcome,
                took_us=each.took_us,
                detail=each.detail,
                people={who: Person(name, answers.get((each.at_ms, who))) for who, name in names.items()},
                policy=_policy(each, record),
                record_state=state,
            ),
            record,
        )
        for each, (state, record) in zip(stored, opened, strict=True)
    ]


def _policy(stored: StoredDecision, record: DecisionRecord | None) -> dict[str, object] | None:
    """Return the policy with the weights that counted for this booking."""
    if stored.policy is None or stored.policy_hash is None or record is None:
        return None
    return {
        "label": stored.policy_label,
        "hash": stored.policy_hash.hex(),
        "weights": asdict(weights_of(stored.policy, stored.org_id, record)),
    }


def weights_of(policy: CostPolicy, org_id: OrgId, record: DecisionRecord) -> CostWeights:
    """Return the weights that counted for the booking of a record."""
    service_id = record.asked.service_id
    return policy.weights_for(org_id, None if service_id is None else UUID(service_id))
