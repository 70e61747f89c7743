"""How much of the door strangers have: measured time, newcomers first, and nobody is forgotten."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from config.limits import FULL_SERVER_CHARGE_US, SOURCES_MAX, STRANGERS_TURN_MS
from safetap_door.strangers_turns import StrangersTurns

TURN_NS = STRANGERS_TURN_MS * 1_000_000


@dataclass
class Thread:
    """The processor's time of a thread, which only work moves on."""

    ns: int = 0
    served: list["Line"] = field(default_factory=list)

    def __call__(self) -> int:
        return self.ns


@dataclass(eq=False)
class Line:
    thread: Thread
    peer: str
    cost_ns: int
    is_proved: bool = False
    is_handed_over: bool = False

    def serve(self) -> None:
        self.thread.ns += self.cost_ns
        self.thread.served.append(self)


@pytest.fixture
def thread() -> Thread:
    return Thread()


@pytest.fixture
def turns(thread: Thread) -> StrangersTurns:
    return StrangersTurns(thread)


@pytest.fixture
def line(thread: Thread) -> Callable[..., Line]:
    return lambda peer="10.0.0.1", cost_ns=TURN_NS // 10, **more: Line(thread, peer, cost_ns, **more)


def test_who_comes_while_there_is_time_is_served_at_once(
    turns: StrangersTurns, thread: Thread, line: Callable[..., Line]
) -> None:
    turns.take(line())
    assert len(thread.served) == 1


def test_a_flood_has_its_share_of_each_tick_and_everybody_a_turn(
    turns: StrangersTurns, thread: Thread, line: Callable[..., Line]
) -> None:
    lines = [line() for _ in range(95)]
    for one in lines:
        turns.take(one)
    ticks = 1
    while len(thread.served) < len(lines):
        before_ns = thread.ns
        turns.begin()
        turns.serve()
        ticks += 1
        assert 0 < thread.ns - before_ns <= TURN_NS
    assert ticks == 10
    assert thread.served == lines


def test_a_costly_request_is_paid_for_by_the_next_ticks(
    turns: StrangersTurns, thread: Thread, line: Callable[..., Line]
) -> None:
    turns.take(line(cost_ns=3 * TURN_NS))
    turns.take(line())
    for served in (1, 1, 2):
        turns.begin()
        turns.serve()
        assert len(thread.served) == served


def test_what_the_full_server_does_later_is_counted(
    turns: StrangersTurns, thread: Thread, line: Callable[..., Line]
) -> None:
    for _ in range(1_000):
        turns.take(line(cost_ns=0, is_handed_over=True))
    assert len(thread.served) == -(-STRANGERS_TURN_MS * 1_000 // FULL_SERVER_CHARGE_US)


def test_newcomers_go_before_addresses_of_strangers(
    turns: StrangersTurns, thread: Thread, line: Callable[..., Line]
) -> None:
    turns.take(line(cost_ns=TURN_NS))
    turns.suspect("10.6.6.6")
    known, new = [line("10.6.6.6") for _ in range(50)], line("10.0.0.2")
    for one in (*known, new):
        turns.take(one)
    turns.begin()
    turns.serve()
    assert thread.served[1:3] == [new, known[0]]


def test_whom_we_know_costs_strangers_nothing(turns: StrangersTurns, thread: Thread, line: Callable[..., Line]) -> None:
    for _ in range(50):
        turns.take(line(is_proved=True))
    assert len(thread.served) == 50
    assert turns.has_time()


def test_only_so_many_addresses_are_remembered(
    turns: StrangersTurns, thread: Thread, line: Callable[..., Line]
) -> None:
    for number in range(SOURCES_MAX + 1):
        turns.suspect(str(number))
    turns.take(line(cost_ns=TURN_NS))
    latest, forgotten = line(str(SOURCES_MAX)), line("0")
    turns.take(latest)
    turns.take(forgotten)
    turns.begin()
    turns.serve()
    assert thread.served[1:] == [forgotten, latest]
