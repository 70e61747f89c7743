"""Tells desks which of the processes that alarms depend on nothing is heard of any more."""

from collections.abc import Mapping
from typing import Never, Protocol

from config.limits import BEAT_MISSED_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.units import rfc3339, utc_from_ms
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake
from engine.safetap.incident_store import read_clock
from engine.safetap.watchdog.beats import read_health
from engine.safetap.watchdog.health import Health


class Show(Protocol):
    """Shows every desk the news."""

    def __call__(self, news: Mapping[str, object], *, is_well: bool) -> None:
        """Show them."""
        ...


class PeerNews:
    """Reads who is missing whenever that may have changed. `changed` is the handler of `clenzy_peer`."""

    def __init__(self, *, pool: Pool, clock: Clock, show: Show) -> None:
        self._pool = pool
        self._clock = clock
        self._show = show
        self._wake = Wake()
        self._shown: Mapping[str, object] = {"missing": []}

    def changed(self, _payload: str) -> None:
        """Take note that somebody went missing or came back."""
        self._wake.set()

    async def run(self) -> Never:
        """Show news until cancelled, through restarts of Postgres."""
        await keep_running(self._round, name="peer_news", clock=self._clock, errors=POSTGRES_ERRORS)

    async def _round(self) -> None:
        await self._wake.wait(BEAT_MISSED_MS)
        async with self._pool.acquire() as conn:
            health = await read_health(conn, now_ms=await read_clock(conn))
        news = news_of(health)
        if news != self._shown:
            self._shown = news
            self._show(news, is_well=not health.missing)


def news_of(health: Health) -> dict[str, object]:
    """Return what desks are told: which parts are missing since when. Names of machines are no business of theirs."""
    missing = sorted(health.missing, key=lambda one: (one.since_ms, one.part))
    return {"missing": [{"part": one.part.value, "since": rfc3339(utc_from_ms(one.since_ms))} for one in missing]}
