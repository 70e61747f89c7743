"""Zones: areas on the map, drawn one by one or imported as GeoJSON, and who was where when."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import orjson
import structlog
from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError
from redis.exceptions import RedisError

from api_rest.context import Body, Call, NoBody, NoQuery, Query, Reply
from api_rest.cursors import decode_moment, decode_number, encode_cursor, encode_moment
from api_rest.problems import BrokenRules
from api_rest.route import ADMIN, DESK, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, Line, PageQuery
from api_rest.trail_formats import GEOJSON
from config.limits import WORKER_SILENT_MS, ZONE_DWELL_S_MAX, ZONE_DWELL_S_MIN
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import PersonId, RegionId, ZoneId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import ZoneEventKind, ZoneKind, ZoneReason
from engine.geo.cell_index import CellIndex
from engine.geo.zone_geometry import DrawnZone, FaultyZones, area_m2, read_document, read_geometry
from engine.people.tokens import Principal
from engine.zones import zone_store
from engine.zones.zone_store import StoredZone, ZonePlan

log = structlog.get_logger(__name__)


Dwell = Annotated[int, Field(ge=ZONE_DWELL_S_MIN, le=ZONE_DWELL_S_MAX)]


class NewZone(Body):
    """A zone to be. `geometry` is a GeoJSON Polygon or MultiPolygon: longitude first."""

    kind: ZoneKind
    name: Line
    geometry: dict[str, Any]
    region_id: UUID | None = None
    dwell_s: Dwell | None = None
    """From how long a stay on is told; null: never."""
    active: bool = True


class ChangedZone(NewZone):
    """What a zone is to be from now on."""

    version: int | None = None
    """The version that the change starts from; another one by now is a conflict. Null: whatever it is."""


class GeoJson(Body):
    """A GeoJSON FeatureCollection, Feature, Polygon or MultiPolygon; members that mean nothing to us are ignored."""

    model_config = ConfigDict(extra="ignore")

    type: str
    features: list[Any] | None = None
    geometry: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None
    coordinates: list[Any] | None = None
    crs: dict[str, Any] | None = None


class ImportQuery(Query):
    """What holds for features that do not say it themselves (properties `kind`, `name`, `dwell_s`)."""

    dry_run: bool = False
    kind: ZoneKind | None = None
    name: Line | None = None


class ImportedProperties(Body):
    """What a feature says of its zone; other properties are ignored."""

    model_config = ConfigDict(extra="ignore")

    kind: ZoneKind
    name: Line
    dwell_s: Dwell | None = None


class ZoneSummary(Answer):
    """A zone in a list."""

    zone_id: ZoneId
    region_id: RegionId | None
    kind: ZoneKind
    name: str
    dwell_s: int | None
    active: bool
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime


class ZoneAnswer(ZoneSummary):
    """A zone with its area, as a GeoJSON MultiPolygon."""

    geometry: dict[str, Any]


class ZonePage(Answer):
    """A page of zones, newest first."""

    items: list[ZoneSummary]
    next_cursor: str | None


class ImportedZone(Answer):
    """A zone of an import. `zone_id` is null in a dry run."""

    zone_id: ZoneId | None
    kind: ZoneKind
    name: str
    dwell_s: int | None
    area_m2: float


class ZoneImport(Answer):
    """What an import has made, or would make."""

    dry_run: bool
    items: list[ImportedZone]


class ZoneFeatures(Answer):
    """Every zone as a feature; an import takes it back."""

    type: Literal["FeatureCollection"]
    features: list[dict[str, Any]]


class ZoneEventAnswer(Answer):
    """Something that happened between a worker and a zone. `at` is the time of the fix that shows it."""

    event_id: int
    worker_id: PersonId
    kind: ZoneEventKind
    reason: ZoneReason
    at: AwareDatetime
    detected_at: AwareDatetime


class ZoneEventPage(Answer):
    """A page of events, newest first."""

    items: list[ZoneEventAnswer]
    next_cursor: str | None


class StayAnswer(Answer):
    """A zone in which a worker is."""

    zone_id: ZoneId
    kind: ZoneKind
    name: str
    entered_at: AwareDatetime
    dwell_told: bool


class WorkerZones(Answer):
    """Where a worker is. Silence is no exit: `unheard_since` says since when nobody knows better."""

    items: list[StayAnswer]
    unheard_since: AwareDatetime | None


async def create_zone(call: Call[NewZone, NoQuery]) -> Reply:
    """Draw a zone."""
    zone_id = ZoneId(uuid4())
    plan = await _plan(call, call.body)
    await zone_store.add_zones(call.conn, [(zone_id, plan)], **_by(call.principal), now_ms=call.now_ms)
    return await _answer(call, zone_id)


async def list_all(call: Call[NoBody, PageQuery]) -> Reply:
    """Return a page of zones, without their areas."""
    cursor, limit = call.query.cursor, call.query.limit
    after = None if cursor is None else decode_moment(cursor)
    zones = await zone_store.list_zones(call.conn, org_id=call.principal.org_id, after=after, limit=limit + 1)
    shown, more = zones[:limit], len(zones) > limit
    next_cursor = encode_moment(shown[-1].created_at, shown[-1].zone_id) if more else None
    return Reply({"items": [_summary(zone) for zone in shown], "next_cursor": next_cursor})


async def import_zones(call: Call[GeoJson, ImportQuery]) -> Reply:
    """Draw the zones of a GeoJSON document, all or none."""
    principal, query = call.principal, call.query
    home = await zone_store.find_home(call.conn, org_id=principal.org_id, region_id=principal.region_id)
    document = call.body.model_dump(exclude_unset=True)
    with _faults_told():
        # Some milliseconds a thousand corners: not on the loop that answers everybody else.
        drawn = await asyncio.to_thread(read_document, document, home)
    said = _properties(drawn, query)
    plans = [
        (ZoneId(uuid4()), ZonePlan(each.kind, each.name, zone.polygon, None, each.dwell_s, active=True))
        for zone, each in zip(drawn, said, strict=True)
    ]
    if not query.dry_run:
        await zone_store.add_zones(call.conn, plans, **_by(principal), now_ms=call.now_ms)
    items = [
        {
            "zone_id": None if query.dry_run else zone_id,
            "kind": plan.kind.value,
            "name": plan.name,
            "dwell_s": plan.dwell_s,
            "area_m2": round(area_m2(plan.polygon), 1),
        }
        for zone_id, plan in plans
    ]
    return Reply({"dry_run": query.dry_run, "items": items}, status=200 if query.dry_run else None)


async def export_zones(call: Call[NoBody, NoQuery]) -> Reply:
    """Return every zone as GeoJSON."""
    zones = await zone_store.all_zones(call.conn, org_id=call.principal.org_id)
    features = [
        {
            "type": "Feature",
            "id": str(zone.zone_id),
            "geometry": orjson.Fragment(zone.geometry or b"null"),
            "properties": {
                "name": zone.name,
                "kind": zone.kind.value,
                "dwell_s": zone.dwell_s,
                "active": zone.active,
                "version": zone.version,
            },
        }
        for zone in zones
    ]
    return Reply(orjson.dumps({"type": "FeatureCollection", "features": features}), media_type=GEOJSON)


async def get_zone(call: Call[NoBody, NoQuery]) -> Reply:
    """Return a zone."""
    return await _answer(call, ZoneId(call.ids["zone_id"]))


async def change_zone(call: Call[ChangedZone, NoQuery]) -> Reply:
    """Change a zone; who is inside leaves or enters with the reason `zone_changed`."""
    zone_id = ZoneId(call.ids["zone_id"])
    plan = await _plan(call, call.body)
    await zone_store.change_zone(
        call.conn, zone_id, plan, version=call.body.version, **_by(call.principal), now_ms=call.now_ms
    )
    return await _answer(call, zone_id)


async def delete_zone(call: Call[NoBody, NoQuery]) -> Reply:
    """Delete a zone; its events stay."""
    await zone_store.delete_zone(call.conn, ZoneId(call.ids["zone_id"]), **_by(call.principal), now_ms=call.now_ms)
    return Reply()


async def list_zone_events(call: Call[NoBody, PageQuery]) -> Reply:
    """Return a page of what happened at a zone."""
    cursor, limit = call.query.cursor, call.query.limit
    events = await zone_store.list_events(
        call.conn,
        ZoneId(call.ids["zone_id"]),
        org_id=call.principal.org_id,
        before=None if cursor is None else decode_number(cursor),
        limit=limit + 1,
    )
    shown = events[:limit]
    items = [
        {
            "event_id": event.event_id,
            "worker_id": event.worker_id,
            "kind": event.kind.value,
            "reason": event.reason.value,
            "at": rfc3339(event.at),
            "detected_at": rfc3339(event.detected_at),
        }
        for event in shown
    ]
    next_cursor = encode_cursor(shown[-1].event_id) if len(events) > limit else None
    return Reply({"items": items, "next_cursor": next_cursor})


async def list_worker_zones(call: Call[NoBody, NoQuery]) -> Reply:
    """Return in which zones a worker is."""
    slot, stays = await zone_store.list_stays(call.conn, PersonId(call.ids["worker_id"]), org_id=call.principal.org_id)
    items = [
        {
            "zone_id": stay.zone_id,
            "kind": stay.kind.value,
            "name": stay.name,
            "entered_at": rfc3339(stay.entered_at),
            "dwell_told": stay.dwell_told,
        }
        for stay in stays
    ]
    return Reply({"items": items, "unheard_since": await _unheard_since(call, slot)})


async def _unheard_since(call: Call[NoBody, NoQuery], slot: int) -> str | None:
    """Return the time of the last fix of somebody who is silent; `None` also where Redis cannot say."""
    try:
        seen_ms = int((await CellIndex(call.services.redis).records([slot]))["ts_ms"][0])
    except (RedisError, OSError) as error:
        log.warning("zones.last_seen_unknown", error=type(error).__name__)
        return None
    is_silent = seen_ms and call.now_ms - seen_ms > WORKER_SILENT_MS
    return rfc3339(utc_from_ms(seen_ms)) if is_silent else None


async def _plan(call: Call[Any, NoQuery], body: NewZone) -> ZonePlan:
    home = await zone_store.find_home(
        call.conn,
        org_id=call.principal.org_id,
        region_id=call.principal.region_id if body.region_id is None else RegionId(body.region_id),
    )
    with _faults_told():
        polygon = await asyncio.to_thread(read_geometry, body.geometry, "geometry", home)
    region_id = None if body.region_id is None else RegionId(body.region_id)
    return ZonePlan(body.kind, body.name, polygon, region_id, body.dwell_s, body.active)


def _properties(drawn: list[DrawnZone], query: ImportQuery) -> list[ImportedProperties]:
    """Return what each feature says, completed by the query.

    Raises:
        BrokenRules: at least one says too little, or what breaks a rule.
    """
    otherwise = {"kind": query.kind, "name": query.name}
    said, errors = [], []
    for zone in drawn:
        own = {name: value for name, value in zone.properties.items() if value is not None}
        try:
            merged = {name: value for name, value in otherwise.items() if value is not None} | own
            said.append(_IMPORTED.validate_json(orjson.dumps(merged)))
        except ValidationError as error:
            path = ".".join(filter(None, (zone.field, "properties")))
            errors += [
                {"field": ".".join((path, *map(str, one["loc"]))), "rule": one["msg"]}
                for one in error.errors(include_url=False, include_context=False, include_input=False)
            ]
    if errors:
        raise BrokenRules(errors)
    return said


_IMPORTED = TypeAdapter(ImportedProperties)


@contextmanager
def _faults_told() -> Iterator[None]:
    """Answer faults of a geometry as broken rules, one a fault."""
    try:
        yield
    except FaultyZones as error:
        raise BrokenRules([{"field": fault.field, "rule": fault.rule} for fault in error.faults]) from error


def _by(principal: Principal) -> dict[str, Any]:
    return {"org_id": principal.org_id, "actor_id": principal.person_id}


async def _answer(call: Call[Any, NoQuery], zone_id: ZoneId) -> Reply:
    zone = await zone_store.find_zone(call.conn, zone_id, org_id=call.principal.org_id)
    return Reply({**_summary(zone), "geometry": orjson.Fragment(zone.geometry or b"null")})


def _summary(zone: StoredZone) -> dict[str, object]:
    return {
        "zone_id": zone.zone_id,
        "region_id": zone.region_id,
        "kind": zone.kind.value,
        "name": zone.name,
        "dwell_s": zone.dwell_s,
        "active": zone.active,
        "version": zone.version,
        "created_at": rfc3339(zone.created_at),
        "updated_at": rfc3339(zone.updated_at),
    }


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/zones",
        access=ADMIN,
        handler=create_zone,
        summary="Draw a zone",
        uses=Uses.TRANSACTION,
        body=NewZone,
        answer=ZoneAnswer,
        status=201,
        key=Key.REQUIRED,
        errors=(InvalidInput, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/zones",
        access=DESK,
        handler=list_all,
        summary="Zones, without their areas",
        uses=Uses.CONNECTION,
        query=PageQuery,
        answer=ZonePage,
    ),
    Route(
        method="POST",
        path="/v1/zones/import",
        access=ADMIN,
        handler=import_zones,
        summary="Draw the zones of a GeoJSON document, all or none",
        uses=Uses.TRANSACTION,
        body=GeoJson,
        query=ImportQuery,
        answer=ZoneImport,
        status=201,
        other_statuses=(200,),
        key=Key.REQUIRED,
        errors=(InvalidInput, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/zones/export",
        access=DESK,
        handler=export_zones,
        summary="Every zone as GeoJSON",
        uses=Uses.CONNECTION,
        answer=ZoneFeatures,
        other_media_types=(GEOJSON,),
    ),
    Route(
        method="GET",
        path="/v1/zones/{zone_id}",
        access=DESK,
        handler=get_zone,
        summary="A zone with its area",
        uses=Uses.CONNECTION,
        answer=ZoneAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="PUT",
        path="/v1/zones/{zone_id}",
        access=ADMIN,
        handler=change_zone,
        summary="Change a zone",
        uses=Uses.TRANSACTION,
        body=ChangedZone,
        answer=ZoneAnswer,
        errors=(InvalidInput, NotFound, Conflict),
    ),
    Route(
        method="DELETE",
        path="/v1/zones/{zone_id}",
        access=ADMIN,
        handler=delete_zone,
        summary="Delete a zone; its events stay",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/zones/{zone_id}/events",
        access=DESK,
        handler=list_zone_events,
        summary="Who entered, left and stayed",
        uses=Uses.CONNECTION,
        query=PageQuery,
        answer=ZoneEventPage,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/workers/{worker_id}/zones",
        access=DESK,
        handler=list_worker_zones,
        summary="In which zones a worker is",
        uses=Uses.CONNECTION,
        answer=WorkerZones,
        errors=(NotFound,),
    ),
)
