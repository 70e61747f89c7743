"""Offers of one booking as a machine: one at most is won, each ends once, and who said no is left in peace."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from config.limits import (
    DISPATCH_RETRY_MS,
    DISPATCH_RETRY_MS_MAX,
    OFFER_ASK_AGAIN_MS,
    OFFER_TTL_MS,
    OFFERS_AT_ONCE_MAX,
    OFFERS_PER_BOOKING_MAX,
)
from engine.booking.lifecycle import OFFER_TRANSITIONS
from engine.core.ids import PersonId
from engine.core.vocabulary import OfferState
from engine.matcher.offer_policy import OfferPolicy
from engine.matcher.offers import (
    NO_STATES,
    AnswerRefusal,
    PastOffer,
    answer,
    is_exhausted,
    is_expired,
    next_round,
    retry_after_ms,
    workers_not_to_ask,
)

WORKERS = [PersonId(UUID(int=n)) for n in range(1, 6)]
POLICY = OfferPolicy(at_once=(1, 2, 3), radius_m=(1_000, 4_000, 9_000), answer_s=OFFER_TTL_MS // 1000)
OPEN, ACCEPTED = OfferState.OPEN, OfferState.ACCEPTED


@dataclass
class Offer:
    worker: PersonId
    round: int
    expires_ms: int
    state: OfferState = OPEN
    ended_ms: int = 0
    takes_over: bool = False


class OfferMachine(RuleBasedStateMachine):
    """A booking that asks five workers, several at once, and whose worker may drop out or be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = self.search_began_ms = 1_000
        self.offers: list[Offer] = []

    def of(self, state: OfferState) -> list[Offer]:
        return [offer for offer in self.offers if offer.state is state]

    def past(self) -> list[PastOffer]:
        ended = [offer for offer in self.offers if offer.state not in (OPEN, ACCEPTED)]
        return [PastOffer(offer.worker, offer.state, offer.ended_ms, offer.round) for offer in ended]

    def end(self, offer: Offer, to: OfferState) -> None:
        assert to in OFFER_TRANSITIONS[offer.state]
        offer.state, offer.ended_ms = to, self.now_ms

    @rule(delay_ms=st.sampled_from([1, OFFER_TTL_MS - 1, OFFER_TTL_MS, OFFER_ASK_AGAIN_MS, 3 * OFFER_ASK_AGAIN_MS]))
    def time_passes(self, delay_ms: int) -> None:
        self.now_ms += delay_ms

    @rule()
    def give_up_and_search_again(self) -> None:
        if is_exhausted(self.past(), since_ms=self.search_began_ms):
            self.now_ms += 1
            self.search_began_ms = self.now_ms
            assert not is_exhausted(self.past(), since_ms=self.search_began_ms)

    @precondition(lambda self: self.of(ACCEPTED) and not self.of(OPEN))
    @rule()
    def ask_somebody_sooner(self) -> None:
        past, (has,) = self.past(), self.of(ACCEPTED)
        barred = workers_not_to_ask(past, ask_again=False, now_ms=self.now_ms) | {has.worker}
        assert {each.worker_id for each in past if each.state is OfferState.REPLACED} <= barred, "none comes back"
        for worker in [each for each in WORKERS if each not in barred][:1]:
            asking = next_round(POLICY, past)
            number = max(asking.number, has.round + 1)
            self.offers.append(Offer(worker, number, self.now_ms + asking.answer_ms, takes_over=True))

    @precondition(lambda self: not self.of(OPEN) and not self.of(ACCEPTED))
    @rule()
    def ask(self) -> None:
        past = self.past()
        if is_exhausted(past, since_ms=self.search_began_ms):
            return
        asking = next_round(POLICY, past)
        assert asking.number not in {offer.round for offer in self.offers}, "a round's number is its own"
        for ask_again in (False, True):
            barred = workers_not_to_ask(past, ask_again=ask_again, now_ms=self.now_ms)
            dropped_out = {each.worker_id for each in past if each.state is OfferState.HANDED_BACK}
            assert dropped_out <= barred, "who dropped out is never asked again"
            free = [worker for worker in WORKERS if worker not in barred]
            said_no = {each.worker_id for each in past if each.state in NO_STATES}
            assert ask_again or not said_no.intersection(free), "who said no was asked while others were left"
            if free:
                self.offers += [
                    Offer(worker, asking.number, self.now_ms + asking.answer_ms) for worker in free[: asking.at_once]
                ]
                return

    @precondition(lambda self: self.of(OPEN))
    @rule(data=st.data(), accept=st.booleans())
    def answer_in_time_or_late(self, data: st.DataObject, accept: bool) -> None:
        offer = data.draw(st.sampled_from(self.of(OPEN)))
        decision = answer(offer.state, offer.expires_ms, accept=accept, now_ms=self.now_ms)
        if self.now_ms >= offer.expires_ms:
            assert decision is AnswerRefusal.EXPIRED
            return
        assert decision is (ACCEPTED if accept else OfferState.DECLINED)
        for had in self.of(ACCEPTED) if accept and offer.takes_over else []:
            self.end(had, OfferState.REPLACED)
        self.end(offer, decision)
        for other in self.of(OPEN) if accept else []:
            self.end(other, OfferState.WITHDRAWN)

    @precondition(lambda self: self.of(OPEN))
    @rule()
    def sweep(self) -> None:
        for offer in self.of(OPEN):
            if is_expired(offer.state, offer.expires_ms, self.now_ms):
                self.end(offer, OfferState.EXPIRED)

    @precondition(lambda self: self.of(OPEN))
    @rule()
    def withdraw(self) -> None:
        for offer in self.of(OPEN):
            self.end(offer, OfferState.WITHDRAWN)

    @precondition(lambda self: self.of(ACCEPTED))
    @rule()
    def drop_out(self) -> None:
        self.end(self.of(ACCEPTED)[0], OfferState.HANDED_BACK)
        self.search_began_ms = self.now_ms
        self.withdraw()

    @precondition(lambda self: self.past())
    @rule(data=st.data(), accept=st.booleans())
    def answer_what_has_ended(self, data: st.DataObject, accept: bool) -> None:
        offer = data.draw(st.sampled_from([each for each in self.offers if each.state is not OPEN]))
        decision = answer(offer.state, offer.expires_ms, accept=accept, now_ms=self.now_ms)
        assert decision is offer.state or isinstance(decision, AnswerRefusal), "an ended offer never moves"

    @invariant()
    def what_rings_is_of_one_round_and_asks_nobody_twice(self) -> None:
        assert len({offer.round for offer in self.of(OPEN)}) <= 1
        assert len({offer.worker for offer in self.of(OPEN)}) == len(self.of(OPEN)) <= OFFERS_AT_ONCE_MAX

    @invariant()
    def one_at_most_has_the_job_and_then_nobody_else_is_asked(self) -> None:
        assert len(self.of(ACCEPTED)) <= 1
        assert not self.of(ACCEPTED) or all(offer.takes_over for offer in self.of(OPEN))

    @invariant()
    def never_asks_for_ever(self) -> None:
        said_no = [
            offer for offer in self.offers if offer.state in NO_STATES and offer.ended_ms >= self.search_began_ms
        ]
        assert len(said_no) < OFFERS_PER_BOOKING_MAX + OFFERS_AT_ONCE_MAX


