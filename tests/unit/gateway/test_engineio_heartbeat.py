"""One list of deadlines for all sessions, against a timer for each."""

from hypothesis import given
from hypothesis import strategies as st

from gateway_ws.engineio.heartbeat import Heartbeat

INTERVAL_MS, TIMEOUT_MS = 100, 60
STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "answer", "stop", "look"]), st.integers(0, 4), st.integers(0, 50)), max_size=60
)


@given(STEPS)
def test_every_session_is_pinged_and_missed_as_by_a_timer_of_its_own(steps: list[tuple[str, int, int]]) -> None:
    heartbeat: Heartbeat[int] = Heartbeat(interval_ms=INTERVAL_MS, timeout_ms=TIMEOUT_MS)
    ping_at, dead_at = dict[int, int](), dict[int, int]()
    now_ms = 0
    for step, key, pause_ms in steps:
        now_ms += pause_ms
        if step == "start" and key not in ping_at and key not in dead_at:
            heartbeat.start(key, now_ms)
            ping_at[key] = now_ms + INTERVAL_MS
        elif step == "answer":
            heartbeat.answered(key, now_ms)
            if dead_at.pop(key, None) is not None:
                ping_at[key] = now_ms + INTERVAL_MS
        elif step == "stop":
            heartbeat.stop(key)
            ping_at.pop(key, None)
            dead_at.pop(key, None)
        else:
            due = {each for each, at_ms in ping_at.items() if at_ms <= now_ms}
            assert set(heartbeat.to_ping(now_ms)) == due
            for each in due:
                dead_at[each] = max(ping_at.pop(each) + TIMEOUT_MS, now_ms + TIMEOUT_MS // 2)
            assert set(heartbeat.dead(now_ms)) == {each for each, at_ms in dead_at.items() if at_ms <= now_ms}
        for each in range(5):
            at_ms = dead_at.get(each, ping_at[each] + TIMEOUT_MS if each in ping_at else None)
            assert heartbeat.is_dead(each, now_ms) == (at_ms is not None and at_ms <= now_ms)
