"""A listener on a real Postgres that ends its connection again and again."""

import asyncio
from dataclasses import dataclass, field

import asyncpg

from config.limits import RESTART_BACKOFF_MS_MIN
from engine.core.clock import SystemClock
from engine.outbox.listener import Listener

WAIT_S = 20


@dataclass
class Impatient(SystemClock):
    """Remembers how long it was asked to sleep, and sleeps a moment."""

    slept_ms: list[float] = field(default_factory=list)

    async def sleep_ms(self, delay_ms: float) -> None:
        self.slept_ms.append(delay_ms)
        await asyncio.sleep(0.001)


async def test_it_listens_again_as_soon_after_the_tenth_end_as_after_the_first(pool: asyncpg.Pool) -> None:
    clock, heard = Impatient(), asyncio.Queue[str]()
    listener = Listener(pool=pool, clock=clock, handlers={"clenzy_test": heard.put_nowait})
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listener.run())
        for number in range(10):
            assert await heard.get() == ""  # it listens: anything may have been missed
            await pool.execute("SELECT pg_notify('clenzy_test', $1)", str(number))
            assert await heard.get() == str(number)
            await pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database() AND query LIKE 'LISTEN%'"
            )
        assert await heard.get() == ""
        listening.cancel()
    assert clock.slept_ms == [RESTART_BACKOFF_MS_MIN] * 10
