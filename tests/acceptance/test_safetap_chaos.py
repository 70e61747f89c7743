"""SafeTap while everything under it is killed, and the checker of what came of it: it must find each kind of fault.

`make chaos ARGS=--long` is the long run of the same program.
"""

import dataclasses
import random
import sys
from collections.abc import Callable
from copy import deepcopy
from uuid import UUID

import pytest

from tests.acceptance.safetap_chaos.crash_points import DOOR_POINTS, SENDER_POINTS, named_in_the_code
from tests.acceptance.safetap_chaos.history import (
    Delivery,
    Event,
    History,
    Incident,
    Kill,
    Notice,
    Press,
    Rows,
    check,
    extra_deliveries,
)
from tests.acceptance.safetap_chaos.lateness import Late, Reason, TimerChange, lateness, percentile
from tests.acceptance.safetap_chaos.report import describe
from tests.acceptance.safetap_chaos.run import Plan, run
from tests.conftest import TokenKeys

ANNA, BERTA = UUID(int=1), UUID(int=2)
OPEN, CLOSED = UUID(int=11), UUID(int=12)
FIRST, SECOND, THIRD, STRAY = (UUID(int=number) for number in (21, 22, 23, 24))
SMS, MAIL = UUID(int=31), UUID(int=32)


def history() -> History:
    return History(
        presses={
            FIRST: Press(ANNA, ["committed"]),
            SECOND: Press(ANNA, ["spooled", "committed"]),
            THIRD: Press(BERTA, ["spooled", "spooled", "committed"]),
        },
        closed={CLOSED},
        deliveries=[Delivery("open/0/2/somebody/sms", 1_000), Delivery(str(MAIL), 1_000), Delivery(str(MAIL), 18_000)],
        kills=[Kill("notify-1", "notify", 1_100, 1_900)],
    )


def rows() -> Rows:
    """One incident that climbed to its broadcast, one that was acknowledged, lapsed and was closed."""
    return Rows(
        steps=2,
        triggers=[(FIRST, ANNA, OPEN), (SECOND, ANNA, OPEN), (THIRD, BERTA, CLOSED)],
        incidents=[Incident(OPEN, ANNA, "open", 7), Incident(CLOSED, BERTA, "closed", 6)],
        timers=frozenset({OPEN}),
        events={
            OPEN: [
                Event(1, "triggered", FIRST),
                Event(2, "step", step=1, loop=0, told=("desk:desk",)),
                Event(3, "retriggered", SECOND),
                Event(4, "step", step=2, loop=0, told=("sms:somebody",)),
                Event(5, "notified"),
                Event(6, "broadcast", step=3, loop=0),
                Event(7, "broadcast", step=3, loop=1),
            ],
            CLOSED: [
                Event(1, "triggered", THIRD),
                Event(2, "step", step=1, loop=0, told=("email:boss",)),
                Event(3, "notified"),
                Event(4, "acknowledged"),
                Event(5, "lapsed", step=1, loop=1),
                Event(6, "closed"),
            ],
        },
        notices=[
            Notice(UUID(int=30), "open/0/1/desk/desk", OPEN, 1, 0, "desk", "desk", "sent"),
            Notice(SMS, "open/0/2/somebody/sms", OPEN, 2, 0, "somebody", "sms", "sent"),
            Notice(MAIL, "closed/0/1/boss/email", CLOSED, 1, 0, "boss", "email", "sent"),
        ],
    )


def test_the_checker_accepts_what_was_kept() -> None:
    assert check(history(), rows()) == []
    assert extra_deliveries(history()) == 1


def without(events: dict[UUID, list[Event]], incident: UUID, version: int) -> dict[UUID, list[Event]]:
    """A history out of which somebody has cut an event, and numbered the others anew."""
    kept = [event for event in events[incident] if event.version != version]
    return {**events, incident: [dataclasses.replace(event, version=at) for at, event in enumerate(kept, 1)]}


