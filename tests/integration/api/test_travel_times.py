"""The API tells the installation's travel times: the desk's assignment and a trip's link, as the customer's."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import asyncpg
import numpy as np
import pytest
from redis.asyncio import Redis

from config.limits import CUSTOMER_ETAS_EVERY_MS
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.ids import OrgId
from engine.core.units import DEG_E7, utc_from_ms
from engine.core.vocabulary import Role
from engine.eta import road_file
from engine.eta.calibration import Calibration, Held
from engine.eta.calibration_store import save_calibrations
from engine.eta.choice import open_eta_source
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.road_graph import Roads, assemble
from engine.eta.road_snap import snap_grid
from engine.eta.road_times import RoadIndex
from engine.eta.source import EtaMatrix, EtaSource, Floats, StraightLineSource
from engine.eta.straight_line import estimate
from engine.geo.trail_partitions import make_days
from engine.people.seed import DEMO_ORG_ID
from gateway_ws.customer_etas import CustomerEtas
from gateway_ws.jobs import Job
from tests.fakes import ManualClock
from tests.integration.api.conftest import DOOR, Api, Cast, Person
from tests.peers.routers import Fault, routers

NEAR = DOOR[0] + 0.009, DOOR[1]
"""Where `on_duty` is: a kilometre from the door, on the other bank."""
LINE = estimate(*NEAR, *DOOR)
BRIDGE_S = 2_000
SOURCES = ("roads", "osrm", "roads_gone", "osrm_down")


def other_bank(path: Path) -> Path:
    """A road from the door to the only bridge and back on the other bank: 17 km."""
    lat_e7 = np.array([DOOR[0], DOOR[0], NEAR[0], NEAR[0]]) * DEG_E7
    lng_e7 = np.array([DOOR[1], DOOR[1] + 0.1, DOOR[1] + 0.1, NEAR[1]]) * DEG_E7
    lat, lng = np.round(lat_e7).astype(np.int32), np.round(lng_e7).astype(np.int32)
    tail, head = np.arange(3, dtype=np.int32), np.arange(1, 4, dtype=np.int32)
    ms, metres = np.array([900, 200, 900], np.int32) * 1000, np.array([8_400, 1_000, 8_400], np.int32)
    ends = np.column_stack([tail, head]).ravel()
    shape_end = np.arange(2, 7, 2, dtype=np.int32)
    graph = assemble(Roads(lat, lng, tail, head, ms, ms, metres, shape_end, lat[ends], lng[ends]))
    road_file.write(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)), path, {})
    return path


@pytest.fixture
def kind() -> str:
    """Which source; parametrized where it matters."""
    return "roads"


@pytest.fixture
async def eta(kind: str, tmp_path: Path) -> AsyncIterator[EtaSource]:
    """The source of the settings: roads, a router, and either of them gone."""
    async with AsyncExitStack() as stack:
        if kind.startswith("roads"):
            path = tmp_path / "city.roads"
            settings = Settings(eta_source="roads", roads_file=path if kind == "roads_gone" else other_bank(path))
        else:
            peer = await stack.enter_async_context(routers())
            peer.fault = Fault.BROKEN if kind == "osrm_down" else None
            settings = Settings(eta_source="osrm", eta_router_url=peer.url)
        yield await stack.enter_async_context(open_eta_source(settings, SystemClock()))


def is_told(kind: str, eta_s: int) -> bool:
    """Whether this is what a source says of the way from the other bank."""
    if kind == "roads":
        return abs(eta_s - BRIDGE_S) <= 2
    return eta_s == (54 if kind == "osrm" else LINE.eta_s)


async def set_off(api: Api, pool: asyncpg.Pool, clock: ManualClock, customer: Person, worker: Person) -> dict[str, str]:
    """Return the link to a trip whose worker has just set off on the other bank."""
    booking_id, now = (await api.book(customer))["booking_id"], utc_from_ms(clock.now_ms())
    async with pool.acquire() as conn:
        await make_days(conn, [now.date()])
    await pool.execute(
        "UPDATE booking SET state = 'en_route', worker_id = $2, next_attempt_at = NULL, version = 2"
        " WHERE booking_id = $1",
        booking_id, worker.person_id,
    )  # fmt: skip
    await pool.execute(
        "INSERT INTO booking_event (booking_id, version, state_to, actor_role, at) VALUES ($1, 2, $2, 'worker', $3)",
        booking_id, "en_route", now,
    )  # fmt: skip
    lat_e7, lng_e7 = (round(deg * DEG_E7) for deg in NEAR)
    await pool.execute("INSERT INTO trail VALUES ($1, $2, 0, $3, $4, 50, 100, -1)", now, DEMO_ORG_ID, lat_e7, lng_e7)
    said = await api.post(f"/v1/bookings/{booking_id}/shares", {}, by=customer, key=uuid4().hex)
    return {"token": said.body["url"].partition("#")[2]}


@pytest.mark.parametrize("kind", SOURCES)
async def test_the_desk_assigns_by_the_installations_travel_times(
    api: Api, customer: Person, dispatcher: Person, on_duty: Person, kind: str
) -> None:
    path = f"/v1/bookings/{(await api.book(customer))['booking_id']}/assign"
    given = await api.post(path, {"worker_id": str(on_duty.person_id)}, by=dispatcher)
    assert (given.status, given.body["warnings"]) == (200, [])
    assert is_told(kind, given.body["booking"]["eta_s"])


@pytest.mark.parametrize("kind", SOURCES)
async def test_who_follows_a_trip_is_told_what_its_customer_is_told(
    api: Api, pool: asyncpg.Pool, clock: ManualClock, customer: Person, worker: Person, eta: EtaSource, kind: str
) -> None:
    link = await set_off(api, pool, clock, customer, worker)
    place = (await api.get("/v1/shared", query=link)).body["position"]
    assert is_told(kind, place["eta_s"])
    assert place["eta_low_s"] < place["eta_s"] < place["eta_high_s"]
    customers = CustomerEtas(eta, clock=clock)
    job = Job("a job", 1, *DOOR, str(customer.person_id), is_watched=True)
    customers.of(0, job, *NEAR)
    await customers.turn()
    told = customers.of(0, job, *NEAR)
    np.testing.assert_allclose(
        [place["eta_s"], place["eta_low_s"], place["eta_high_s"]], [told.eta_s, told.low_s, told.high_s], atol=1
    )


class Watched(StraightLineSource):
    """Looks at the API's connections whenever it is asked."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.lent: list[int] = []

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        self.lent.append(self._pool.get_size() - self._pool.get_idle_size())
        return await super().arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg, at_ms=at_ms)


