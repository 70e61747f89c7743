"""A trail in the three forms that people ask for: rows, GeoJSON for a map, GPX 1.1 for other programs."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

import orjson

from api_rest.reading import JSON
from engine.core.ids import PersonId
from engine.core.units import e7_to_deg, rfc3339, utc_from_ms
from engine.geo.trail_lines import TrailArray
from engine.geo.trail_reading import Span

GEOJSON: Final = "application/geo+json"
GPX: Final = "application/gpx+xml"


class TrailFormat(StrEnum):
    """How a trail is written."""

    JSON = "json"
    GEOJSON = "geojson"
    GPX = "gpx"


MEDIA_TYPES: Final = {TrailFormat.JSON: JSON, TrailFormat.GEOJSON: GEOJSON, TrailFormat.GPX: GPX}


def written(form: TrailFormat, pieces: Sequence[TrailArray], *, worker_id: PersonId, span: Span) -> bytes:
    """Return the pieces of a worker's trail within `span`."""
    return _WRITERS[form](pieces, worker_id, span)


def _json(pieces: Sequence[TrailArray], worker_id: PersonId, span: Span) -> bytes:
    fixes = [_fix(*row) for piece in pieces for row in piece.tolist()]
    return orjson.dumps(
        {"worker_id": str(worker_id), "from": rfc3339(span.begin), "to": rfc3339(span.end), "fixes": fixes}
    )


def _fix(at_ms: int, lat_e7: int, lng_e7: int, accuracy_dm: int, speed_cm_s: int, heading_ddeg: int) -> dict[str, Any]:
    return {
        "at": _text(at_ms),
        "lat": e7_to_deg(lat_e7),
        "lng": e7_to_deg(lng_e7),
        "accuracy_m": _known(accuracy_dm, 10),
        "speed_mps": _known(speed_cm_s, 100),
        "heading_deg": _known(heading_ddeg, 10),
    }


def _geojson(pieces: Sequence[TrailArray], worker_id: PersonId, _span: Span) -> bytes:
    features = [_feature(piece, worker_id) for piece in pieces]
    return orjson.dumps({"type": "FeatureCollection", "features": features})


def _feature(piece: TrailArray, worker_id: PersonId) -> dict[str, Any]:
    """Return a line, or a point where the piece is one fix: a line of GeoJSON has two positions or more."""
    places = [[e7_to_deg(lng), e7_to_deg(lat)] for lng, lat in piece[["lng_e7", "lat_e7"]].tolist()]
    is_line = len(places) > 1
    return {
        "type": "Feature",
        "geometry": {"type": "LineString" if is_line else "Point", "coordinates": places if is_line else places[0]},
        "properties": {"worker_id": str(worker_id), "times": [_text(at_ms) for at_ms in piece["at_ms"].tolist()]},
    }


def _gpx(pieces: Sequence[TrailArray], worker_id: PersonId, _span: Span) -> bytes:
    """Return one track with a segment for each piece. Speed and heading have no element in GPX 1.1."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1" creator="Clenzy">',
        f"<trk><name>{worker_id}</name>",
    ]
    for piece in pieces:
        lines.append("<trkseg>")
        lines += [
            f'<trkpt lat="{e7_to_deg(lat_e7):.7f}" lon="{e7_to_deg(lng_e7):.7f}"><time>{_text(at_ms)}</time></trkpt>'
            for at_ms, lat_e7, lng_e7 in piece[["at_ms", "lat_e7", "lng_e7"]].tolist()
        ]
        lines.append("</trkseg>")
    lines.append("</trk></gpx>\n")
    return "\n".join(lines).encode()


def _text(at_ms: int) -> str | None:
    return rfc3339(utc_from_ms(at_ms))


def _known(value: int, scale: int) -> float | None:
    return None if value < 0 else value / scale


_WRITERS: Final[dict[TrailFormat, Callable[[Sequence[TrailArray], PersonId, Span], bytes]]] = {
    TrailFormat.JSON: _json,
    TrailFormat.GEOJSON: _geojson,
    TrailFormat.GPX: _gpx,
}
