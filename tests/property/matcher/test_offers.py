"""Offers of one booking as a machine: at most one is live, each ends once, and who said no is left in peace."""

from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from config.limits import OFFER_ASK_AGAIN_MS, OFFER_TTL_MS, OFFERS_PER_BOOKING_MAX
from engine.core.ids import PersonId
from engine.core.vocabulary import OfferState
from engine.matcher.offers import (
    TRANSITIONS,
    AnswerRefusal,
    PastOffer,
    answer,
    expiry_ms,
    is_exhausted,
    is_expired,
    workers_not_to_ask,
)

WORKERS = [PersonId(UUID(int=n)) for n in range(1, 4)]


class OfferMachine(RuleBasedStateMachine):
    """A booking that asks three workers, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000
        self.offers: list[tuple[PersonId, OfferState, int, int]] = []  # worker, state, expires, ended

    @property
    def live(self) -> tuple[PersonId, OfferState, int, int] | None:
        return next((offer for offer in self.offers if offer[1] is OfferState.OPEN), None)

    @property
    def is_assigned(self) -> bool:
        return any(state is OfferState.ACCEPTED for _, state, _, _ in self.offers)

    def past(self) -> list[PastOffer]:
        return [PastOffer(worker, state, at) for worker, state, _, at in self.offers if state is not OfferState.OPEN]

    def end(self, to: OfferState) -> None:
        at = next(i for i, offer in enumerate(self.offers) if offer[1] is OfferState.OPEN)
        worker, state, expires_ms, _ = self.offers[at]
        assert to in TRANSITIONS[state]
        self.offers[at] = (worker, to, expires_ms, self.now_ms)

    @rule(delay_ms=st.sampled_from([1, OFFER_TTL_MS - 1, OFFER_TTL_MS, OFFER_ASK_AGAIN_MS]))
    def time_passes(self, delay_ms: int) -> None:
        self.now_ms += delay_ms

    @precondition(lambda self: self.live is None and not self.is_assigned)
    @rule()
    def ask_somebody(self) -> None:
        if is_exhausted(len(self.past())):
            return
        for ask_again in (False, True):
            barred = workers_not_to_ask(self.past(), ask_again=ask_again, now_ms=self.now_ms)
            free = [worker for worker in WORKERS if worker not in barred]
            if free:
                said_no = [
                    offer for offer in self.offers if offer[0] == free[0] and offer[1] is not OfferState.WITHDRAWN
                ]
                assert ask_again or not said_no, "who said no was asked while others were left"
                self.offers.append((free[0], OfferState.OPEN, expiry_ms(self.now_ms), 0))
                return

    @precondition(lambda self: self.live is not None)
    @rule(accept=st.booleans())
    def answer_in_time_or_late(self, accept: bool) -> None:
        assert self.live is not None
        _, state, expires_ms, _ = self.live
        decision = answer(state, expires_ms, accept=accept, now_ms=self.now_ms)
        if self.now_ms >= expires_ms:
            assert decision is AnswerRefusal.EXPIRED
        else:
            assert decision is (OfferState.ACCEPTED if accept else OfferState.DECLINED)
            self.end(decision)

    @precondition(lambda self: self.live is not None)
    @rule()
    def sweep(self) -> None:
        assert self.live is not None
        if is_expired(self.live[1], self.live[2], self.now_ms):
            self.end(OfferState.EXPIRED)

    @precondition(lambda self: self.live is not None)
    @rule()
    def withdraw(self) -> None:
        self.end(OfferState.WITHDRAWN)

    @precondition(lambda self: self.past())
    @rule(data=st.data(), accept=st.booleans())
    def answer_what_has_ended(self, data: st.DataObject, accept: bool) -> None:
        ended = [offer for offer in self.offers if offer[1] is not OfferState.OPEN]
        _, state, expires_ms, _ = data.draw(st.sampled_from(ended))
        decision = answer(state, expires_ms, accept=accept, now_ms=self.now_ms)
        assert decision is state or isinstance(decision, AnswerRefusal), "an ended offer never moves"

    @invariant()
    def at_most_one_live_offer(self) -> None:
        assert sum(state is OfferState.OPEN for _, state, _, _ in self.offers) <= 1

    @invariant()
    def at_most_one_yes(self) -> None:
        assert sum(state is OfferState.ACCEPTED for _, state, _, _ in self.offers) <= 1

    @invariant()
    def never_asks_for_ever(self) -> None:
        said_no = [offer for offer in self.offers if offer[1] in (OfferState.DECLINED, OfferState.EXPIRED)]
        assert len(said_no) <= OFFERS_PER_BOOKING_MAX


TestOffers = OfferMachine.TestCase


@pytest.mark.parametrize("state", OfferState)
def test_only_open_offers_move(state: OfferState):
    assert bool(TRANSITIONS[state]) == (state is OfferState.OPEN)


@pytest.mark.parametrize(
    ("state", "accept", "decision"),
    [
        (OfferState.ACCEPTED, True, OfferState.ACCEPTED),
        (OfferState.DECLINED, False, OfferState.DECLINED),
        (OfferState.ACCEPTED, False, AnswerRefusal.ANSWERED_OTHERWISE),
        (OfferState.DECLINED, True, AnswerRefusal.ANSWERED_OTHERWISE),
        (OfferState.EXPIRED, True, AnswerRefusal.EXPIRED),
        (OfferState.WITHDRAWN, False, AnswerRefusal.WITHDRAWN),
    ],
)
def test_an_answer_given_again_is_answered_alike(state: OfferState, accept: bool, decision: object):
    assert answer(state, expires_at_ms=10, accept=accept, now_ms=99) is decision
