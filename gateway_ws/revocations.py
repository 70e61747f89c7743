"""Closes the sockets of sign-ins that have ended: at once where the outbox tells of it, else at the next look.

The fan-out may have missed an event, and somebody may have changed a row by hand: so Postgres is asked about each
session when it opens, about all of them after a gap, and about all of them now and then.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

import structlog

from config.limits import REDIS_TIMEOUT_MS, STANDING_CHECK_MS, STANDING_SESSIONS_MAX, STANDING_TICK_MS
from engine.core.clock import Clock
from engine.core.errors import Unavailable
from engine.people.revocation import GATEWAYS_TOPIC, PEOPLE_ENDED, SESSION_ENDED
from gateway_ws.closing import Close
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.fan_out.message import Message
from gateway_ws.fan_out.subscriptions import FanOut
from gateway_ws.metrics import EVICTED
from gateway_ws.registry import Registry, Session
from gateway_ws.speakers import Speakers

log = structlog.get_logger(__name__)


class Revocations:
    """One loop and one listener a gateway."""

    def __init__(
        self, registry: Registry, speakers: Speakers, fan_out: FanOut, calls: EngineCalls, *, clock: Clock
    ) -> None:
        self._registry = registry
        self._speakers = speakers
        self._fan_out = fan_out
        self._calls = calls
        self._clock = clock
        self._all_due_ms = clock.now_ms() + STANDING_CHECK_MS

    def check_all(self) -> None:
        """Ask about every session soon: an event may have been missed."""
        self._all_due_ms = 0

    async def run(self) -> None:
        """Listen, and ask Postgres about whom nobody has asked yet, for ever."""
        await self._fan_out.subscribe(GATEWAYS_TOPIC, self._hear, timeout_ms=REDIS_TIMEOUT_MS)
        while True:
            await self._clock.sleep_ms(STANDING_TICK_MS)
            if self._clock.now_ms() >= self._all_due_ms:
                self._registry.all_unchecked()
                self._all_due_ms = self._clock.now_ms() + STANDING_CHECK_MS
            await self._check(self._registry.take_unchecked())

    async def _check(self, sessions: Sequence[Session]) -> None:
        """Close those whose sign-in has ended. While Postgres is away they stay, and are asked about again later."""
        for batch in _batches(sessions):
            try:
                standing = await self._calls.standing([session.principal for session in batch])
            except Unavailable:
                self._registry.not_checked(batch)
                continue
            self._evict(session for session, stands in zip(batch, standing, strict=True) if not stands)

    def _hear(self, message: Message) -> None:
        event = message.json()
        now_ms, body = self._clock.now_ms(), event["body"]
        if event["kind"] == SESSION_ENDED:
            self._speakers.end_session(UUID(body["session_id"]), now_ms)
        elif event["kind"] == PEOPLE_ENDED:
            self._end_people(body, now_ms)
        else:
            return
        self._evict(session for session in self._registry if self._speakers.has_ended(session.principal))

    def _end_people(self, body: dict[str, Any], now_ms: int) -> None:
        for person_id in body["person_ids"]:
            self._speakers.end_person(UUID(person_id), int(body["before_ms"]), now_ms)

    def _evict(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            EVICTED.inc()
            log.info("session.evicted", kind=session.kind)
            session.close(Close.NOT_SIGNED_IN, "this sign-in has ended")


def _batches(sessions: Sequence[Session]) -> Iterator[list[Session]]:
    rest = iter(sessions)
    while batch := list(islice(rest, STANDING_SESSIONS_MAX)):
        yield batch
