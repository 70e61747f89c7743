"""Workers and customers as people: what they do with offers, states, lost connections."""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from sim.agents.customer import Customer, Wish
from sim.agents.demand import Demand
from sim.agents.habits import HOURLY_DEMAND, CustomerHabits, WorkerHabits, demand_factor
from sim.agents.metrics import Tally, metrics_line
from sim.agents.worker import Worker
from sim.city.plan import CityPlan, draw_city
from sim.client.errors import Disconnected, Refused
from sim.client.worker_socket import SocketCounts

AT_ONCE = WorkerHabits(
    accept_share=1.0,
    ignore_share=0.0,
    answer_s=(0, 0),
    set_out_s=(0, 0),
    at_door_s=(0, 0),
    work_scale=0.0,
)
OFFER = {"offer_id": "o1", "booking_id": "b1"}


def booking(state: str, version: int, booking_id: str = "b1") -> dict[str, Any]:
    pin = {"lat": 41.15, "lng": -8.61}
    return {"booking_id": booking_id, "state": state, "version": version, "service_code": "cleaning", "pin": pin}


class Phone:
    """Answers commands as a server with one booking does, or as told."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Mapping[str, Any]]] = []
        self.connected = asyncio.Event()
        self.connected.set()
        self.asked = asyncio.Event()
        self.version = 3
        self.state: dict[str, Any] = {"duty": "on", "offer": None, "booking": None}
        self.troubles: dict[str, list[Exception]] = {}

    async def command(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.commands.append((name, dict(body)))
        self.asked.set()
        await asyncio.sleep(0)
        trouble = self.troubles.get(str(body.get("to", name)))
        if trouble:
            raise trouble.pop(0)
        self.version += 1
        match name:
            case "offer.accept":
                return {"booking": booking("assigned", self.version)}
            case "booking.transition":
                return {"booking": booking(body["to"], self.version)}
            case "state":
                return self.state
            case _:
                return {}


class City:
    """Drives nobody anywhere, at once."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.group = group
        self.live: list[int] = []
        self.driven: list[tuple[float, float]] = []
        self.roams = 0

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.group.create_task(work)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self.group.create_task(work)

    def went_live(self, number: int) -> None:
        self.live.append(number)

    async def drive(self, _number: int, lat_deg: float, lng_deg: float) -> None:
        self.driven.append((lat_deg, lng_deg))

    def roam(self, _number: int) -> None:
        self.roams += 1


def hired(group: asyncio.TaskGroup, habits: WorkerHabits = AT_ONCE) -> tuple[Worker, Phone, City, Tally]:
    phone, city, tally = Phone(), City(group), Tally()
    worker = Worker(
        0, surroundings=city, habits=habits, tally=tally, durations_min={"cleaning": 60.0}, rng=random.Random(1)
    )
    worker.socket = phone  # type: ignore[assignment]
    return worker, phone, city, tally


def moves(phone: Phone) -> list[str]:
    return [body["to"] for name, body in phone.commands if name == "booking.transition"]


async def test_an_accepted_offer_is_driven_to_and_worked_to_its_end() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, city, tally = hired(group)
        worker.on_event("offer", OFFER)
        worker.on_event("offer", OFFER)  # told twice, considered once
    assert phone.commands[0] == ("offer.accept", {"offer_id": "o1"})
    assert moves(phone) == ["en_route", "arrived", "in_progress", "completed"]
    assert city.driven == [(41.15, -8.61)]
    assert city.roams == 1
    assert not worker.is_busy
    assert tally.offers == {"received": 1, "accepted": 1}


async def test_old_news_of_a_finished_booking_starts_nothing() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, _, _ = hired(group)
        worker.on_event("offer", OFFER)
    done = len(phone.commands)
    async with asyncio.TaskGroup() as group:
        worker._surroundings = City(group)
        for version, state in ((4, "assigned"), (5, "en_route"), (7, "in_progress"), (8, "completed")):
            worker.on_event("booking", booking(state, version))
    assert len(phone.commands) == done
    assert not worker.is_busy


async def test_declines_and_ignores_as_its_habits_say() -> None:
    async with asyncio.TaskGroup() as group:
        decliner, phone, _, tally = hired(group, WorkerHabits(accept_share=0, ignore_share=0, answer_s=(0, 0)))
        decliner.on_event("offer", OFFER)
        ignorer, silent, _, other = hired(group, WorkerHabits(accept_share=0, ignore_share=1, answer_s=(0, 0)))
        ignorer.on_event("offer", OFFER)
    assert phone.commands == [("offer.decline", {"offer_id": "o1", "reason": "not now"})]
    assert tally.offers["declined"] == 1
    assert silent.commands == []
    assert other.offers["ignored"] == 1


