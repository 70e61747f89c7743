"""The frames that wait for one slow reader. Pure.

Two classes of frames: durable ones keep their order and are counted, latest-wins ones replace what waits under the
same key. So a stalled reader costs a bounded number of frames, and when it reads again it gets every durable frame
and only the newest position, acknowledgement or map.
"""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from config.limits import OUTBOX_FRAMES_MAX

Frame = TypeVar("Frame")


class Outbox(Generic[Frame]):
    """Bounded queue of one connection."""

    def __init__(self) -> None:
        self._durable: deque[Frame] | None = None
        """Made with the first frame that waits: an empty queue takes 700 bytes, and most readers keep up."""
        self._latest: dict[Hashable, Frame] = {}

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._durable or ()) + len(self._latest)

    def put(self, frame: Frame) -> bool:
        """Add a durable frame; return False where `OUTBOX_FRAMES_MAX` already wait: the reader is too slow."""
        if self._durable is None:
            self._durable = deque()
        if len(self._durable) >= OUTBOX_FRAMES_MAX:
            return False
        self._durable.append(frame)
        return True

    def put_latest(self, key: Hashable, frame: Frame) -> bool:
        """Add a frame in place of the one under the same key; return whether one was dropped for it."""
        dropped = self._latest.pop(key, None) is not None
        self._latest[key] = frame
        return dropped

    def is_waiting(self, key: Hashable) -> bool:
        """Return whether a latest-wins frame waits under this key."""
        return key in self._latest

    def take(self) -> Frame | None:
        """Remove and return the next frame, durable ones first."""
        if self._durable:
            return self._durable.popleft()
        if self._latest:
            return self._latest.pop(next(iter(self._latest)))
        return None

    def clear(self) -> None:
        """Drop everything: the connection is closed."""
        self._durable = None
        self._latest.clear()
