"""The desk's word over a search: give a booking to a worker, pin one, let go of them, search again, see who was asked.

The matcher's hard rules bind the desk, too, each by its name; what the matcher would only weigh, or pass over, comes
back as a warning. Who did it stands in the booking's history and in the audit log.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from engine.booking.booking_store import transition
from engine.booking.lifecycle import ACTIVE_STATES
from engine.core.crash_point import crash_point
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import BookingId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import BookingState, MatchingRule, MatchingWarning, Withdrawal
from engine.matcher.offer_store import is_still_asked, withdraw_elsewhere, withdraw_offers
from engine.matcher.rule_store import Place, lock_pair, read_drawbacks
from engine.matcher.rules import broken_rules, drawbacks_of
from engine.people.audit import append_audit
from engine.people.tokens import Principal

JsonObject = dict[str, object]

OPEN_STATES: Final = frozenset({BookingState.SEARCHING, BookingState.OFFERED})
PASSING_RULES: Final = frozenset(
    {MatchingRule.OFF_DUTY, MatchingRule.BUSY, MatchingRule.SHIFT, MatchingRule.WORKING_TIME}
)
"""What may be over by the time a pinned worker is asked: the matcher looks again, and waits."""

LOCK_BOOKING_OF_ORG: Final = """
SELECT state, version, worker_id, pinned_worker_id FROM booking WHERE booking_id = $1 AND org_id = $2 FOR UPDATE
"""
SET_PIN: Final = "UPDATE booking SET pinned_worker_id = $2 WHERE booking_id = $1"
# What a matcher has in hand was chosen without the desk's word: a new fence voids it, and the search is due at once.
SEARCH_ANEW: Final = """
UPDATE booking SET fence = fence + 1, lease_until = NULL, next_attempt_at = $2
 WHERE booking_id = $1 AND state = 'searching'
"""
OFFERS: Final = """
SELECT offer_id, worker_id, state, round, ended_reason, eta_s, sent_at, expires_at, answered_at
  FROM offer WHERE booking_id = $1 ORDER BY sent_at, offer_id
"""
IS_CUSTOMER_ACTIVE: Final = """
SELECT EXISTS (SELECT FROM booking b JOIN person p ON p.person_id = b.customer_id
                WHERE b.booking_id = $1 AND p.status = 'active')
"""
BOOKING_OF_ORG: Final = "SELECT pinned_worker_id, hand_backs FROM booking WHERE booking_id = $1 AND org_id = $2"


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom the desk wants for which booking, and what is known of it before anything is locked."""

    booking_id: BookingId
    worker_id: PersonId
    place: Place | None
    """Where they are; `None`: nobody knows."""
    is_in_area: bool
    """Whether the pin lies where the organisation works."""
    eta_s: int | None = None
    """How long they need from there, by the installation's travel times; `None`: nobody knows, or nobody asks."""


async def assign(
    conn: Connection, wish: Wish, *, actor: Principal, reason: str, expected_version: int | None, now_ms: int
) -> tuple[JsonObject, list[MatchingWarning]]:
    """Give a booking to a worker without asking them, pin it there, and return it with what speaks against it.

    Raises:
        NotFound: the organisation has no such booking, or no such worker.
        Conflict: a hard rule forbids it (its name is in the text), or the booking is past searching.
    """
    async with conn.transaction():
        booking = await _locked(conn, wish.booking_id, actor)
        if BookingState(booking["state"]) not in OPEN_STATES:
            raise Conflict(f"A booking that is {booking['state']} is not assigned anew: it is handed back first.")
        broken, warnings = await _checked(conn, wish, now_ms=now_ms)
        if broken:
            raise Conflict(_refusal(broken), field="worker_id")
        await withdraw_offers(conn, booking_id=wish.booking_id, reason=Withdrawal.ASSIGNED, now_ms=now_ms)
        await withdraw_elsewhere(conn, wish.worker_id, wish.booking_id, now_ms=now_ms)
        view = await transition(
            conn,
            booking_id=wish.booking_id,
            to=BookingState.ASSIGNED,
            actor=actor,
            reason=reason or "assigned by the desk",
            now_ms=now_ms,
            expected_version=expected_version,
            worker_id=wish.worker_id,
            eta_s=wish.eta_s,
        )
        await conn.execute(SET_PIN, wish.booking_id, wish.worker_id)
        await _note(conn, actor, "booking.assigned", wish, warnings, now_ms=now_ms)
        crash_point("assignment_written")
    return view, warnings


async def pin(conn: Connection, wish: Wish, *, actor: Principal, now_ms: int) -> list[MatchingWarning | MatchingRule]:
    """Let the matcher ask this worker and nobody else, or keep the job with the one who has it.

    Returns:
        What speaks against it; of hard rules those that may be over when the worker is asked.

    Raises:
        NotFound: the organisation has no such booking, or no such worker.
        Conflict: a hard rule that does not pass by waiting forbids it, or another worker has the job, or it is over.
    """
    async with conn.transaction():
        booking = await _locked(conn, wish.booking_id, actor)
        state = BookingState(booking["state"])
        if state in ACTIVE_STATES and booking["worker_id"] == wish.worker_id:
            speaks_against: list[MatchingWarning | MatchingRule] = []
            await withdraw_offers(conn, booking_id=wish.booking_id, reason=Withdrawal.PINNED, now_ms=now_ms)
        elif state in OPEN_STATES:
            broken, warnings = await _checked(conn, wish, now_ms=now_ms)
            lasting = [rule for rule in broken if rule not in PASSING_RULES]
            if lasting:
                raise Conflict(_refusal(lasting), field="worker_id")
            speaks_against = [*broken, *warnings]
        else:
            raise Conflict(f"A booking that is {state} cannot be pinned to this worker.")
        await conn.execute(SET_PIN, wish.booking_id, wish.worker_id)
        if state in OPEN_STATES:
            await _turn_to(conn, wish, state, actor=actor, now_ms=now_ms)
        await _note(conn, actor, "booking.pinned", wish, speaks_against, now_ms=now_ms)
    return speaks_against


