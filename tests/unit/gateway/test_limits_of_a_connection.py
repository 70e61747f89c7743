"""What one connection may spend and how much may wait for it."""

from config.limits import (
    BAD_FRAMES_MAX,
    CONNECTION_FIXES_BURST,
    CONNECTION_FIXES_PER_S_MAX,
    OUTBOX_FRAMES_MAX,
)
from gateway_ws.budget import BadFrames, FixBudget
from gateway_ws.fan_out.outbox import Outbox


def test_a_backlog_passes_at_once_and_then_only_the_rate() -> None:
    budget = FixBudget(now_ms=0)
    assert budget.spend(CONNECTION_FIXES_BURST, now_ms=0)
    assert not budget.spend(1, now_ms=0)
    assert budget.spend(CONNECTION_FIXES_PER_S_MAX, now_ms=1_000)
    assert not budget.spend(1, now_ms=1_000)


def test_a_refused_frame_costs_nothing_and_the_bucket_never_overflows() -> None:
    budget = FixBudget(now_ms=0)
    assert not budget.spend(CONNECTION_FIXES_BURST + 1, now_ms=10**9)
    assert budget.spend(CONNECTION_FIXES_BURST, now_ms=10**9)


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    budget = FixBudget(now_ms=10_000)
    assert budget.spend(CONNECTION_FIXES_BURST, now_ms=10_000)
    assert not budget.spend(1, now_ms=5_000)
    assert not budget.spend(1, now_ms=5_001)


def test_twenty_refused_frames_within_a_minute_are_abuse() -> None:
    frames = BadFrames()
    told = [frames.add(now_ms=second * 1_000) for second in range(BAD_FRAMES_MAX)]
    assert told == [False] * (BAD_FRAMES_MAX - 1) + [True]


def test_refused_frames_spread_over_more_than_a_minute_are_not() -> None:
    frames = BadFrames()
    assert not any(frames.add(now_ms=each * 3_200) for each in range(10 * BAD_FRAMES_MAX))


def test_durable_frames_keep_their_order_and_are_counted() -> None:
    outbox: Outbox[int] = Outbox()
    assert all(outbox.put(number) for number in range(OUTBOX_FRAMES_MAX))
    assert not outbox.put(-1)
    assert [outbox.take() for _ in range(OUTBOX_FRAMES_MAX + 1)] == [*range(OUTBOX_FRAMES_MAX), None]
    assert outbox.put(7)


def test_latest_frames_replace_one_another_and_come_last() -> None:
    outbox: Outbox[str] = Outbox()
    assert not outbox.put_latest("position", "old")
    assert not outbox.put_latest("map", "map")
    assert outbox.put_latest("position", "new")
    assert outbox.put("durable")
    assert (len(outbox), outbox.is_waiting("position")) == (3, True)
    assert [outbox.take(), outbox.take(), outbox.take(), outbox.take()] == ["durable", "map", "new", None]
    assert not outbox.is_waiting("position")