class TestWhileTheSourceIsAsked:
    @pytest.fixture
    def eta(self, pool: asyncpg.Pool) -> Watched:
        return Watched(pool)

    async def test_nobody_holds_a_connection(
        self, api: Api, customer: Person, dispatcher: Person, on_duty: Person, eta: Watched, pool: asyncpg.Pool,
        clock: ManualClock,
    ) -> None:  # fmt: skip
        path = f"/v1/bookings/{(await api.book(customer))['booking_id']}"
        wish = {"worker_id": str(on_duty.person_id)}
        assert (await api.call("PUT", f"{path}/pin", wish, by=dispatcher)).status == 200
        assert (await api.post(f"{path}/assign", wish, by=dispatcher, key="once")).status == 200
        assert (await api.post(f"{path}/assign", wish, by=dispatcher, key="once")).headers["Idempotent-Replayed"]
        await pool.execute("UPDATE booking SET state = 'confirmed'")
        clock.step_ms(CUSTOMER_ETAS_EVERY_MS)
        link = await set_off(api, pool, clock, customer, on_duty)
        assert (await api.get("/v1/shared", query=link)).body["position"] is not None
        assert eta.lent == [0, 0], "the desk's wish, and the link; what was asked a moment ago is not asked again"

    async def test_a_repeated_assignment_has_its_first_answer_when_the_worker_is_gone(
        self, api: Api, customer: Person, dispatcher: Person, on_duty: Person, redis: Redis
    ) -> None:
        path = f"/v1/bookings/{(await api.book(customer))['booking_id']}/assign"
        wish = {"worker_id": str(on_duty.person_id)}
        given = await api.post(path, wish, by=dispatcher, key="once")
        await redis.flushall()
        assert (await api.post(path, wish, by=dispatcher, key="once")).body == given.body


async def test_the_desk_is_told_how_often_arrivals_fell_into_the_interval(
    api: Api, cast: Cast, admin: Person, redis: Redis, clock: ManualClock
) -> None:
    held = Held(1, 8, 3)
    found = Calibration(clock.now_ms(), held, {22: held}, {"87392200cffffff": held}, 0.21)
    await save_calibrations(redis, {OrgId(DEMO_ORG_ID): found}, tz="Europe/Lisbon", now_ms=clock.now_ms())
    told = (await api.get("/v1/travel-times/statistics", by=admin)).body
    assert (told["trips"], told["inside"], told["coverage"], told["promised"]) == (12, 8, 0.6667, 0.8)
    assert (told["median_error"], told["tz"], told["at"]) == (0.21, "Europe/Lisbon", told["since"])
    assert told["by_hour"][0] | {"cell": "87392200cffffff"} == told["by_area"][0] | {"hour": 22}
    stranger = await cast.in_another_org(Role.DISPATCHER)
    theirs = (await api.get("/v1/travel-times/statistics", by=stranger)).body
    assert (theirs["at"], theirs["trips"], theirs["coverage"], theirs["by_area"]) == (None, 0, None, [])
