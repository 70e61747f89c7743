"""What OSRM and Valhalla are asked and how they answer. Pure.

Sources: OSRM's table service (project-osrm.org, docs/http.md) and Valhalla's matrix service
(valhalla.github.io, api/matrix).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson

from engine.eta.source import Floats


class RouterKind(StrEnum):
    """Whose language a router speaks."""

    OSRM = "osrm"
    VALHALLA = "valhalla"


class RouterAnswerError(ValueError):
    """An answer is not what the router's documents say."""


@dataclass(frozen=True, slots=True)
class Question:
    """One HTTP request: method, path with query, body."""

    method: str
    path: str
    body: bytes | None


def question(kind: RouterKind, from_lat: Floats, from_lng: Floats, to_lat: float, to_lng: float) -> Question:
    """Return the request for the seconds from many places to one."""
    places = [*zip(from_lat.tolist(), from_lng.tolist(), strict=True), (float(to_lat), float(to_lng))]
    if kind is RouterKind.OSRM:
        path = ";".join(f"{lng:.6f},{lat:.6f}" for lat, lng in places)
        sources = ";".join(map(str, range(len(places) - 1)))
        options = f"sources={sources}&destinations={len(places) - 1}&annotations=duration"
        return Question("GET", f"/table/v1/driving/{path}?{options}", None)
    named = [{"lat": lat, "lon": lng} for lat, lng in places]
    return Question(
        "POST",
        "/sources_to_targets",
        orjson.dumps({"sources": named[:-1], "targets": named[-1:], "costing": "auto"}),
    )


def seconds_of_answer(kind: RouterKind, body: bytes, places: int) -> Floats:
    """Return the seconds from each place; NaN: the router knows no way.

    Raises:
        RouterAnswerError: Not the documented form, another number of places, or a time that is none.
    """
    try:
        told = orjson.loads(body)
        rows = _osrm(told) if kind is RouterKind.OSRM else _valhalla(told)
        seconds = np.array([np.nan if each is None else float(each) for each in rows])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise RouterAnswerError(f"{kind}: {error!r}") from error
    if len(seconds) != places or np.isinf(seconds).any() or (seconds < 0).any():
        raise RouterAnswerError(f"{kind}: {len(seconds)} times for {places} places")
    return seconds


def _osrm(told: Any) -> list[Any]:  # noqa: ANN401 - JSON of another program
    if told["code"] != "Ok":
        raise ValueError(told["code"])
    return [row[0] for row in told["durations"]]


def _valhalla(told: Any) -> list[Any]:  # noqa: ANN401 - JSON of another program
    return [row[0]["time"] for row in told["sources_to_targets"]]
