"""Every source of travel times behind the one seam, and what each says when something is missing."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from bench.eta.cities import made_city
from config.limits import ROUTER_FAILURES_MAX, ROUTER_PLACES_MAX, ROUTER_REST_MS
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.eta import learned_file, road_file
from engine.eta.choice import open_eta_source
from engine.eta.hub_labels import label
from engine.eta.hub_order import importance_order
from engine.eta.learned_times import unlearned
from engine.eta.road_snap import snap_grid
from engine.eta.road_times import RoadIndex
from engine.eta.router_source import RouterSource
from engine.eta.router_wire import RouterKind
from engine.eta.source import EtaMatrix, EtaOutcome, EtaSource, StraightLineSource
from engine.eta.straight_line import estimate
from tests.fakes import ManualClock
from tests.peers.routers import Fault, Routers, routers

KINDS = pytest.mark.parametrize("kind", list(RouterKind))
FROM = np.array([48.001, 48.01, 48.02]), np.array([11.001, 11.01, 11.02])
TO = 48.005, 11.005
MONDAY_MS = 1_372_636_800_000


@pytest.fixture
async def peer() -> AsyncIterator[Routers]:
    async with routers() as peer:
        yield peer


@pytest.fixture(scope="module")
def roads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = made_city(400)
    path = tmp_path_factory.mktemp("roads") / "city.roads"
    road_file.write(RoadIndex(graph, label(graph, importance_order(graph)), snap_grid(graph)), path, {})
    return path


async def ask(source: EtaSource, places: tuple[np.ndarray, np.ndarray] = FROM) -> EtaMatrix:
    return await source.arrivals(*places, *TO, at_ms=MONDAY_MS)


def outcomes(matrix: EtaMatrix) -> list[EtaOutcome]:
    assert ((matrix.low_s <= matrix.eta_s) & (matrix.eta_s <= matrix.high_s)).all()
    return [EtaOutcome(int(outcome)) for outcome in matrix.outcome]


def is_straight(matrix: EtaMatrix, at: int, places: tuple[np.ndarray, np.ndarray] = FROM) -> bool:
    straight = estimate(float(places[0][at]), float(places[1][at]), *TO)
    return round(matrix.eta_s[at]) == straight.eta_s


async def test_the_straight_line_is_the_default() -> None:
    async with open_eta_source(Settings(), SystemClock()) as source:
        assert isinstance(source, StraightLineSource)
        matrix = await ask(source)
    assert outcomes(matrix) == [EtaOutcome.STRAIGHT_LINE] * 3
    assert all(is_straight(matrix, at) for at in range(3))


async def test_roads_answer_and_a_place_off_them_says_so(roads: Path) -> None:
    settings = Settings(eta_source="roads", roads_file=roads)
    places = np.append(FROM[0], 48.9), np.append(FROM[1], 11.0)
    async with open_eta_source(settings, SystemClock()) as source:
        matrix = await ask(source, places)
    assert outcomes(matrix) == [EtaOutcome.ROADS] * 3 + [EtaOutcome.OFF_GRAPH]
    assert is_straight(matrix, 3, places)
    assert not is_straight(matrix, 1)


async def test_what_was_learned_scales_the_roads(roads: Path, tmp_path: Path) -> None:
    path = tmp_path / "learned.json"
    learned_file.write(unlearned(2.0), path)
    plain = Settings(eta_source="roads", roads_file=roads)
    async with open_eta_source(plain, SystemClock()) as source:
        before = await ask(source)
    async with open_eta_source(plain.model_copy(update={"eta_learned_file": path}), SystemClock()) as source:
        after = await ask(source)
    np.testing.assert_allclose(after.eta_s, 2 * before.eta_s)
    path.write_text("{}")
    async with open_eta_source(plain.model_copy(update={"eta_learned_file": path}), SystemClock()) as source:
        np.testing.assert_allclose((await ask(source)).eta_s, before.eta_s)


async def test_a_missing_or_damaged_graph_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "city.roads"
    for content in (None, b"damaged"):
        if content is not None:
            path.write_bytes(content)
        async with open_eta_source(Settings(eta_source="roads", roads_file=path), SystemClock()) as source:
            matrix = await ask(source)
        assert outcomes(matrix) == [EtaOutcome.GRAPH_MISSING] * 3
        assert is_straight(matrix, 0)


@pytest.mark.parametrize(
    "given",
    [{"eta_source": "roads"}, {"eta_source": "osrm"}, {"eta_source": "valhalla"}, {"eta_time_zone": "Nowhere/Town"}],
)
def test_settings_that_lack_something_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"CLENZY_|Nowhere"):
        Settings.model_validate(given)


@KINDS
async def test_a_router_is_asked_and_its_dead_ends_are_named(peer: Routers, kind: RouterKind) -> None:
    settings = Settings(eta_source=kind.value, eta_router_url=peer.url)
    places = np.append(FROM[0], 61.0), np.append(FROM[1], 11.0)
    async with open_eta_source(settings, SystemClock()) as source:
        matrix = await ask(source, places)
    assert outcomes(matrix) == [EtaOutcome.ROUTER] * 3 + [EtaOutcome.NO_ROUTE]
    np.testing.assert_allclose(matrix.eta_s[:3], [24, 30, 90])
    assert is_straight(matrix, 3, places)


@KINDS
async def test_more_places_than_one_question_takes(peer: Routers, kind: RouterKind) -> None:
    places = np.full(ROUTER_PLACES_MAX + 2, 48.01), np.full(ROUTER_PLACES_MAX + 2, 11.0)
    async with RouterSource(kind, peer.url, clock=SystemClock(), timeout_ms=15_000) as source:
        matrix = await ask(source, places)
        empty = await ask(source, (np.empty(0), np.empty(0)))
    assert outcomes(matrix) == [EtaOutcome.ROUTER] * ROUTER_PLACES_MAX + [EtaOutcome.STRAIGHT_LINE] * 2
    assert (len(empty.eta_s), peer.asked) == (0, 1)


@KINDS
@pytest.mark.parametrize("fault", list(Fault))
async def test_a_failing_router_leaves_the_straight_line(peer: Routers, kind: RouterKind, fault: Fault) -> None:
    peer.fault = fault
    timeout_ms = 50 if fault is Fault.HANG else 15_000
    async with RouterSource(kind, peer.url, clock=SystemClock(), timeout_ms=timeout_ms) as source:
        matrix = await ask(source)
    peer.released.set()
    assert outcomes(matrix) == [EtaOutcome.ROUTER_DOWN] * 3
    assert is_straight(matrix, 0)
    assert peer.asked == 1


async def test_a_router_that_keeps_failing_is_left_alone_and_tried_again(peer: Routers) -> None:
    clock = ManualClock()
    peer.fault = Fault.BROKEN
    async with RouterSource(RouterKind.OSRM, peer.url, clock=clock, timeout_ms=15_000) as source:
        for _ in range(ROUTER_FAILURES_MAX + 4):
            assert outcomes(await ask(source)) == [EtaOutcome.ROUTER_DOWN] * 3
        assert peer.asked == ROUTER_FAILURES_MAX
        await clock.advance_ms(ROUTER_REST_MS)
        await ask(source)
        await ask(source)
        assert peer.asked == ROUTER_FAILURES_MAX + 1
        peer.fault = None
        await clock.advance_ms(ROUTER_REST_MS)
        assert outcomes(await ask(source)) == [EtaOutcome.ROUTER] * 3
        assert outcomes(await ask(source)) == [EtaOutcome.ROUTER] * 3
    assert peer.asked == ROUTER_FAILURES_MAX + 3


async def test_nobody_listens_there() -> None:
    async with RouterSource(RouterKind.OSRM, "http://127.0.0.1:9", clock=SystemClock()) as source:
        assert outcomes(await ask(source)) == [EtaOutcome.ROUTER_DOWN] * 3