TestOffers = OfferMachine.TestCase


@pytest.mark.parametrize(
    ("state", "accept", "decision"),
    [
        (OfferState.ACCEPTED, True, OfferState.ACCEPTED),
        (OfferState.DECLINED, False, OfferState.DECLINED),
        (OfferState.ACCEPTED, False, AnswerRefusal.ANSWERED_OTHERWISE),
        (OfferState.DECLINED, True, AnswerRefusal.ANSWERED_OTHERWISE),
        (OfferState.HANDED_BACK, True, AnswerRefusal.ANSWERED_OTHERWISE),
        (OfferState.REPLACED, True, AnswerRefusal.ANSWERED_OTHERWISE),
        (OfferState.EXPIRED, True, AnswerRefusal.EXPIRED),
        (OfferState.WITHDRAWN, False, AnswerRefusal.WITHDRAWN),
    ],
)
def test_an_answer_given_again_is_answered_alike(state: OfferState, accept: bool, decision: object):
    assert answer(state, expires_at_ms=10, accept=accept, now_ms=99) is decision


def test_rounds_ask_more_and_look_further_and_those_withdrawn_do_not_count():
    past: list[PastOffer] = []
    seen = []
    for _ in range(4):
        asking = next_round(POLICY, past)
        seen.append((asking.number, asking.at_once, asking.radii_m))
        past += [PastOffer(WORKERS[0], OfferState.EXPIRED, 1, asking.number)] * asking.at_once
    assert seen == [(1, 1, (1_000, 4_000, 9_000)), (2, 2, (4_000, 9_000)), (3, 3, (9_000,)), (4, 3, (9_000,))]
    withdrawn = [PastOffer(WORKERS[0], OfferState.WITHDRAWN, 1, number) for number in (1, 2)]
    assert (next_round(POLICY, withdrawn).number, next_round(POLICY, withdrawn).at_once) == (3, 1)


def test_each_further_no_rests_twice_as_long():
    past = [PastOffer(WORKERS[0], OfferState.DECLINED, at_ms, n) for n, at_ms in enumerate((0, 100, 200), 1)]
    for count in (1, 2, 3):
        rest_ms = OFFER_ASK_AGAIN_MS * 2 ** (count - 1)
        last_ms = past[count - 1].ended_at_ms
        assert workers_not_to_ask(past[:count], ask_again=True, now_ms=last_ms + rest_ms - 1) == {WORKERS[0]}
        assert not workers_not_to_ask(past[:count], ask_again=True, now_ms=last_ms + rest_ms)


@given(st.lists(st.integers(0, 10**8), min_size=2, max_size=2).map(sorted))
def test_an_older_search_is_never_tried_sooner(ages_ms: list[int]):
    younger, older = (retry_after_ms(age_ms) for age_ms in ages_ms)
    assert DISPATCH_RETRY_MS <= younger <= older <= DISPATCH_RETRY_MS_MAX
