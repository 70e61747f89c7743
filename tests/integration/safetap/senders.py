"""A notice sender whose time the test tells, and notices for it to send."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import asyncpg

from engine.core.clock import SystemClock
from engine.core.database import Connection
from engine.core.ids import NoticeId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Channel, IncidentKind
from engine.safetap.channels.notifier import NoticeMessage, Notifier, Receipt
from engine.safetap.notice_sender import NoticeSender
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World

CLOCK = SystemClock()


class Recorder:
    """A notifier that remembers, and fails as told."""

    def __init__(self) -> None:
        self.sent: list[NoticeMessage] = []
        self.error: Exception | None = None
        self.is_hung = False
        self.before_it_returns: Callable[[], Awaitable[object]] | None = None
        self.called = asyncio.Event()

    async def has(self, count: int) -> None:
        """Wait for so many notices."""
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                self.called.clear()
                await self.called.wait()

    async def send(self, message: NoticeMessage) -> Receipt:
        self.sent.append(message)
        self.called.set()
        if self.is_hung:
            await asyncio.Event().wait()
        if self.before_it_returns is not None:
            await self.before_it_returns()
        if self.error is not None:
            raise self.error
        return Receipt()


class Desk:
    """A sender whose time the test tells."""

    def __init__(self, world: World, notifiers: dict[Channel, Notifier]) -> None:
        self.world = world
        self.now_ms = NOW_MS
        self.sender = NoticeSender(pool=world.pool, clock=CLOCK, notifiers=notifiers, read_clock=self.read_clock)

    async def read_clock(self, _conn: Connection) -> int:
        return self.now_ms

    async def round(self) -> None:
        """Send what is due, and wait until each attempt is recorded."""
        async with asyncio.TaskGroup() as sends:
            await self.sender.round(sends)

    async def notice(self) -> asyncpg.Record:
        """The only notice."""
        (row,) = await self.world.pool.fetch("SELECT * FROM notice")
        return row


async def add_notice(
    world: World,
    channel: Channel,
    address: str,
    *,
    kind: IncidentKind = IncidentKind.BUTTON,
    target: str = "somebody",
    loop: int = 0,
    due_at_ms: int = NOW_MS,
) -> NoticeId:
    """Add a notice of the worker's incident, which is made where there is none; `loop` 0 makes it a first one."""
    notice_id = NoticeId(uuid4())
    async with world.pool.acquire() as conn:
        received = world.received(booking_id=world.booking_id, kind=kind, trigger_id=world.booking_id)
        incident_id = await store_trigger(conn, received, new_id=uuid4)
        await conn.execute(
            """INSERT INTO notice (notice_id, incident_id, org_id, idempotency_key, step, loop, target, channel,
                                   address, state, due_at, created_at)
               VALUES ($1, $2, $3, $4, 2, $8, $9, $5, $6, 'pending', $7, $7)""",
            notice_id,
            incident_id,
            world.org_id,
            str(uuid4()),
            channel.value,
            address,
            utc_from_ms(due_at_ms),
            loop,
            target,
        )
    return notice_id