ROWS_THAT_MUST_FAIL: dict[str, tuple[Callable[[Rows], dict[str, object]], str]] = {
    "a committed trigger is gone": (lambda r: {"triggers": r.triggers[1:]}, "0 rows"),
    "a spooled trigger never landed": (lambda r: {"triggers": r.triggers[:2]}, "0 rows"),
    "a trigger made two incidents": (lambda r: {"triggers": [*r.triggers, (FIRST, ANNA, CLOSED)]}, "2 rows"),
    "a trigger of somebody else": (
        lambda r: {"triggers": [(FIRST, BERTA, OPEN), *r.triggers[1:]]},
        "another person's",
    ),
    "a trigger that nobody pressed": (lambda r: {"triggers": [*r.triggers, (STRAY, ANNA, OPEN)]}, "nobody pressed"),
    "an open incident without a timer": (lambda _: {"timers": frozenset()}, "end in silence"),
    "a closed incident with a timer": (lambda _: {"timers": frozenset({OPEN, CLOSED})}, "goes on"),
    "a closing that was lost": (
        lambda r: {
            "incidents": [r.incidents[0], Incident(CLOSED, BERTA, "open", 6)],
            "timers": frozenset({OPEN, CLOSED}),
        },
        "closing was acknowledged",
    ),
    "two open incidents of one person": (
        lambda r: {"incidents": [*r.incidents, Incident(STRAY, ANNA, "open", 0)]},
        "2 open incidents",
    ),
    "a version that is missing": (
        lambda r: {"events": {**r.events, OPEN: [r.events[OPEN][0], *r.events[OPEN][2:]]}},
        "history has a gap",
    ),
    "a version after the last event": (
        lambda r: {"incidents": [Incident(OPEN, ANNA, "open", 8), r.incidents[1]]},
        "history has a gap",
    ),
    "a step that was skipped": (lambda r: {"events": without(r.events, OPEN, 2)}, "step 2 of loop 0 was taken"),
    "a broadcast that was skipped": (lambda r: {"events": without(r.events, OPEN, 6)}, "step 3 of loop 1 was taken"),
    "a step that was taken twice": (
        lambda r: {"events": {**r.events, OPEN: [*r.events[OPEN], Event(8, "broadcast", step=3, loop=1)]}},
        "step 3 of loop 1 was taken",
    ),
    "an acknowledgement that went on as if it were none": (
        lambda r: {"events": without(r.events, CLOSED, 4)},
        "step 1 of loop 1 was taken",
    ),
    "no step at all": (
        lambda r: {"events": {**r.events, OPEN: [Event(1, "triggered", FIRST), Event(2, "retriggered", SECOND)]}},
        "no step was ever taken",
    ),
    "a press that its history does not tell": (lambda r: {"events": without(r.events, OPEN, 3)}, "0 times"),
    "a press that its history tells twice": (
        lambda r: {"events": {**r.events, OPEN: [*r.events[OPEN], Event(8, "retriggered", SECOND)]}},
        "tells 2 times",
    ),
    "a notice that a step decided and nobody wrote": (lambda r: {"notices": [*r.notices[:1], r.notices[2]]}, "there 0"),
    "a notice that no step decided": (
        lambda r: {"notices": [*r.notices, dataclasses.replace(r.notices[1], step=1, key="other")]},
        "no step decided it",
    ),
    "a notice of an open incident that waits for ever": (
        lambda r: {"notices": [r.notices[0], dataclasses.replace(r.notices[1], state="pending"), r.notices[2]]},
        "its incident is open",
    ),
    "a notice that is recorded twice": (
        lambda r: {"events": {**r.events, OPEN: [*r.events[OPEN], Event(8, "notified")]}},
        "2 in its history",
    ),
    "a sent notice that its history does not tell": (
        lambda r: {"events": without(r.events, OPEN, 5)},
        "0 in its history",
    ),
}


@pytest.mark.parametrize("name", ROWS_THAT_MUST_FAIL)
def test_the_checker_finds_what_is_wrong_in_postgres(name: str) -> None:
    change, told = ROWS_THAT_MUST_FAIL[name]
    wrong = dataclasses.replace(rows(), **change(rows()))
    faults = check(history(), wrong)
    assert any(told in fault for fault in faults), faults


def never_committed(one: History) -> None:
    one.presses[THIRD].told.pop()


def nobody_got_it(one: History) -> None:
    one.deliveries.pop(0)


