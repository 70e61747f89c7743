"""Who must be pinged and who has not answered: one list for all sessions instead of a timer for each. Pure."""

from collections.abc import Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Heartbeat(Generic[Key]):
    """Every delay is the same, so the order of arrival is the order of what is due."""

    def __init__(self, *, interval_ms: int, timeout_ms: int) -> None:
        self._interval_ms = interval_ms
        self._timeout_ms = timeout_ms
        self._ping_at_ms: dict[Key, int] = {}
        self._dead_at_ms: dict[Key, int] = {}

    def start(self, key: Key, now_ms: int) -> None:
        """Take in a session: its first ping is due after the interval."""
        self._ping_at_ms[key] = now_ms + self._interval_ms

    def answered(self, key: Key, now_ms: int) -> None:
        """Take note of a pong; one that nobody asked for changes nothing."""
        if self._dead_at_ms.pop(key, None) is not None:
            self._ping_at_ms[key] = now_ms + self._interval_ms

    def stop(self, key: Key) -> None:
        """Let go of a session."""
        self._ping_at_ms.pop(key, None)
        self._dead_at_ms.pop(key, None)

    def to_ping(self, now_ms: int) -> list[Key]:
        """Return the sessions to ping now; each owes a pong from here on, counted from when its ping was due.

        After a standstill of ours that would be too late already: half of the time is left to it anyhow.
        """
        due = list(_due(self._ping_at_ms, now_ms))
        for key in due:
            on_time_ms = self._ping_at_ms.pop(key) + self._timeout_ms
            self._dead_at_ms[key] = max(on_time_ms, now_ms + self._timeout_ms // 2)
        return due

    def dead(self, now_ms: int) -> list[Key]:
        """Return the sessions whose pong did not come in time."""
        return list(_due(self._dead_at_ms, now_ms))

    def is_dead(self, key: Key, now_ms: int) -> bool:
        """Return whether this one's pong did not come in time, be it that nobody has looked for a while."""
        dead_at_ms = self._dead_at_ms.get(key)
        if dead_at_ms is None:
            ping_at_ms = self._ping_at_ms.get(key)
            return ping_at_ms is not None and now_ms >= ping_at_ms + self._timeout_ms
        return now_ms >= dead_at_ms


def _due(at_ms: dict[Key, int], now_ms: int) -> Iterator[Key]:
    for key, due_ms in at_ms.items():
        if due_ms > now_ms:
            return
        yield key
