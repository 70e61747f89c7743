"""What customers are told of arrivals: by the source, without waiting for it, and by the straight line till then."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from config.limits import CUSTOMER_ETA_KEPT_MS, CUSTOMER_ETAS_A_TURN_MAX, CUSTOMER_ETAS_EVERY_MS
from engine.eta.road_source import BASE_S_MIN
from engine.eta.source import EtaMatrix, EtaOutcome, Question, StraightLineSource, straight_answer
from engine.eta.straight_line import estimate
from gateway_ws.customer_etas import CustomerEtas
from gateway_ws.jobs import Job
from tests.fakes import ManualClock

DOOR = 41.16, -8.60
HERE = 41.15, -8.61
JOB = Job("b", 1, *DOOR, "c", is_watched=True)


class SlowRoads(StraightLineSource):
    """Roads on which everything takes twice as long; `asked` is what was asked, `gate` when it is answered."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
        del at_ms
        self.asked += questions
        await self.gate.wait()
        lines = [straight_answer(each) for each in questions]
        roads = np.array([EtaOutcome.ROADS], np.uint8)
        return [
            replace(each, eta_s=2 * each.eta_s, low_s=1.5 * each.eta_s, high_s=3 * each.eta_s, outcome=roads)
            for each in lines
        ]


async def test_the_line_tells_until_the_source_has_answered_and_then_in_proportion() -> None:
    source, clock = SlowRoads(), ManualClock()
    etas, line = CustomerEtas(source, clock=clock), estimate(*HERE, *DOOR)
    source.gate.clear()
    assert etas.of(7, JOB, *HERE) == line
    turn = asyncio.create_task(etas.turn())
    await asyncio.sleep(0)
    assert etas.of(7, JOB, *HERE) == line, "nobody waits for a source that does not answer"
    source.gate.set()
    await turn
    told = etas.of(7, JOB, *HERE)
    np.testing.assert_allclose([told.eta_s, told.low_s, told.high_s], line.eta_s * np.array([2, 1.5, 3]), atol=2)
    nearer = (HERE[0] + DOOR[0]) / 2, (HERE[1] + DOOR[1]) / 2
    np.testing.assert_allclose(etas.of(7, JOB, *nearer).eta_s, 2 * estimate(*nearer, *DOOR).eta_s, atol=2)
    other = replace(JOB, booking_id="another")
    assert etas.of(7, other, *HERE) == line, "what was said of one job is not said of the next"


async def test_the_source_is_asked_seldom_and_an_old_answer_is_forgotten() -> None:
    source, clock = SlowRoads(), ManualClock()
    etas = CustomerEtas(source, clock=clock)
    for _ in range(3):
        etas.of(7, JOB, *HERE)
        await etas.turn()
    assert len(source.asked) == 1
    await clock.advance_ms(CUSTOMER_ETAS_EVERY_MS)
    etas.of(7, JOB, *HERE)
    await etas.turn()
    assert len(source.asked) == 2
    await clock.advance_ms(CUSTOMER_ETA_KEPT_MS + 1)
    await etas.turn()
    assert etas.of(7, JOB, *HERE) == estimate(*HERE, *DOOR)


async def test_a_turn_asks_about_so_many_and_the_next_one_about_the_others() -> None:
    source = SlowRoads()
    etas = CustomerEtas(source, clock=ManualClock())
    for slot in range(CUSTOMER_ETAS_A_TURN_MAX + 3):
        etas.of(slot, JOB, *HERE)
    await etas.turn()
    assert len(source.asked) == CUSTOMER_ETAS_A_TURN_MAX
    await etas.turn()
    assert len(source.asked) == CUSTOMER_ETAS_A_TURN_MAX + 3


async def test_at_the_door_there_is_still_a_time() -> None:
    etas = CustomerEtas(SlowRoads(), clock=ManualClock())
    etas.of(1, JOB, *DOOR)
    await etas.turn()
    assert etas.of(1, JOB, *DOOR).eta_s == 0


async def test_who_passes_the_door_is_not_told_to_be_far_away_a_moment_later() -> None:
    """No trip by road takes less than some seconds, and these are in proportion to nothing."""

    class Roads(SlowRoads):
        async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
            found = await super().answers(questions, at_ms=at_ms)
            return [replace(each, eta_s=np.maximum(each.eta_s, BASE_S_MIN)) for each in found]

    etas, further = CustomerEtas(Roads(), clock=ManualClock()), (DOOR[0] + 5e-4, DOOR[1])
    etas.of(1, JOB, *DOOR)
    await etas.turn()
    assert etas.of(1, JOB, *DOOR).eta_s == BASE_S_MIN
    assert etas.of(1, JOB, *further).eta_s <= 2 * estimate(*further, *DOOR).eta_s


async def test_a_source_that_falls_back_changes_not_a_second_of_what_the_line_says() -> None:
    """Whether it has answered yet must not be seen: two phones with the same fixes are told the same bytes."""
    etas = CustomerEtas(StraightLineSource(), clock=ManualClock())
    for number in range(200):
        here = HERE[0] + number * 1e-4, HERE[1]
        before = etas.of(7, JOB, *here)
        await etas.turn()
        assert etas.of(7, JOB, *here) == before == estimate(*here, *DOOR)
