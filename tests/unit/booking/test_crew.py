"""What the seats of a crew ask of each other, and what a job may take of what is there."""

from uuid import UUID

import pytest

from engine.booking.crew import Seat, crew_refusal, crew_state
from engine.booking.lifecycle import RefusalKind
from engine.booking.resources import Need, lacking
from engine.core.vocabulary import BookingState, Role

S = BookingState


def seats(*states: BookingState) -> list[Seat]:
    return [Seat(number, "lead" if number == 1 else "helper", state) for number, state in enumerate(states, 1)]


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ((S.SEARCHING, S.SEARCHING), S.SEARCHING),
        ((S.OFFERED, S.SEARCHING), S.SEARCHING),
        ((S.OFFERED, S.ASSIGNED), S.OFFERED),
        ((S.ASSIGNED, S.ASSIGNED, S.OFFERED), S.OFFERED),
        ((S.ASSIGNED, S.EN_ROUTE), S.ASSIGNED),
        ((S.IN_PROGRESS, S.ARRIVED), S.ARRIVED),
        ((S.COMPLETED, S.IN_PROGRESS), S.IN_PROGRESS),
        ((S.CONFIRMED, S.COMPLETED), S.COMPLETED),
        ((S.ASSIGNED, S.UNSERVED), S.UNSERVED),
        ((S.ASSIGNED, S.CANCELLED), S.ASSIGNED),
        ((S.CANCELLED, S.COMPLETED), S.CANCELLED),
    ],
)
def test_the_whole_is_as_far_as_its_least_advanced_seat(states: tuple[BookingState, ...], whole: BookingState) -> None:
    assert crew_state(seats(*states)) is whole


def test_nobody_sets_off_before_every_seat_is_filled() -> None:
    for open_state in (S.SEARCHING, S.OFFERED, S.UNSERVED):
        refusal = crew_refusal(seats(S.ASSIGNED, open_state, S.ASSIGNED), 1, S.EN_ROUTE, Role.WORKER)
        assert refusal is not None
        assert refusal.detail.endswith("still open is seat 2 (helper).")
    assert crew_refusal(seats(S.ASSIGNED, S.CANCELLED, S.EN_ROUTE), 1, S.EN_ROUTE, Role.WORKER) is None


def test_nobody_begins_before_everybody_is_at_the_door() -> None:
    for away in (S.SEARCHING, S.ASSIGNED, S.EN_ROUTE):
        refusal = crew_refusal(seats(S.ARRIVED, away), 1, S.IN_PROGRESS, Role.WORKER)
        assert refusal is not None
        assert refusal.kind is RefusalKind.NO_SUCH_MOVE
    assert crew_refusal(seats(S.ARRIVED, S.COMPLETED), 1, S.IN_PROGRESS, Role.WORKER) is None


def test_a_customer_cancels_the_whole_and_the_desk_a_seat() -> None:
    both = seats(S.ASSIGNED, S.ASSIGNED)
    refusal = crew_refusal(both, 2, S.CANCELLED, Role.CUSTOMER)
    assert refusal is not None
    assert refusal.kind is RefusalKind.NOT_YOUR_MOVE
    assert crew_refusal(both, 1, S.CANCELLED, Role.CUSTOMER) is None
    assert crew_refusal(both, 2, S.CANCELLED, Role.DISPATCHER) is None
    assert crew_refusal(seats(S.CANCELLED, S.ASSIGNED), 2, S.CANCELLED, Role.CUSTOMER) is None


def test_a_seat_of_a_cancelled_crew_is_not_searched_for_again() -> None:
    assert crew_refusal(seats(S.CANCELLED, S.UNSERVED), 2, S.SEARCHING, Role.DISPATCHER) is not None
    assert crew_refusal(seats(S.ASSIGNED, S.UNSERVED), 2, S.SEARCHING, Role.DISPATCHER) is None


def test_what_is_lacking_is_named_with_what_is_left() -> None:
    bay, lift, van = UUID(int=1), UUID(int=2), UUID(int=3)
    needs = [Need(bay, "Bay North", 2, 1), Need(lift, "Lift", 3, 2), Need(van, "Van", 0, 1)]
    assert lacking(needs[:2], {bay: 1, lift: 1}) is None
    assert lacking(needs, {bay: 2, lift: 2}) == (
        "Not free now: Bay North (needs 1, 0 of 2 free), Lift (needs 2, 1 of 3 free), Van (needs 1, 0 of 0 free)."
    )
    assert lacking([Need(bay, "Bay North", 1, 1)], {bay: 4}) == "Not free now: Bay North (needs 1, 0 of 1 free)."