async def test_an_offer_that_is_gone_is_not_answered() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, _, tally = hired(group)
        worker.on_event("offer", OFFER)
        worker.on_event("offer.gone", {"offer_id": "o1", "state": "expired"})
    assert phone.commands == []
    assert tally.offers["late"] == 1


async def test_a_cancelled_booking_is_dropped_in_the_middle() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, city, _ = hired(group, WorkerHabits(set_out_s=(60, 60)))
        worker.on_event("booking", booking("assigned", 3))
        await asyncio.sleep(0)
        assert worker.is_busy
        worker.on_event("booking", booking("cancelled", 4))
    assert not worker.is_busy
    assert moves(phone) == []
    assert city.roams == 1


async def test_somebody_elses_booking_changes_nothing() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, _, _ = hired(group)
        worker.on_event("booking", booking("cancelled", 4, "b9"))
        worker.on_event("booking", booking("searching", 4, "b9"))
    assert phone.commands == []


async def test_after_a_lost_connection_the_welcome_tells_where_the_job_stands() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, _, _ = hired(group)
        phone.troubles["arrived"] = [Disconnected("lost")]
        phone.connected.clear()
        worker.on_event("booking", booking("en_route", 5))
        await phone.asked.wait()
        # The server had taken the move before the connection broke.
        worker.on_welcome({"duty": "on", "offer": None, "booking": booking("arrived", 6)})
        phone.version = 6
        phone.connected.set()
    assert moves(phone) == ["arrived", "in_progress", "completed"]


async def test_a_refused_move_makes_the_worker_believe_the_server() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, _, tally = hired(group)
        phone.troubles["arrived"] = [Refused("conflict", "cancelled")]
        worker.on_event("booking", booking("en_route", 5))
    assert tally.commands_refused == {"arrived: conflict": 1}
    assert [name for name, _ in phone.commands] == ["booking.transition", "state"]
    assert not worker.is_busy


async def test_goes_on_duty_until_it_is_granted_and_takes_up_what_is_open() -> None:
    async with asyncio.TaskGroup() as group:
        worker, phone, city, tally = hired(group)
        phone.troubles["duty"] = [Refused("unavailable")]
        worker.on_welcome({"duty": "off", "offer": OFFER, "booking": None})
    assert [name for name, _ in phone.commands].count("duty") == 2
    assert city.live == [0]
    assert tally.offers["accepted"] == 1


# Customers

SMALL_CITY = draw_city(41.15, -8.61, seed=1, plan=CityPlan(columns=12, rows=12, ring_radius_m=900))
WISH = Wish("cleaning", 41.15, -8.61, "Rua Nova 1", "2")


