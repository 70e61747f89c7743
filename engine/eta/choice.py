"""Which source of travel times an installation has set."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from zoneinfo import ZoneInfo

import structlog

from config.settings import Settings
from engine.core.clock import Clock
from engine.eta import learned_file, road_file
from engine.eta.learned_times import LearnedTimes, unlearned
from engine.eta.road_source import MissingRoads, RoadSource
from engine.eta.road_times import RoadTimes
from engine.eta.router_source import RouterSource
from engine.eta.router_wire import RouterKind
from engine.eta.source import EtaSource, StraightLineSource
from engine.eta.trip_cells import hour_of_week

log = structlog.get_logger()


@asynccontextmanager
async def open_eta_source(settings: Settings, clock: Clock) -> AsyncIterator[EtaSource]:
    """Yield the source that the settings name; what of it is missing is logged, and named in every answer."""
    if settings.eta_source in {"osrm", "valhalla"}:
        assert settings.eta_router_url is not None, "the settings are validated"
        async with RouterSource(RouterKind(settings.eta_source), settings.eta_router_url, clock=clock) as router:
            yield router
    elif settings.eta_source == "roads":
        yield _roads(settings)
    else:
        yield StraightLineSource()


def _roads(settings: Settings) -> EtaSource:
    assert settings.roads_file is not None, "the settings are validated"
    try:
        index, _ = road_file.read(settings.roads_file)
    except road_file.RoadFileError as error:
        log.error("eta.graph_missing", reason=str(error))  # noqa: TRY400 - the text says all
        return MissingRoads()
    times = RoadTimes(index)
    times.warm_up()
    return RoadSource(times, _learned(settings), partial(hour_of_week, zone=ZoneInfo(settings.eta_time_zone)))


def _learned(settings: Settings) -> LearnedTimes:
    if settings.eta_learned_file is None:
        return unlearned()
    try:
        return learned_file.read(settings.eta_learned_file)
    except learned_file.LearnedFileError as error:
        log.error("eta.nothing_learned", reason=str(error))  # noqa: TRY400 - the text says all
        return unlearned()
