"""Travel times of somebody's OSRM or Valhalla over HTTP; the straight line where it does not answer."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import aiohttp
import numpy as np
import structlog
from yarl import URL

from config.limits import ROUTER_ANSWER_BYTES_MAX, ROUTER_AT_ONCE_MAX, ROUTER_PLACES_MAX, ROUTER_TIMEOUT_MS
from engine.core.clock import Clock
from engine.core.units import MS_PER_S
from engine.eta.breaker import Breaker
from engine.eta.learned_times import PRIOR_HIGH, PRIOR_LOW
from engine.eta.router_wire import RouterAnswerError, RouterKind, question, seconds_of_answer
from engine.eta.source import EtaMatrix, EtaOutcome, Floats, Question, straight_arrivals

JSON: Final = {"Content-Type": "application/json"}

log = structlog.get_logger()


class RouterSource:
    """Asks one router; enter it before use."""

    def __init__(self, kind: RouterKind, url: str, *, clock: Clock, timeout_ms: int = ROUTER_TIMEOUT_MS) -> None:
        self._kind = kind
        self._url = url.rstrip("/")
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._breaker = Breaker()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_ms / MS_PER_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        """Return the router's times; the straight line's for places beyond one question's, or when it is down."""
        del at_ms  # neither server is asked for traffic
        straight = straight_arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg, EtaOutcome.ROUTER_DOWN)
        asked = slice(0, min(len(from_lat_deg), ROUTER_PLACES_MAX))
        straight.outcome[asked.stop :] = EtaOutcome.STRAIGHT_LINE
        if asked.stop == 0 or not self._breaker.may_ask(self._clock.now_ms()):
            return straight
        try:
            seconds = await self._ask(from_lat_deg[asked], from_lng_deg[asked], to_lat_deg, to_lng_deg)
        except (aiohttp.ClientError, OSError, TimeoutError, RouterAnswerError) as error:
            self._breaker.failed(self._clock.now_ms())
            log.warning("eta.router_failed", router=self._kind.value, reason=type(error).__name__)
            return straight
        self._breaker.answered()
        return _merged(straight, seconds, asked)

    async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
        """Return the router's times of each question, a few asked at once."""
        found: list[EtaMatrix] = []
        for batch in (questions[at : at + ROUTER_AT_ONCE_MAX] for at in range(0, len(questions), ROUTER_AT_ONCE_MAX)):
            found += await asyncio.gather(
                *(self.arrivals(q.from_lat_deg, q.from_lng_deg, q.to_lat_deg, q.to_lng_deg, at_ms=at_ms) for q in batch)
            )
        return found

    async def _ask(self, from_lat: Floats, from_lng: Floats, to_lat: float, to_lng: float) -> Floats:
        assert self._session is not None, "enter the source before use"
        asked = question(self._kind, from_lat, from_lng, to_lat, to_lng)
        url = URL(self._url + asked.path, encoded=True)
        async with self._session.request(
            asked.method, url, data=asked.body, headers=JSON, allow_redirects=False, raise_for_status=True
        ) as response:
            body = await _bounded(response)
        return seconds_of_answer(self._kind, body, len(from_lat))


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > ROUTER_ANSWER_BYTES_MAX:
            raise RouterAnswerError("the answer is too long")
    return bytes(body)


def _merged(straight: EtaMatrix, seconds: Floats, asked: slice) -> EtaMatrix:
    eta_s, low_s, high_s = (array.copy() for array in (straight.eta_s, straight.low_s, straight.high_s))
    outcome = straight.outcome.copy()
    is_told = ~np.isnan(seconds)
    told = np.flatnonzero(is_told)
    eta_s[told] = seconds[is_told]
    low_s[told], high_s[told] = eta_s[told] * PRIOR_LOW, eta_s[told] * PRIOR_HIGH
    outcome[asked] = np.where(is_told, EtaOutcome.ROUTER, EtaOutcome.NO_ROUTE)
    return EtaMatrix(eta_s, low_s, high_s, outcome)
