"""Phones that call for help by the clock, whatever became of the call before: delays count from when a call was due.

They write prebuilt requests and read answers, and do nothing else: phones are not on the server, and what they cost
here would be counted as the server's.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from uuid import UUID, uuid4

import numpy as np
import orjson

PATH: Final = "/v1/safetap"
HUNG_S: Final = 10.0
CONNECTIONS: Final = 64
"""Connections that are open before the first call; more are opened where all of them wait."""


@dataclass(slots=True)
class Calls:
    """What became of a run of calls."""

    delays_ms: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    sent: dict[UUID, float] = field(default_factory=dict)
    """Trigger id -> when it was due, `time.perf_counter`."""
    kept: set[UUID] = field(default_factory=set)
    """What was acknowledged as `committed` or `spooled`."""

    def percentile(self, percent: float) -> float:
        """Return a delay in milliseconds."""
        return float(np.percentile(self.delays_ms, percent)) if self.delays_ms else HUNG_S * 1e3

    @property
    def max_ms(self) -> float:
        """The longest."""
        return max(self.delays_ms, default=HUNG_S * 1e3)

    def settle(self, trigger_id: UUID, state: str) -> None:
        """Count a call that has ended."""
        self.delays_ms.append((time.perf_counter() - self.sent[trigger_id]) * 1e3)
        self.states[state] += 1
        if state in {"committed", "spooled"}:
            self.kept.add(trigger_id)


async def call(port: int, tokens: Sequence[str], *, per_s: float, seconds: float) -> Calls:
    """Call `per_s` times a second, each time the next person."""
    calls, loop = Calls(), asyncio.get_running_loop()
    free: deque[_Phone] = deque()

    async def opened() -> _Phone:
        _, phone = await loop.create_connection(lambda: _Phone(calls, free), "127.0.0.1", port)
        return phone

    phones = [await opened() for _ in range(CONNECTIONS)]
    free.extend(phones)
    start = time.perf_counter() + 0.1
    for number in range(int(per_s * seconds)):
        due = start + number / per_s
        if (early_s := due - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        if not free:
            phones.append(await opened())
            free.append(phones[-1])
        free.popleft().call(tokens[number % len(tokens)], due)
    until = time.perf_counter() + HUNG_S
    while len(calls.delays_ms) < len(calls.sent) and time.perf_counter() < until:  # noqa: ASYNC110 - a clock ends it
        await asyncio.sleep(0.02)
    for phone in phones:
        phone.give_up()
    return calls


class _Phone(asyncio.Protocol):
    """One connection; a call at a time."""

    def __init__(self, calls: Calls, free: "deque[_Phone]") -> None:
        self._calls = calls
        self._free = free
        self._heard = b""
        self._trigger_id: UUID | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def call(self, token: str, due: float) -> None:
        self._trigger_id = uuid4()
        self._calls.sent[self._trigger_id] = due
        body = b'{"trigger_id":"%s","kind":"button"}' % str(self._trigger_id).encode()
        self._transport.write(
            b"POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (PATH.encode(), token.encode(), len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, gap, body = self._heard.partition(b"\r\n\r\n")
        if not gap or not body.endswith(b"}") or self._trigger_id is None:
            return
        self._heard = b""
        trigger_id, self._trigger_id = self._trigger_id, None
        self._calls.settle(trigger_id, str(orjson.loads(body).get("state", head[9:12].decode())))
        self._free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._trigger_id is not None:
            self._calls.settle(self._trigger_id, "lost")
            self._trigger_id = None

    def give_up(self) -> None:
        self._transport.abort()
