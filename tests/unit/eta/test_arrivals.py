"""One trip at a time: what was asked a moment ago is not asked again, and a slow source is asked a few at once."""

import asyncio

import numpy as np

from config.limits import ARRIVALS_KEPT_MAX, CUSTOMER_ETAS_EVERY_MS, ROUTER_AT_ONCE_MAX
from engine.eta.arrivals import Arrivals
from engine.eta.source import EtaMatrix, Floats, StraightLineSource
from engine.eta.straight_line import estimate
from tests.fakes import ManualClock

DOOR = 41.15, -8.61


class SlowLine(StraightLineSource):
    """Answers when its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[float] = []
        self.waiting = self.waiting_max = 0

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        self.asked.append(float(from_lat_deg[0]))
        self.waiting += 1
        self.waiting_max = max(self.waiting_max, self.waiting)
        await self.gate.wait()
        self.waiting -= 1
        return await super().arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg, at_ms=at_ms)


async def test_a_way_is_asked_about_anew_when_its_answer_is_old() -> None:
    source, clock = SlowLine(), ManualClock()
    arrivals, start = Arrivals(source, clock=clock), (41.16, -8.61)
    for _ in range(3):
        assert await arrivals.of(start, DOOR) == estimate(*start, *DOOR)
    assert len(source.asked) == 1
    clock.step_ms(CUSTOMER_ETAS_EVERY_MS)
    await arrivals.of(start, DOOR)
    assert len(source.asked) == 2
    assert (await arrivals.of(DOOR, start)).eta_s > 0
    assert len(source.asked) == 3, "the way back is another way"


async def test_a_crowd_asks_a_few_at_once_and_hardly_more_than_once_a_way() -> None:
    source = SlowLine()
    source.gate.clear()
    arrivals = Arrivals(source, clock=ManualClock())
    starts = [(41.16 + number / 1000, -8.61) for number in range(2 * ROUTER_AT_ONCE_MAX)]
    crowd = [asyncio.ensure_future(arrivals.of(start, DOOR)) for start in starts for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()
    told = await asyncio.gather(*crowd)
    assert source.waiting_max <= ROUTER_AT_ONCE_MAX
    assert len(source.asked) < len(starts) + ROUTER_AT_ONCE_MAX
    assert [eta.eta_s for eta in told[::20]] == [estimate(*start, *DOOR).eta_s for start in starts]


async def test_no_more_than_so_many_answers_are_kept() -> None:
    source = SlowLine()
    arrivals = Arrivals(source, clock=ManualClock())
    lats = np.linspace(41.1, 41.2, ARRIVALS_KEPT_MAX + 1).tolist()
    for lat_deg in [*lats, lats[-1], lats[0]]:
        await arrivals.of((lat_deg, -8.61), DOOR)
    assert source.asked == [*lats, lats[0]], "the oldest was forgotten"
