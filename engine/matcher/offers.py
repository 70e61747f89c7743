"""What may become of an offer, and whom a booking may ask next. Pure: no clock, no store.

One worker is asked at a time, and every offer ends in exactly one of four ways. `engine.matcher.offer_store` repeats
these rules as conditional UPDATEs; the property tests hold the two together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from config.limits import OFFER_ASK_AGAIN_MS, OFFER_TTL_MS, OFFERS_PER_BOOKING_MAX
from engine.core.ids import PersonId
from engine.core.vocabulary import OfferState

TRANSITIONS: Final[Mapping[OfferState, frozenset[OfferState]]] = {
    OfferState.OPEN: frozenset({OfferState.ACCEPTED, OfferState.DECLINED, OfferState.EXPIRED, OfferState.WITHDRAWN}),
    OfferState.ACCEPTED: frozenset(),
    OfferState.DECLINED: frozenset(),
    OfferState.EXPIRED: frozenset(),
    OfferState.WITHDRAWN: frozenset(),
}
"""Where an offer may go from each state: once, and never back."""


class AnswerRefusal(StrEnum):
    """Why a worker's answer does not count."""

    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    ANSWERED_OTHERWISE = "answered_otherwise"


@dataclass(frozen=True, slots=True)
class PastOffer:
    """An offer of a booking that ended without a yes."""

    worker_id: PersonId
    state: OfferState
    ended_at_ms: int


def expiry_ms(sent_at_ms: int) -> int:
    """Return when an offer sent now stops counting (Unix ms); at that instant it no longer does."""
    return sent_at_ms + OFFER_TTL_MS


def answer(state: OfferState, expires_at_ms: int, *, accept: bool, now_ms: int) -> OfferState | AnswerRefusal:
    """Return the state that a worker's answer leads to, or why it does not count.

    The same answer given again leads where the first one led: a phone that lost our reply asks again.
    """
    wanted = OfferState.ACCEPTED if accept else OfferState.DECLINED
    if state is wanted:
        return wanted
    if state is OfferState.OPEN:
        return AnswerRefusal.EXPIRED if is_expired(state, expires_at_ms, now_ms) else wanted
    if state is OfferState.EXPIRED:
        return AnswerRefusal.EXPIRED
    if state is OfferState.WITHDRAWN:
        return AnswerRefusal.WITHDRAWN
    return AnswerRefusal.ANSWERED_OTHERWISE


def is_expired(state: OfferState, expires_at_ms: int, now_ms: int) -> bool:
    """Whether an offer has run out of time, marked so or not yet."""
    return state is OfferState.EXPIRED or (state is OfferState.OPEN and expires_at_ms <= now_ms)


def workers_not_to_ask(past: Iterable[PastOffer], *, ask_again: bool, now_ms: int) -> frozenset[PersonId]:
    """Return the workers whom a booking must not ask now.

    Who said no, or nothing, is not asked again for this booking. Only when nobody else is left (`ask_again`) does a
    no grow old: `limits.OFFER_ASK_AGAIN_MS` after their last answer they may be asked once more. An offer that was
    withdrawn says nothing about the worker.
    """
    latest_ms: dict[PersonId, int] = {}
    for offer in past:
        if offer.state in (OfferState.DECLINED, OfferState.EXPIRED):
            latest_ms[offer.worker_id] = max(offer.ended_at_ms, latest_ms.get(offer.worker_id, 0))
    if not ask_again:
        return frozenset(latest_ms)
    return frozenset(worker for worker, at_ms in latest_ms.items() if now_ms - at_ms < OFFER_ASK_AGAIN_MS)


def is_exhausted(offers_made: int) -> bool:
    """Whether a booking has asked as often as it may; then it goes to the desk as `unserved`."""
    return offers_made >= OFFERS_PER_BOOKING_MAX
