"""A crew as a machine: whatever is offered, answered, handed back or cancelled, no seat is won twice, nobody wins two.

The seats move by the rules that ship: what an answer leads to, whom a seat may ask, which moves are legal for whom, and
what the seats ask of each other. What the indexes forbid is not modelled: nothing here may come to need them.
"""

from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from config.limits import CREW_WORKERS_MAX, OFFER_TTL_MS
from engine.booking.crew import AT_THE_DOOR, CREW_MOVES, PROGRESS, Seat, crew_refusal, crew_state
from engine.booking.lifecycle import ACTIVE_STATES, HAND_BACK_STATES, TRANSITIONS, WORKER_STATES, check_transition
from engine.core.ids import PersonId
from engine.core.vocabulary import BookingState, OfferState, Role
from engine.matcher.offers import PastOffer, answer, workers_not_to_ask

S = BookingState
WORKERS = [PersonId(UUID(int=n)) for n in range(1, 6)]


@dataclass
class Place:
    """A seat's booking with what rings for it."""

    number: int
    state: BookingState = S.SEARCHING
    worker: PersonId | None = None
    rings: dict[PersonId, int] = field(default_factory=dict)
    past: list[PastOffer] = field(default_factory=list)
    wins: int = 0


class CrewMachine(RuleBasedStateMachine):
    """Up to four seats, five workers who can do each of them, a customer and a desk."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000
        self.places: list[Place] = []

    @initialize(seats=st.integers(2, CREW_WORKERS_MAX))
    def book(self, seats: int) -> None:
        self.places = [Place(number) for number in range(1, seats + 1)]

    def seats(self) -> list[Seat]:
        return [Seat(place.number, f"role {place.number}", place.state) for place in self.places]

    def is_free(self, who: PersonId) -> bool:
        return not any(
            who in place.rings or (place.worker == who and place.state in ACTIVE_STATES) for place in self.places
        )

    def move(self, place: Place, to: BookingState, role: Role | None) -> bool:
        refusal = check_transition(place.state, to, role, is_party=True)
        if refusal is None and to in CREW_MOVES:
            refusal = crew_refusal(self.seats(), place.number, to, role)
        if refusal is None:
            place.state = to
        return refusal is None

    def told_of_mates(self, place: Place) -> list[PastOffer]:
        """As `PAST_OFFERS` adds them: who has, or had, another seat has said all that they say."""
        others = [each for each in self.places if each is not place and each.state is not S.CANCELLED]
        gone = [offer.worker_id for each in others for offer in each.past if offer.state is OfferState.HANDED_BACK]
        return [
            PastOffer(who, OfferState.HANDED_BACK, self.now_ms, 0)
            for who in (*gone, *(each.worker for each in others if each.worker is not None))
        ]

    @rule(delay_ms=st.sampled_from([1, OFFER_TTL_MS // 2, OFFER_TTL_MS]))
    def time_passes(self, delay_ms: int) -> None:
        self.now_ms += delay_ms

    @rule(data=st.data(), at_once=st.integers(1, 3))
    def ask(self, data: st.DataObject, at_once: int) -> None:
        place = data.draw(st.sampled_from(self.places))
        past = place.past + self.told_of_mates(place)
        barred = workers_not_to_ask(past, ask_again=True, now_ms=self.now_ms)
        free = [who for who in WORKERS if who not in barred and self.is_free(who)]
        if free and place.state is S.SEARCHING:
            assert self.move(place, S.OFFERED, None)
            place.rings = dict.fromkeys(free[:at_once], self.now_ms + OFFER_TTL_MS)

    @rule(data=st.data(), accept=st.booleans())
    def answer(self, data: st.DataObject, accept: bool) -> None:
        ringing = [(place, who) for place in self.places for who in place.rings]
        if not ringing:
            return
        place, who = data.draw(st.sampled_from(ringing))
        decision = answer(OfferState.OPEN, place.rings[who], accept=accept, now_ms=self.now_ms)
        if not isinstance(decision, OfferState):
            self.end(place, who, OfferState.EXPIRED)
        elif accept:
            assert self.move(place, S.ASSIGNED, Role.WORKER)
            place.worker, place.rings, place.wins = who, {}, place.wins + 1
        else:
            self.end(place, who, OfferState.DECLINED)

    def end(self, place: Place, who: PersonId, state: OfferState) -> None:
        del place.rings[who]
        place.past.append(PastOffer(who, state, self.now_ms))
        if not place.rings:
            assert self.move(place, S.SEARCHING, None)

    @rule(data=st.data())
    def drop_out(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.places))
        if place.state in HAND_BACK_STATES and place.worker is not None:
            before = [(each.state, each.worker) for each in self.places if each is not place]
            assert self.move(place, S.SEARCHING, Role.WORKER)
            place.past.append(PastOffer(place.worker, OfferState.HANDED_BACK, self.now_ms))
            place.worker = None
            assert before == [(each.state, each.worker) for each in self.places if each is not place]

    @rule(data=st.data(), to=st.sampled_from([S.EN_ROUTE, S.ARRIVED, S.IN_PROGRESS, S.COMPLETED]))
    def go_on(self, data: st.DataObject, to: BookingState) -> None:
        place = data.draw(st.sampled_from(self.places))
        others = [each.state for each in self.places if each is not place and each.state is not S.CANCELLED]
        if self.move(place, to, Role.WORKER):
            assert to is not S.EN_ROUTE or set(others) <= WORKER_STATES, "set off before the crew was complete"
            assert to is not S.IN_PROGRESS or set(others) <= AT_THE_DOOR, "began alone"

    @rule(data=st.data(), role=st.sampled_from([Role.CUSTOMER, Role.DISPATCHER]))
    def cancel(self, data: st.DataObject, role: Role) -> None:
        place = data.draw(st.sampled_from(self.places))
        saved = [(each.state, each.rings) for each in self.places]
        if not self.move(place, S.CANCELLED, role):
            return
        place.rings = {}
        assert place.number == 1 or role is Role.DISPATCHER or saved[0][0] is S.CANCELLED
        for other in self.places if place.number == 1 else ():
            if S.CANCELLED in TRANSITIONS[other.state] and not self.move(other, S.CANCELLED, role):
                for each, (state, rings) in zip(self.places, saved, strict=True):
                    each.state, each.rings = state, rings
                return
            other.rings = {} if other.state is S.CANCELLED else other.rings

    @invariant()
    def nobody_has_two_seats(self) -> None:
        having = [place.worker for place in self.places if place.worker is not None and place.state is not S.CANCELLED]
        assert len(having) == len(set(having))

    @invariant()
    def nobody_is_asked_twice_or_while_they_work(self) -> None:
        ringing = [who for place in self.places for who in place.rings]
        at_work = {place.worker for place in self.places if place.state in ACTIVE_STATES}
        assert len(ringing) == len(set(ringing))
        assert not at_work.intersection(ringing)

    @invariant()
    def a_seat_is_won_once_until_its_worker_drops_out(self) -> None:
        for place in self.places:
            drop_outs = sum(offer.state is OfferState.HANDED_BACK for offer in place.past)
            assert place.wins - drop_outs <= 1
            assert not (place.rings and place.worker is not None)

    @invariant()
    def the_whole_is_assigned_when_every_seat_is_filled(self) -> None:
        left = [place.state for place in self.places if place.state is not S.CANCELLED]
        if left and self.places[0].state is not S.CANCELLED:
            whole = PROGRESS.index(crew_state(self.seats()))
            assert (whole >= PROGRESS.index(S.ASSIGNED)) == (set(left) <= WORKER_STATES)


TestCrew = CrewMachine.TestCase
TestCrew.settings = settings(max_examples=25, stateful_step_count=30)


@given(st.lists(st.sampled_from(list(S)), min_size=1, max_size=CREW_WORKERS_MAX))
def test_the_whole_never_runs_ahead_of_a_seat(states: list[BookingState]) -> None:
    seats = [Seat(number, "role", state) for number, state in enumerate(states, 1)]
    whole = crew_state(seats)
    if states[0] is S.CANCELLED:
        assert whole is S.CANCELLED
    else:
        left = [state for state in states if state is not S.CANCELLED]
        assert whole in left
        assert all(PROGRESS.index(whole) <= PROGRESS.index(state) for state in left)