class Desk:
    """The API's side of one booking: it moves on each time it is looked at."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.version = 1
        self.calls: list[tuple[str, Mapping[str, Any] | None]] = []

    def next(self) -> dict[str, Any]:
        self.version += 1
        return booking(self.states.pop(0) if len(self.states) > 1 else self.states[0], self.version)

    async def post(self, path: str, body: Mapping[str, Any], **_more: object) -> dict[str, Any]:
        self.calls.append((path, body))
        if path.endswith("/transitions"):
            self.version += 1
            return booking(str(body["to"]), self.version)
        return booking("searching", 1)

    async def get(self, path: str, **_more: object) -> dict[str, Any]:
        self.calls.append((path, None))
        if path == "/v1/bookings":
            return {"items": [booking("confirmed", 9, "b0"), booking("en_route", 4)]}
        return self.next()


class SilentPhone:
    """A customer's phone that never connects: what happens must then be asked for."""

    def __init__(self, **_wiring: object) -> None:
        self.losses = 0
        self.connected = asyncio.Event()

    async def run(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def silent_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.agents.customer.CustomerSocket", SilentPhone)
    monkeypatch.setattr("sim.agents.customer.NEWS_S", 0.01)


def customer(desk: Desk, tally: Tally, **habits: Any) -> Customer:
    return Customer(
        None,  # type: ignore[arg-type]
        http=None,  # type: ignore[arg-type]
        rest=desk,  # type: ignore[arg-type]
        gateway_url="",
        habits=CustomerHabits(**{"cancel_share": 0.0, "confirm_after_s": (0, 0)} | habits),
        tally=tally,
        rng=random.Random(1),
    )


@pytest.mark.usefixtures("silent_phones")
async def test_a_customer_without_a_connection_still_sees_the_booking_through() -> None:
    desk, tally = Desk("offered", "assigned", "en_route", "arrived", "in_progress", "completed"), Tally()
    person = customer(desk, tally)
    await person.book(WISH)
    assert desk.calls[0] == ("/v1/bookings", WISH.body())
    assert desk.calls[-1] == ("/v1/bookings/b1/transitions", {"to": "confirmed"})
    assert tally.bookings == {"made": 1, "confirmed": 1}
    assert not person.is_waiting
    assert not any(tally.states.values())


@pytest.mark.usefixtures("silent_phones")
async def test_a_customer_changes_their_mind_while_they_may() -> None:
    desk, tally = Desk("assigned"), Tally()
    await customer(desk, tally, cancel_share=1.0, cancel_after_s=(0.02, 0.02)).book(WISH)
    assert desk.calls[-1] == ("/v1/bookings/b1/transitions", {"to": "cancelled"})
    assert tally.bookings["cancelled"] == 1


@pytest.mark.usefixtures("silent_phones")
async def test_a_customer_takes_up_what_an_earlier_start_left() -> None:
    desk, tally = Desk("completed"), Tally()
    await customer(desk, tally).resume()
    assert tally.bookings == {"resumed": 1, "confirmed": 1}


@pytest.mark.usefixtures("silent_phones")
async def test_a_booking_nobody_took_ends_and_one_that_never_ends_is_given_up() -> None:
    tally = Tally()
    await customer(Desk("unserved"), tally).book(WISH)
    await customer(Desk("searching"), tally, gives_up_s=0.05).book(WISH)
    assert (tally.bookings["unserved"], tally.bookings["given up"]) == (1, 1)


@pytest.mark.usefixtures("silent_phones")
async def test_a_refused_booking_is_counted_and_leaves_the_customer_free() -> None:
    desk, tally = Desk("searching"), Tally()

    async def refuse(*_: object, **__: object) -> dict[str, Any]:
        raise Refused("invalid_input", "pin")

    desk.post = refuse  # type: ignore[method-assign]
    person = customer(desk, tally)
    await person.book(WISH)
    assert tally.bookings == {"refused: invalid_input": 1, "failed": 1}
    assert not person.is_waiting
    assert not any(tally.states.values())


# Demand


def demand(**more: Any) -> Demand:
    settings = {"services": ["a", "b"], "per_min": 30.0, "profile": "day", "tz": "Europe/Lisbon"} | more
    return Demand(streets=SMALL_CITY, rng=random.Random(3), **settings)


def test_the_rate_follows_the_local_hour() -> None:
    ten_local, three_local = 1_718_442_000_000, 1_718_416_800_000  # 15 June 2024, Lisbon is UTC+1
    assert demand(wall=lambda: ten_local).rate_per_s() > 2.5 * demand(wall=lambda: three_local).rate_per_s()
    assert demand(profile="flat").rate_per_s() == 0.5


def test_a_day_has_the_rate_that_was_asked_for() -> None:
    mean = sum(demand_factor(step / 10, "day") for step in range(240)) / 240
    assert mean == pytest.approx(1.0)
    assert len(HOURLY_DEMAND) == 24
    assert demand_factor(23.99, "day") == pytest.approx(demand_factor(0, "day"), rel=0.05)


def test_an_unknown_profile_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no such profile"):
        demand(profile="weekend")


def test_wishes_are_at_doors_along_the_streets() -> None:
    made = demand()
    for _ in range(50):
        wish = made.wish()
        assert wish.service_code in {"a", "b"}
        junction = SMALL_CITY.nearest_junction(wish.lat_deg, wish.lng_deg)
        lat_deg, lng_deg = SMALL_CITY.place_of(junction)
        assert abs(lat_deg - wish.lat_deg) < 0.001
        assert abs(lng_deg - wish.lng_deg) < 0.001


async def test_nobody_free_to_book_is_counted() -> None:
    made = demand()
    async with asyncio.TaskGroup() as group:
        made._book(group)
    assert made.unmet == 1


def test_the_metrics_line_counts_since_the_last_one() -> None:
    tally = Tally()
    tally.acks.add(5.0)
    counts = [SocketCounts(fixes_acknowledged=30, connects=2), SocketCounts(fixes_acknowledged=10, connects=1)]
    line = metrics_line(tally, counts, live=1, elapsed_s=2.0, fixes_before=20)
    assert line["fixes_per_s"] == 10.0
    assert (line["workers"], line["workers_live"], line["reconnects"]) == (2, 1, 1)
    assert line["ack_p50_ms"] == 5.0
    assert metrics_line(tally, counts, live=1, elapsed_s=2.0, fixes_before=40)["ack_p50_ms"] is None
