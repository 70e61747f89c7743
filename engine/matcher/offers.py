"""What may become of an offer, whom a booking may ask next, how many at once, how far away, and when. Pure.

One worker or several are asked in a round; every offer ends once, and only one of a round can be won.
`engine.matcher.offer_store` repeats these rules as conditional UPDATEs; the property tests hold the two together. The
legal moves themselves are `engine.booking.lifecycle`'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from config.limits import (
    DISPATCH_RETRY_MS,
    DISPATCH_RETRY_MS_MAX,
    OFFER_ASK_AGAIN_MS,
    OFFERS_PER_BOOKING_MAX,
)
from engine.core.ids import PersonId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import OfferState
from engine.matcher.offer_policy import OfferPolicy

NO_STATES: Final = frozenset({OfferState.DECLINED, OfferState.EXPIRED})
"""How an offer ends by its worker's no, or by saying nothing."""
RETRY_SHARE: Final = 1 / 16
"""A search that finds nobody is tried again after this share of its age."""


class AnswerRefusal(StrEnum):
    """Why a worker's answer does not count."""

    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    ANSWERED_OTHERWISE = "answered_otherwise"


@dataclass(frozen=True, slots=True)
class PastOffer:
    """An offer of a booking that ended without a yes, or whose yes was taken back."""

    worker_id: PersonId
    state: OfferState
    ended_at_ms: int
    round: int = 1
    """Offers of one number were sent together; 0: the desk had assigned the job without one."""


@dataclass(frozen=True, slots=True)
class OfferRound:
    """What a booking does next: ask `at_once` workers, and look for them in each of `radii_m` until some are found."""

    number: int
    at_once: int
    radii_m: tuple[int, ...]
    answer_ms: int


def next_round(policy: OfferPolicy, past: Iterable[PastOffer]) -> OfferRound:
    """Return the round that follows these offers: more at once, and further away, the more often nobody said yes.

    Where nobody is found within the round's radius, the wider ones follow at once: waiting would help nobody. Rounds
    that were withdrawn as a whole say nothing and do not count.
    """
    offers = tuple(past)
    before = len({offer.round for offer in offers if offer.state in NO_STATES})
    taken = max((offer.round for offer in offers), default=0)
    return OfferRound(
        number=taken + 1,
        at_once=_of_round(policy.at_once, before),
        radii_m=policy.radius_m[min(before, len(policy.radius_m) - 1) :],
        answer_ms=policy.answer_s * MS_PER_S,
    )


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
    no grow old: `limits.OFFER_ASK_AGAIN_MS` after their last answer they may be asked once more, and twice as long
    after each further one. Then who lost the job to somebody sooner may be asked, too. Who dropped out of the job is
    never asked for it again. An offer that was withdrawn says nothing about the worker.
    """
    said_no: dict[PersonId, int] = {}
    latest_ms: dict[PersonId, int] = {}
    dropped_out: set[PersonId] = set()
    replaced: set[PersonId] = set()
    for offer in past:
        if offer.state is OfferState.HANDED_BACK:
            dropped_out.add(offer.worker_id)
        elif offer.state is OfferState.REPLACED:
            replaced.add(offer.worker_id)
        elif offer.state in NO_STATES:
            said_no[offer.worker_id] = said_no.get(offer.worker_id, 0) + 1
            latest_ms[offer.worker_id] = max(offer.ended_at_ms, latest_ms.get(offer.worker_id, 0))
    if not ask_again:
        return frozenset(latest_ms) | dropped_out | replaced
    too_soon = {who for who, at_ms in latest_ms.items() if now_ms - at_ms < _rest_ms(said_no[who])}
    return frozenset(too_soon | dropped_out)


def is_exhausted(past: Iterable[PastOffer], *, since_ms: int) -> bool:
    """Whether a search that began at `since_ms` has asked as often as it may: then it is `unserved`, and the desk's."""
    answered = [offer for offer in past if offer.state in NO_STATES and offer.ended_at_ms >= since_ms]
    return len(answered) >= OFFERS_PER_BOOKING_MAX


def retry_after_ms(searched_ms: int) -> int:
    """Return when a search that found nobody is tried again: soon at first, then as its age allows."""
    return min(max(DISPATCH_RETRY_MS, round(searched_ms * RETRY_SHARE)), DISPATCH_RETRY_MS_MAX)


def _of_round(row: tuple[int, ...], before: int) -> int:
    return row[min(before, len(row) - 1)]


def _rest_ms(said_no: int) -> int:
    return OFFER_ASK_AGAIN_MS << min(said_no - 1, OFFERS_PER_BOOKING_MAX)
