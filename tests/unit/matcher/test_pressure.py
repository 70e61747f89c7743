"""When bookings are collected, and till when."""

from uuid import UUID, uuid4

from config.limits import PRESSURE_BOOKINGS_MAX, PRESSURE_BOOKINGS_MIN, PRESSURE_OVER_MS, WINDOW_BUSY_MS, WINDOW_MS
from engine.core.ids import BookingId, OrgId
from engine.matcher.pressure import Demand, Staff, window_begin_ms

NOW_MS = 1_700_000_000_000
ORG, OTHER = OrgId(uuid4()), OrgId(uuid4())


def asked(count: int, *, job_min: float = 60) -> Demand:
    demand = Demand()
    for number in range(count):
        demand.came(BookingId(UUID(int=number)), ORG, at_ms=NOW_MS, job_min=job_min, now_ms=NOW_MS)
    return demand


def test_the_first_bookings_of_a_day_are_given_out_at_once():
    demand = asked(PRESSURE_BOOKINGS_MIN - 1)
    assert demand.window_ms(ORG, Staff(1, 1), waiting=5, now_ms=NOW_MS) == 0
    assert not demand.collects


def test_collects_while_hands_are_short_and_not_without_any():
    demand = asked(50)  # 10 a minute of an hour each: work for 600
    assert demand.window_ms(ORG, Staff(2_000, 900), waiting=1, now_ms=NOW_MS) == 0
    assert demand.window_ms(ORG, Staff(800, 90), waiting=1, now_ms=NOW_MS) == WINDOW_MS
    assert demand.window_ms(ORG, Staff(500, 9), waiting=1, now_ms=NOW_MS) == WINDOW_BUSY_MS
    assert demand.collects
    assert demand.window_ms(ORG, Staff(500, 0), waiting=9, now_ms=NOW_MS) == 0
    assert demand.window_ms(OTHER, Staff(1, 1), waiting=1, now_ms=NOW_MS) == 0


def test_more_waiting_than_free_is_busy_however_little_was_asked_lately():
    demand = asked(PRESSURE_BOOKINGS_MIN, job_min=1)
    assert demand.window_ms(ORG, Staff(1_000, 3), waiting=3, now_ms=NOW_MS) == 0
    assert demand.window_ms(ORG, Staff(1_000, 3), waiting=4, now_ms=NOW_MS) == WINDOW_BUSY_MS


def test_hands_are_short_when_more_is_asked_for_than_they_can_do():
    demand = asked(50)  # with the drives, work for 640
    assert not demand.is_short(ORG)
    demand.window_ms(ORG, Staff(600, 9), waiting=1, now_ms=NOW_MS)
    assert demand.is_short(ORG)
    demand.window_ms(ORG, Staff(600, 0), waiting=99, now_ms=NOW_MS)
    assert demand.is_short(ORG), "also while nobody is free"
    demand.window_ms(ORG, Staff(620, 3), waiting=99, now_ms=NOW_MS)
    assert not demand.is_short(ORG), "a queue alone is none: it may be a moment's"
    assert not demand.is_short(OTHER)


def test_what_was_asked_long_ago_does_not_count():
    demand = asked(50)
    assert demand.window_ms(ORG, Staff(500, 9), waiting=1, now_ms=NOW_MS + PRESSURE_OVER_MS - 1) == WINDOW_BUSY_MS
    assert demand.window_ms(ORG, Staff(500, 9), waiting=1, now_ms=NOW_MS + PRESSURE_OVER_MS) == 0


def test_a_booking_that_has_waited_long_is_not_asked_anew_with_each_claim():
    """As those for whom nobody has the skill: they are claimed again and again among new ones."""
    demand, waiting = Demand(), [BookingId(uuid4()) for _ in range(500)]
    for now_ms in range(NOW_MS, NOW_MS + 4 * PRESSURE_OVER_MS, PRESSURE_OVER_MS // 30):
        for each in (*waiting, BookingId(uuid4())):
            at_ms = NOW_MS if each in waiting else now_ms
            demand.came(each, ORG, at_ms=at_ms, job_min=60, now_ms=now_ms)
        window_ms = demand.window_ms(ORG, Staff(800, 600), waiting=1, now_ms=now_ms)
        assert (window_ms > 0) == demand.is_short(ORG) == (now_ms < NOW_MS + PRESSURE_OVER_MS)


def test_a_booking_that_is_claimed_twice_counts_once():
    demand = asked(5)
    for _ in range(20):
        demand.came(BookingId(UUID(int=1)), ORG, at_ms=NOW_MS, job_min=60, now_ms=NOW_MS)
    assert demand.window_ms(ORG, Staff(1, 1), waiting=1, now_ms=NOW_MS) == 0


def test_a_flood_is_counted_up_to_the_limit():
    demand = asked(PRESSURE_BOOKINGS_MAX + 10)
    again = BookingId(UUID(int=0))
    demand.came(again, ORG, at_ms=NOW_MS, job_min=60, now_ms=NOW_MS)
    assert demand.window_ms(ORG, Staff(10**9, 10), waiting=1, now_ms=NOW_MS) == 0


def test_all_matchers_cut_time_alike_and_a_new_look_is_at_the_end_of_a_window():
    assert window_begin_ms(NOW_MS + 1_999, WINDOW_BUSY_MS) == NOW_MS
    demand = asked(50)
    assert demand.aligned_ms(ORG, NOW_MS + 17) == NOW_MS + 17
    demand.window_ms(ORG, Staff(500, 9), waiting=1, now_ms=NOW_MS)
    assert demand.aligned_ms(ORG, NOW_MS + 17) == NOW_MS + WINDOW_BUSY_MS
    assert demand.aligned_ms(ORG, NOW_MS + WINDOW_BUSY_MS) == NOW_MS + WINDOW_BUSY_MS
    assert demand.aligned_ms(OTHER, NOW_MS + 17) == NOW_MS + 17
