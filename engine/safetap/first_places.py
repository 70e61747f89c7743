"""How many first notices a sender begins with at once, by channel.

A sender that began with thousands would spend their deadlines on itself: receivers that answer at once would not be
read in time, and be asked again. A place is held until the receiver has answered or let us wait for long enough to be
thought of as hung; so that a hung one delays the others by no more than that.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from config.limits import NOTICE_PLACE_MS, NOTICES_AT_ONCE_MAX
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel


class Place:
    """A place of one notice; it is left once, whoever says so first."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def asked(self) -> None:
        """From now on the receiver has the word: the place is free soon, answer or none."""
        asyncio.get_running_loop().call_later(NOTICE_PLACE_MS / MS_PER_S, self.leave)

    def leave(self) -> None:
        """Make room."""
        if self._leave is not None:
            leave, self._leave = self._leave, None
            leave()


class FirstPlaces:
    """The places of a sender; `on_room` hears when half of a channel's are free again."""

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._on_room = on_room
        self._taken: Counter[Channel] = Counter()

    def free(self, channel: Channel) -> int:
        """Return how many more may begin."""
        return NOTICES_AT_ONCE_MAX - self._taken[channel]

    def take(self, channel: Channel) -> Place:
        """Begin with one."""
        self._taken[channel] += 1

        def leave() -> None:
            self._taken[channel] -= 1
            if self._taken[channel] == NOTICES_AT_ONCE_MAX // 2:
                self._on_room()

        return Place(leave)
