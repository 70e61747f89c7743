"""Random walks of everybody over the life cycle: whatever they try, the booking's story stays one that can be told."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.booking.lifecycle import FINAL_STATES, HAND_BACK_STATES, REMATCH_STATES, TRANSITIONS, check_transition
from engine.core.vocabulary import BookingState, Role

ROAD = [
    BookingState.SEARCHING,
    BookingState.OFFERED,
    BookingState.ASSIGNED,
    BookingState.EN_ROUTE,
    BookingState.ARRIVED,
    BookingState.IN_PROGRESS,
    BookingState.COMPLETED,
    BookingState.CONFIRMED,
]
STATES = st.sampled_from(BookingState)
ACTORS = st.one_of(st.none(), st.sampled_from(Role))


class OneBooking(RuleBasedStateMachine):
    """A booking, moved whenever the table lets somebody."""

    def __init__(self) -> None:
        super().__init__()
        self.story = [(BookingState.SEARCHING, None)]

    @property
    def state(self) -> BookingState:
        return self.story[-1][0]

    @rule(to=STATES, actor=ACTORS, is_party=st.booleans())
    def anybody_tries_anything(self, to: BookingState, actor: Role | None, *, is_party: bool) -> None:
        if check_transition(self.state, to, actor, is_party=is_party) is None:
            assert is_party or actor is None
            self.story.append((to, actor))

    @rule(data=st.data(), actor=ACTORS)
    def a_party_follows_the_table(self, data: st.DataObject, actor: Role | None) -> None:
        following = sorted(TRANSITIONS[self.state])
        if following:
            self.anybody_tries_anything(data.draw(st.sampled_from(following)), actor, is_party=True)

    @invariant()
    def no_state_of_the_road_is_skipped(self) -> None:
        """Each state of the road is reached from the one before, or by the desk's word; a search may begin again."""
        for (before, _), (after, actor) in zip(self.story, self.story[1:], strict=False):
            if after is BookingState.SEARCHING:
                assert before in (BookingState.OFFERED, BookingState.UNSERVED, *HAND_BACK_STATES)
                assert actor is not None or before in (BookingState.OFFERED, *REMATCH_STATES)
            elif (before, after) == (BookingState.SEARCHING, BookingState.ASSIGNED):
                assert actor in (Role.WORKER, Role.DISPATCHER, Role.ADMIN)
            elif after in ROAD:
                assert ROAD.index(after) == ROAD.index(before) + 1

    @invariant()
    def the_end_is_the_end(self) -> None:
        assert not any(state in FINAL_STATES for state, _ in self.story[:-1])

    @invariant()
    def work_is_the_workers_word(self) -> None:
        for state, actor in self.story:
            if state in (BookingState.EN_ROUTE, BookingState.ARRIVED, BookingState.IN_PROGRESS, BookingState.COMPLETED):
                assert actor is Role.WORKER

    @invariant()
    def a_customer_never_stops_work_that_has_begun(self) -> None:
        states = [state for state, _ in self.story]
        if BookingState.IN_PROGRESS in states and self.state is BookingState.CANCELLED:
            assert self.story[-1][1] in (Role.DISPATCHER, Role.ADMIN)


TestOneBooking = OneBooking.TestCase
TestOneBooking.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