async def unpin(conn: Connection, booking_id: BookingId, *, actor: Principal, now_ms: int) -> None:
    """Let the matcher choose again.

    Raises:
        NotFound: the organisation has no such booking, or nobody is pinned to it.
    """
    async with conn.transaction():
        booking = await _locked(conn, booking_id, actor)
        if booking["pinned_worker_id"] is None:
            raise NotFound
        await conn.execute(SET_PIN, booking_id, None)
        await conn.execute(SEARCH_ANEW, booking_id, utc_from_ms(now_ms))
        wish = Wish(booking_id, booking["pinned_worker_id"], None, is_in_area=True)
        await _note(conn, actor, "booking.unpinned", wish, [], now_ms=now_ms)


async def search_again(
    conn: Connection, booking_id: BookingId, *, actor: Principal, reason: str, expected_version: int | None, now_ms: int
) -> JsonObject:
    """Search again for a booking that was given up, as for a new one, and return it.

    Every rule is looked at again when somebody is asked; who said no is asked again when nobody else is left.

    Raises:
        NotFound: the organisation has no such booking.
        Conflict: it was not given up, somebody else moved first, or its customer takes part no more.
    """
    async with conn.transaction():
        booking = await _locked(conn, booking_id, actor)
        if BookingState(booking["state"]) is not BookingState.UNSERVED:
            raise Conflict(f"A booking that is {booking['state']} was not given up.")
        if not await conn.fetchval(IS_CUSTOMER_ACTIVE, booking_id):
            raise Conflict("Its customer takes part no more.")
        view = await transition(
            conn,
            booking_id=booking_id,
            to=BookingState.SEARCHING,
            actor=actor,
            reason=reason or "searched for again",
            now_ms=now_ms,
            expected_version=expected_version,
        )
        await append_audit(
            conn,
            org_id=actor.org_id,
            actor_id=actor.person_id,
            action="booking.searched_again",
            subject=f"booking:{booking_id}",
            now_ms=now_ms,
        )
    return view


async def asked_for(conn: Connection, booking_id: BookingId, *, actor: Principal) -> JsonObject:
    """Return who is pinned, how often a worker dropped out, and every offer with how it ended, oldest first.

    Raises:
        NotFound: the organisation has no such booking.
    """
    booking = await conn.fetchrow(BOOKING_OF_ORG, booking_id, actor.org_id)
    if booking is None:
        raise NotFound
    return {
        "pinned_worker_id": booking["pinned_worker_id"],
        "hand_backs": booking["hand_backs"],
        "items": [
            {
                "offer_id": row["offer_id"],
                "worker_id": row["worker_id"],
                "state": row["state"],
                "reason": row["ended_reason"],
                "round": row["round"],
                "eta_s": row["eta_s"],
                "sent_at": rfc3339(row["sent_at"]),
                "expires_at": rfc3339(row["expires_at"]),
                "ended_at": rfc3339(row["answered_at"]),
            }
            for row in await conn.fetch(OFFERS, booking_id)
        ],
    }


async def _locked(conn: Connection, booking_id: BookingId, actor: Principal) -> asyncpg.Record:
    booking = await conn.fetchrow(LOCK_BOOKING_OF_ORG, booking_id, actor.org_id)
    if booking is None:
        raise NotFound
    return booking


async def _checked(
    conn: Connection, wish: Wish, *, now_ms: int
) -> tuple[tuple[MatchingRule, ...], list[MatchingWarning]]:
    pair = await lock_pair(conn, wish.booking_id, wish.worker_id, now_ms=now_ms)
    if pair is None:
        raise NotFound("There is no such worker here.")
    pair = replace(pair, is_in_area=wish.is_in_area)
    more = await read_drawbacks(conn, wish.booking_id, wish.worker_id, place=wish.place, now_ms=now_ms)
    return broken_rules(pair, now_ms=now_ms), list(drawbacks_of(pair, more, now_ms=now_ms))


async def _turn_to(conn: Connection, wish: Wish, state: BookingState, *, actor: Principal, now_ms: int) -> None:
    await withdraw_offers(
        conn, booking_id=wish.booking_id, reason=Withdrawal.PINNED, now_ms=now_ms, but_of=wish.worker_id
    )
    if state is BookingState.SEARCHING:
        await conn.execute(SEARCH_ANEW, wish.booking_id, utc_from_ms(now_ms))
    elif not await is_still_asked(conn, wish.booking_id):
        await transition(
            conn,
            booking_id=wish.booking_id,
            to=BookingState.SEARCHING,
            actor=actor,
            reason="pinned to a worker",
            now_ms=now_ms,
        )


def _refusal(broken: Sequence[MatchingRule]) -> str:
    return f"Ruled out by {', '.join(broken)}."


async def _note(
    conn: Connection, actor: Principal, action: str, wish: Wish, warnings: Sequence[str], *, now_ms: int
) -> None:
    await append_audit(
        conn,
        org_id=actor.org_id,
        actor_id=actor.person_id,
        action=action,
        subject=f"booking:{wish.booking_id}",
        now_ms=now_ms,
        detail={"worker_id": str(wish.worker_id), "warnings": list(warnings)},
    )
