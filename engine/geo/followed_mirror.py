"""A mirror that follows the cell index for as long as a process runs."""

from engine.core.clock import Clock
from engine.core.redis_store import RedisClient
from engine.geo.cell_index import CellIndex
from engine.geo.feed_follower import FeedFollower, FeedListener
from engine.geo.fixes import RecordArray, SlotArray
from engine.geo.mirror import Mirror, Region


class FollowedMirror:
    """The mirror with what keeps it. `run` it in a task; one thread, one event loop."""

    def __init__(self, redis: RedisClient, index: CellIndex, *, clock: Clock, region: Region | None = None) -> None:
        self.mirror = Mirror(region)
        self._behind: list[FeedListener] = []
        self._follower = FeedFollower(redis, index, clock=clock, listener=self)

    def tell(self, listener: FeedListener) -> None:
        """Tell this one, too, of everything, after the mirror has taken it over."""
        self._behind.append(listener)

    def moved(self, slots: SlotArray, records: RecordArray) -> None:
        """Take over what was written."""
        for listener in (self.mirror, *self._behind):
            listener.moved(slots, records)

    def replaced(self, page: int, slots: SlotArray, records: RecordArray) -> None:
        """Take over a whole page."""
        for listener in (self.mirror, *self._behind):
            listener.replaced(page, slots, records)

    @property
    def whole(self) -> Mirror | None:
        """The mirror while it holds everything that was written; else `None`: ask the index."""
        return self.mirror if self._follower.is_whole else None

    async def until_whole(self) -> None:
        """Wait until it holds everything."""
        await self._follower.whole()

    async def run(self) -> None:
        """Follow until cancelled, through restarts of Redis."""
        await self._follower.run()
