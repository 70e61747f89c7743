"""A recorded worker: sends what is due, takes a booking from its offer to the end of its trip."""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from sim.client.clock import FixClock, wall_ms
from sim.client.errors import Disconnected, Refused
from sim.client.wire import FIX_DTYPE, UNKNOWN_U16
from sim.replay import taxi as taxi_module
from sim.replay.recording import ROW_DTYPE, Trip
from sim.replay.run import SpeedMismatch, _check_speed
from sim.replay.taxi import Taxi

OFFER = {"offer_id": "o1", "booking_id": "b1"}


class Phone:
    def __init__(self) -> None:
        self.commands: list[tuple[str, Mapping[str, Any]]] = []
        self.posted: list[np.ndarray] = []
        self.connected = asyncio.Event()
        self.connected.set()
        self.troubles: dict[str, list[Exception]] = {}
        self.seq = 0

    def post(self, records: bytes) -> int:
        self.posted.append(np.frombuffer(records, FIX_DTYPE))
        self.seq += 1
        return self.seq

    async def command(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.commands.append((name, dict(body)))
        await asyncio.sleep(0)
        if trouble := self.troubles.get(str(body.get("to", name))):
            raise trouble.pop(0)
        if name == "offer.accept":
            return {"booking": {"booking_id": "b1", "state": "assigned", "version": 3}}
        return {"booking": {"booking_id": "b1", "state": body.get("to", ""), "version": 4}}


class Heard:
    def __init__(self) -> None:
        self.trips: list[str] = []
        self.offers: list[str] = []
        self.acks: list[float] = []

    def trip_began(self, trip: Trip) -> None:
        self.trips.append(trip.trip_id)

    def offered(self, booking_id: str) -> None:
        self.offers.append(booking_id)

    def acked(self, latency_ms: float) -> None:
        self.acks.append(latency_ms)


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxi_module, "LINGER_S", 0.0)


def hired(group: asyncio.TaskGroup, *, accept_share: float = 1.0) -> tuple[Taxi, Phone, Heard]:
    heard, phone = Heard(), Phone()

    def spawn(work: Any) -> None:
        group.create_task(work)

    taxi = Taxi(
        0,
        bookings=heard,
        clock=FixClock(60.0, wall_ms()),
        accept_share=accept_share,
        rng=random.Random(1),
        spawn=spawn,
    )
    taxi.socket = phone  # type: ignore[assignment]
    return taxi, phone, heard


def rows(*ts_ms: int) -> np.ndarray:
    made = np.zeros(len(ts_ms), ROW_DTYPE)
    made["ts_ms"], made["lat_e7"], made["lng_e7"], made["accuracy_dm"] = ts_ms, 411_500_000, -86_100_000, UNKNOWN_U16
    return made


def trip(name: str, end_ms: int = 0) -> Trip:
    return Trip(name, 0, 0, end_ms, 41.15, -8.61, 41.16, -8.61)


async def until(holds: Callable[[], bool]) -> None:
    """Return once a condition holds; the test's own timeout ends the wait."""
    while not holds():  # noqa: ASYNC110 - the phone tells nobody
        await asyncio.sleep(0)


async def test_a_trip_is_booked_when_its_first_fix_is_in_its_cell_and_not_before() -> None:
    async with asyncio.TaskGroup() as group:
        taxi, phone, heard = hired(group)
        shift_ms = wall_ms() - 60_000
        taxi.drive(rows(1_000, 2_000), shift_ms=shift_ms, beginning=[trip("t1"), trip("t2")])
        taxi.drive(rows(3_000), shift_ms=shift_ms, beginning=[trip("t3")])
        assert heard.trips == []
        taxi.on_ack(1, 2, 7.5)
        assert heard.trips == ["t1", "t2"]
        taxi.on_ack(2, 1, 8.5)
    assert heard.trips == ["t1", "t2", "t3"]
    assert heard.acks == [7.5, 8.5]
    assert phone.posted[0]["ts_ms"].tolist() == [1_000 + shift_ms, 2_000 + shift_ms]
    assert taxi.oracle.accepted == 3


async def test_the_job_lasts_until_the_recorded_trip_ends() -> None:
    async with asyncio.TaskGroup() as group:
        taxi, phone, heard = hired(group)
        ends_in_ms = 12_000  # of the time of fixes: a fifth of a second here
        started_s = asyncio.get_running_loop().time()
        taxi.drive(rows(0), shift_ms=taxi._clock.now_ms(), beginning=[trip("t1", ends_in_ms)])
        taxi.on_event("offer", OFFER)
        await until(lambda: len(phone.commands) == 2)
        assert [body.get("to") for _, body in phone.commands] == [None, "en_route"]
        assert not taxi.free.is_set()
    assert asyncio.get_running_loop().time() - started_s >= 0.19
    assert [body.get("to") for _, body in phone.commands[1:]] == ["en_route", "arrived", "in_progress", "completed"]
    assert heard.offers == ["b1"]
    assert taxi.offers == {"received": 1, "accepted": 1}
    taxi.on_event("booking", {"booking_id": "b1", "state": "completed"})
    assert taxi.free.is_set()


async def test_declines_by_chance() -> None:
    async with asyncio.TaskGroup() as group:
        taxi, phone, _ = hired(group, accept_share=0.0)
        taxi.on_event("offer", OFFER)
    assert phone.commands == [("offer.decline", {"offer_id": "o1", "reason": "replay"})]


async def test_a_booking_that_went_another_way_frees_the_taxi_and_is_counted() -> None:
    async with asyncio.TaskGroup() as group:
        taxi, phone, _ = hired(group)
        phone.troubles["arrived"] = [Refused("conflict")]
        taxi.on_event("offer", OFFER)
    assert taxi.faults == {"arrived: conflict": 1}
    assert taxi.free.is_set()


async def test_a_job_is_taken_up_where_the_welcome_says_it_stands() -> None:
    async with asyncio.TaskGroup() as group:
        taxi, phone, _ = hired(group)
        phone.troubles["arrived"] = [Disconnected("lost")]
        taxi.on_event("offer", OFFER)
        await until(lambda: not phone.troubles["arrived"])
        taxi.on_welcome({"duty": "on", "offer": None, "booking": {"booking_id": "b1", "state": "arrived"}})
    assert [body.get("to") for _, body in phone.commands[1:]] == ["en_route", "arrived", "in_progress", "completed"]


async def test_goes_on_duty_until_it_is_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taxi_module, "STATE_RETRY_S", 0.01)
    async with asyncio.TaskGroup() as group:
        taxi, phone, _ = hired(group)
        phone.troubles["duty"] = [Disconnected("no answer")]
        taxi.on_welcome({"duty": "off", "offer": None, "booking": None})
        await taxi.on_duty.wait()
    assert len(phone.commands) == 2


async def test_refusals_are_counted_by_reason() -> None:
    async with asyncio.TaskGroup() as group:
        taxi, _, _ = hired(group)
        taxi.on_event("fixes.refused", {"reasons": {"jump": 2, "duplicate": 1}, "total": 3})
        taxi.on_event("fixes.refused", {"reasons": {"jump": 1}, "total": 1})
    assert taxi.fixes_refused == {"jump": 3, "duplicate": 1}
    assert taxi.last_refusal_at_ms > 0


def test_a_server_at_another_speed_is_told_before_anything_is_sent() -> None:
    _check_speed(FixClock(60.0, 1), 60.0)
    _check_speed(FixClock(60.0, 1), None)
    with pytest.raises(SpeedMismatch, match="runs at 1x, asked for 60x"):
        _check_speed(FixClock(), 60.0)