def a_stranger(one: History) -> None:
    one.deliveries.append(Delivery("who knows", 1_000))


def twice_without_a_kill(one: History) -> None:
    one.deliveries.append(Delivery("open/0/2/somebody/sms", 1_050))


def three_times_with_one_kill(one: History) -> None:
    one.deliveries.append(Delivery(str(MAIL), 33_000))


def twice_long_before_the_kill(one: History) -> None:
    one.kills[:] = [Kill("notify-1", "notify", 40_000, 41_000)]


def only_something_else_was_killed(one: History) -> None:
    one.kills[:] = [dataclasses.replace(one.kills[0], part="door-0", kind="door")]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (never_committed, "never told `committed`"),
        (nobody_got_it, "nobody got it"),
        (a_stranger, "nobody decided"),
        (twice_without_a_kill, "1 too many, with 0 kills"),
        (three_times_with_one_kill, "2 too many, with 1 kills"),
        (twice_long_before_the_kill, "1 too many, with 0 kills"),
        (only_something_else_was_killed, "1 too many, with 0 kills"),
    ],
)
def test_the_checker_finds_what_phones_and_receivers_saw(spoil: Callable[[History], None], told: str) -> None:
    spoiled = deepcopy(history())
    spoil(spoiled)
    faults = check(spoiled, rows())
    assert [fault for fault in faults if told in fault], faults


def test_lateness_counts_from_what_was_due_and_known() -> None:
    changes = [
        TimerChange(OPEN, 1_000, 900, 1, 0),  # a trigger that lay in a spool: nobody could know before it was there
        TimerChange(OPEN, 1_040, 3_000, 2, 0),
        TimerChange(OPEN, 2_000, 2_000, 2, 0),  # pressed again: hastened
        TimerChange(OPEN, 3_200, 5_000, 3, 0),  # an escalator was killed
        TimerChange(OPEN, 4_000, 14_000, 1, 1),  # acknowledged: no step
        TimerChange(OPEN, 14_100, 16_000, 2, 1),
        TimerChange(THIRD, 50_000, 50_000, 1, 0),  # nobody was there to climb
        TimerChange(THIRD, 52_500, 53_000, 2, 0),
        TimerChange(CLOSED, 20_000, 20_000, 3, 0),
        TimerChange(CLOSED, 25_000, 35_000, 3, 1),  # Postgres was away until 24,000
    ]
    kills = [
        Kill("door-0", "door", 2_100, 2_900),
        Kill("notify-0", "notify", 900, 1_100),
        Kill("postgres", "postgres", 20_500, 24_000),
        Kill("door-0", "door", 49_000, 52_000),
        Kill("door-1", "door", 51_000, 52_300),
    ]
    assert lateness(changes, kills, last_step=2) == [
        Late(40, Reason.QUIET),
        Late(1_200, Reason.ESCALATOR),
        Late(100, Reason.QUIET),
        Late(2_500, Reason.NO_ESCALATOR),
        Late(1_000, Reason.POSTGRES),
    ]
    assert (percentile([], 99), percentile([3, 1, 2], 50), percentile(list(range(100)), 99)) == (0, 2, 99)


def test_every_named_place_has_a_process_that_dies_there() -> None:
    assert named_in_the_code() == {*DOOR_POINTS, *SENDER_POINTS}


@pytest.mark.acceptance
@pytest.mark.chaos
@pytest.mark.timeout(420)
async def test_no_kill_costs_or_doubles_an_alarm(
    token_keys: TokenKeys, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = Plan(
        kills=20,
        triggers=150,
        per_s=20,
        people=100,
        on_sockets=0,
        is_whole=False,
        gap_s=(0.1, 0.4),
        seed=random.randrange(2**32),
        minutes_max=3.5,
    )
    folder = tmp_path_factory.mktemp("chaos")
    folder.chmod(0o711)  # the stores' account must come through
    outcome = await run(plan, token_keys, folder, lambda line: sys.stderr.write(f"{line}\n"))
    figures = describe(outcome)
    assert outcome.faults == [], figures
    assert len(outcome.history.kills) >= plan.kills
    assert len(outcome.rows.triggers) >= plan.triggers
