"""The life cycle against the sentences of docs/protocol.md, section 1."""

import re
from itertools import pairwise, product
from pathlib import Path

import orjson
import pytest

from api_rest.bookings import MoveBooking
from api_rest.openapi import openapi_document
from engine.booking.lifecycle import (
    ACTIVE_STATES,
    ASKED_FOR_STATES,
    ENDED_STATES,
    FINAL_STATES,
    HAND_BACK_STATES,
    OFFER_TRANSITIONS,
    REMATCH_STATES,
    TRANSITIONS,
    WORKER_STATES,
    RefusalKind,
    check_transition,
    public_moves,
)
from engine.core.vocabulary import BookingState, OfferState, Role

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol.md"
DESK = [Role.DISPATCHER, Role.ADMIN]

ROAD = ["searching", "offered", "assigned", "en_route", "arrived", "in_progress", "completed", "confirmed"]
ACTORS: list[Role | None] = [None, *Role]


def may(state: str, to: str, actor: Role | None) -> bool:
    return check_transition(BookingState(state), BookingState(to), actor, is_party=True) is None


def test_the_road_leads_from_searching_to_confirmed() -> None:
    for state, to in pairwise(ROAD):
        assert BookingState(to) in TRANSITIONS[BookingState(state)]


@pytest.mark.parametrize("state", ROAD[2:6])
def test_workers_and_only_they_walk_from_assigned_to_completed(state: str) -> None:
    to = ROAD[ROAD.index(state) + 1]
    assert [actor for actor in ACTORS if may(state, to, actor)] == [Role.WORKER]


def test_the_customer_or_the_desk_confirms() -> None:
    allowed = {actor for actor in ACTORS if may("completed", "confirmed", actor)}
    assert allowed == {Role.CUSTOMER, Role.DISPATCHER, Role.ADMIN}


def test_the_customer_cancels_before_work_begins_and_the_desk_before_it_ends() -> None:
    by_customer = [state for state in BookingState if may(state, "cancelled", Role.CUSTOMER)]
    by_desk = [state for state in BookingState if may(state, "cancelled", Role.DISPATCHER)]
    assert by_customer == ROAD[:5]
    assert by_desk == ROAD[:6]
    assert by_desk == [state for state in BookingState if may(state, "cancelled", Role.ADMIN)]
    assert not any(may(state, "cancelled", actor) for state in BookingState for actor in (None, Role.WORKER))


def test_searches_and_their_end_are_the_engines() -> None:
    for to in ("offered", "unserved"):
        assert [actor for actor in ACTORS if may("searching", to, actor)] == [None]
    for to in ("searching", "assigned"):
        assert [actor for actor in ACTORS if may("offered", to, actor)] == [None, Role.WORKER, *DESK]


def test_the_desk_assigns_what_is_searching_and_a_worker_takes_over():
    assert [actor for actor in ACTORS if may("searching", "assigned", actor)] == [Role.WORKER, *DESK]


def test_the_engine_takes_a_job_from_its_worker_on_the_way_only():
    assert [state for state in ROAD[2:] if may(state, "searching", None)] == ROAD[2:4]
    assert [state for state in ROAD if state in REMATCH_STATES] == ROAD[2:4]


def test_the_desk_and_only_it_has_an_unserved_booking_searched_for_again():
    assert [actor for actor in ACTORS if may("unserved", "searching", actor)] == DESK
    assert {"searching"} == TRANSITIONS[BookingState.UNSERVED]


def test_a_job_is_handed_back_by_its_worker_or_the_desk_until_work_begins():
    for state in ROAD[2:5]:
        assert [actor for actor in ACTORS if actor and may(state, "searching", actor)] == [Role.WORKER, *DESK]
    assert not any(may("in_progress", "searching", actor) for actor in ACTORS)
    assert [state for state in ROAD if state in HAND_BACK_STATES] == ROAD[2:5]


def test_an_offer_ends_once_and_only_a_yes_is_taken_back():
    ends = {"accepted", "declined", "expired", "withdrawn"}
    assert ends == OFFER_TRANSITIONS[OfferState.OPEN]
    assert {"handed_back", "replaced"} == OFFER_TRANSITIONS[OfferState.ACCEPTED]
    assert not any(OFFER_TRANSITIONS[state] for state in OfferState if state not in ("open", "accepted"))


def test_the_protocols_page_has_the_table_of_moves():
    page = PROTOCOL.read_text()
    rows = re.findall(r"^\| (booking|offer) \| `(\w+)` \| `(\w+)` \| ([\w, ]+) \|", page, re.MULTILINE)
    told = {(thing, state, to): tuple(sorted(who.split(", "))) for thing, state, to, who in rows}
    assert len(told) == len(rows)
    assert told == {(move.thing, move.state, move.to): move.who for move in public_moves()}


def test_openapi_has_the_table_of_moves():
    assert orjson.loads(openapi_document((), server_url="http://here"))["x-moves"] == [
        {"thing": move.thing, "from": move.state, "to": move.to, "who": list(move.who)} for move in public_moves()
    ]


def test_what_may_be_asked_for_by_name_is_what_the_api_takes():
    asked = MoveBooking.model_json_schema()["properties"]["to"]["enum"]
    assert set(asked) == ASKED_FOR_STATES


def test_what_is_over_stays_over() -> None:
    assert {"confirmed", "cancelled"} == FINAL_STATES
    assert {"confirmed", "cancelled", "unserved"} == ENDED_STATES
    for state, to, actor in product(FINAL_STATES, BookingState, ACTORS):
        assert not may(state, to, actor)


def test_nothing_stays_where_it_is() -> None:
    assert not any(may(state, state, actor) for state in BookingState for actor in ACTORS)


@pytest.mark.parametrize("role", list(Role))
def test_who_is_no_party_learns_nothing(role: Role) -> None:
    for state, to in product(BookingState, BookingState):
        refusal = check_transition(state, to, role, is_party=False)
        assert refusal is not None
        assert refusal.kind is RefusalKind.NOT_A_PARTY
        assert state not in refusal.detail.split()


def test_a_refusal_says_whether_the_move_or_the_mover_is_wrong() -> None:
    wrong_move = check_transition(BookingState.SEARCHING, BookingState.COMPLETED, Role.ADMIN, is_party=True)
    wrong_mover = check_transition(BookingState.ASSIGNED, BookingState.EN_ROUTE, Role.ADMIN, is_party=True)
    assert wrong_move is not None
    assert wrong_mover is not None
    assert (wrong_move.kind, wrong_mover.kind) == (RefusalKind.NO_SUCH_MOVE, RefusalKind.NOT_YOUR_MOVE)
    assert wrong_move.detail == "A booking that is searching cannot become completed."
    assert "admin" in wrong_mover.detail


def test_a_worker_is_bound_from_assigned_on() -> None:
    assert ROAD[2:6] == [state for state in ROAD if state in ACTIVE_STATES]
    assert ROAD[2:] == [state for state in ROAD if state in WORKER_STATES]
