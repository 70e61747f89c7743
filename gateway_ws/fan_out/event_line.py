"""What one client has been sent of its topic: every event once, in order, and no gap without its being known. Pure.

Events come from two sides. Pub/sub is quick but forgets what is published while it is down, and tells some twice; the
outbox in Postgres has all of them. So a line holds back what it hears until somebody has read from Postgres what was
told before (a snapshot, or the missed events), and drops what is not newer than what was sent.

That reading counts only when the subscription stood when it began and has not been interrupted since, and when not too
much was held back meanwhile: else the line stays held, and is read for again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from config.limits import OUTBOX_FRAMES_MAX
from gateway_ws.fan_out.message import Encodings


@dataclass(frozen=True, slots=True)
class Told:
    """A durable event: its place in the outbox (None: it has none and is passed on as it comes), name and body."""

    seq: int | None
    kind: str
    body: dict[str, Any]
    shared: Encodings | None = None


class EventLine:
    """The order of one session's events. A new line is held and has no position."""

    __slots__ = ("_held", "_is_sound", "_position")

    def __init__(self) -> None:
        self._position: int | None = None
        self._held: list[Told] | None = []
        self._is_sound = False

    @property
    def position(self) -> int | None:
        """Up to which number everything was sent, or is in the snapshot that was sent; None before the first one."""
        return self._position

    @property
    def is_held(self) -> bool:
        """Whether events wait for a reading from Postgres."""
        return self._held is not None

    def hear(self, told: Told) -> list[Told]:
        """Take an event from pub/sub; return what is to be sent now."""
        if self._held is None:
            return [told] if self._passes(told) else []
        if len(self._held) < OUTBOX_FRAMES_MAX:
            self._held.append(told)
        elif self._is_sound:
            self.interrupt()
        return []

    def interrupt(self) -> None:
        """Hold from now on: events may be missing. A reading that is under way does not end this."""
        self._held = []
        self._is_sound = False

    def begin(self, *, is_heard: bool) -> None:
        """Hold from now on, for a reading from Postgres that begins now; `is_heard`: the topic is subscribed."""
        if self._held is None:
            self._held = []
        self._is_sound = is_heard

    def start_at(self, newest: int) -> None:
        """Take note that the client has everything up to `newest`."""
        self._position = newest

    def catch_up(self, missed: Iterable[Told], newest: int) -> list[Told]:
        """Return which of the events of the topic up to `newest` are to be sent now."""
        fresh = [told for told in missed if self._passes(told)]
        self._position = max(newest, self._position or 0)
        return fresh

    def release(self) -> list[Told]:
        """End what `begin` began: return what was held and is to be sent now, unless events may still be missing."""
        if not self._is_sound or self._held is None:
            return []
        held, self._held = self._held, None
        return [told for told in held if self._passes(told)]

    def _passes(self, told: Told) -> bool:
        if told.seq is None:
            return True
        if self._position is not None and told.seq <= self._position:
            return False
        self._position = told.seq
        return True
