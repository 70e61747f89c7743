"""The judge of histories is judged: a sound one passes, and each fault in it is found."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest

from engine.core.vocabulary import BookingState, OfferState
from tests.integration.matcher.offer_history import Booking, Event, History, Offer, faults

S, Ends = BookingState, OfferState
ANN, BOB, CID = (UUID(int=n) for n in (1, 2, 3))
ONE, TWO = UUID(int=11), UUID(int=12)
OFFERS = [UUID(int=n) for n in range(21, 25)]

STORY = [
    Event(ONE, 1, None, S.SEARCHING),
    Event(ONE, 2, S.SEARCHING, S.OFFERED, at=10),
    Event(ONE, 3, S.OFFERED, S.ASSIGNED, at=20),
    Event(ONE, 4, S.ASSIGNED, S.SEARCHING, at=30),
    Event(ONE, 5, S.SEARCHING, S.OFFERED, at=40),
    Event(ONE, 6, S.OFFERED, S.ASSIGNED, at=50),
]
SOUND = History(
    bookings=[Booking(ONE, S.ASSIGNED, 6, CID), Booking(TWO, S.UNSERVED, 2)],
    events=[*STORY, Event(TWO, 1, None, S.SEARCHING), Event(TWO, 2, S.SEARCHING, S.UNSERVED, reason="nobody")],
    offers=[
        Offer(OFFERS[0], ONE, ANN, Ends.HANDED_BACK, 10, 20),
        Offer(OFFERS[1], ONE, BOB, Ends.WITHDRAWN, 10, 20, "taken"),
        Offer(OFFERS[2], ONE, CID, Ends.ACCEPTED, 40, 50),
    ],
    rung=Counter(OFFERS[:3]),
    gone=Counter(OFFERS[:3]),
)

TAKEN_OVER = History(
    bookings=[Booking(ONE, S.ASSIGNED, 8, BOB)],
    events=[*STORY, Event(ONE, 7, S.ASSIGNED, S.SEARCHING, at=70), Event(ONE, 8, S.SEARCHING, S.ASSIGNED, at=70)],
    offers=[
        *SOUND.offers[:2],
        replace(SOUND.offers[2], state=Ends.REPLACED),
        Offer(OFFERS[3], ONE, BOB, Ends.ACCEPTED, 60, 70, replaces=CID),
    ],
    rung=Counter(OFFERS),
    gone=Counter(OFFERS),
)


def with_offer(number: int, **changes: object) -> History:
    offers = [replace(offer, **changes) if n == number else offer for n, offer in enumerate(SOUND.offers)]
    return replace(SOUND, offers=offers)


def with_booking(number: int, **changes: object) -> History:
    bookings = [replace(each, **changes) if n == number else each for n, each in enumerate(SOUND.bookings)]
    return replace(SOUND, bookings=bookings)


FAULTS: dict[str, Callable[[], History]] = {
    "given to 2": lambda: with_offer(0, state=Ends.ACCEPTED),
    "has it": lambda: with_booking(0, worker_id=ANN),
    "lost": lambda: replace(
        with_booking(0, state=S.SEARCHING, version=4, worker_id=None), events=[*STORY[:4], *SOUND.events[6:]]
    ),
    "does not begin": lambda: with_booking(0, state=S.EN_ROUTE),
    "versions": lambda: replace(SOUND, events=SOUND.events[1:]),
    "and then from": lambda: replace(
        SOUND, events=[*STORY[:5], replace(STORY[5], state_from=S.SEARCHING), *SOUND.events[6:]]
    ),
    "illegal": lambda: replace(
        SOUND,
        events=[*SOUND.events[:7], replace(SOUND.events[7], state_to=S.COMPLETED)],
        bookings=[SOUND.bookings[0], replace(SOUND.bookings[1], state=S.COMPLETED)],
    ),
    "unserved without a reason": lambda: replace(
        SOUND, events=[*SOUND.events[:7], replace(SOUND.events[7], reason="")]
    ),
    "still rings": lambda: with_offer(1, state=Ends.OPEN, ended_at=None, reason=None),
    "with an end": lambda: with_offer(2, ended_at=None),
    "for the reason": lambda: with_offer(1, reason=None),
    "taken by nobody": lambda: with_offer(1, ended_at=21),
    "rang 2 times": lambda: replace(SOUND, rung=Counter([*OFFERS[:3], OFFERS[0]])),
    "rang 0 times": lambda: replace(SOUND, rung=Counter(OFFERS[1:3])),
    "end was told 0": lambda: replace(SOUND, gone=Counter(OFFERS[1:3])),
    "rounds of offers": lambda: with_offer(2, sent_at=41),
    "2 times offered, 3 rounds": lambda: replace(
        TAKEN_OVER, offers=[*TAKEN_OVER.offers[:3], replace(TAKEN_OVER.offers[3], replaces=None)]
    ),
    "jobs at once": lambda: with_booking(1, state=S.ASSIGNED, worker_id=CID),
    "offers ring": lambda: replace(
        SOUND,
        offers=[*SOUND.offers, *(Offer(OFFERS[3], booking, ANN, Ends.OPEN, 60, None) for booking in (ONE, TWO))],
    ),
}


@pytest.mark.parametrize("history", [SOUND, TAKEN_OVER])
def test_a_sound_history_passes(history: History):
    assert faults(history) == []


@pytest.mark.parametrize("words", FAULTS)
def test_each_fault_is_found(words: str):
    found = faults(FAULTS[words]())
    assert any(words in fault for fault in found), found
