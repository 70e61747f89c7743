"""The OsmAnd protocol: OsmAnd's live tracking and Traccar Client before 9. https://www.traccar.org/osmand/."""

from collections.abc import Mapping

from gateway_ws.trackers.reading import (
    MPS_PER_KNOT,
    Report,
    Skip,
    TrackedFix,
    fix_or_reason,
    form_of,
    gathered,
    is_yes,
    number,
    scaled,
    text,
    time_ms,
)


def read(query: Mapping[str, str], body: bytes) -> Report:
    """Return what a GET or a form says; the query goes before the form."""
    said = {**form_of(body), **query}
    fixes, reasons = gathered([_fix(said)])
    is_sos = said.get("alarm", "").lower() == "sos"
    return Report(
        fixes,
        reasons,
        credential=text(said.get("id")) or text(said.get("deviceid")),
        is_sos=is_sos,
        sos_at_ms=time_ms(said.get("timestamp")) if is_sos else None,
    )


def _fix(said: Mapping[str, str]) -> TrackedFix | Skip:
    if not said:
        return Skip.EMPTY
    lat, _, lng = said.get("location", "").partition(",")
    # OsmAnd writes its error radius as `hdop`; who writes a real dilution there only gets a more hopeful radius.
    accuracy_m = number(said.get("accuracy", said.get("hdop")))
    return fix_or_reason(
        ts_ms=time_ms(said.get("timestamp")),
        lat_deg=number(said.get("lat", lat)),
        lng_deg=number(said.get("lon", lng)),
        accuracy_m=accuracy_m,
        speed_mps=_speed_mps(said),
        heading_deg=number(said.get("bearing", said.get("heading"))),
        battery_pct=number(said.get("batt")),
        is_charging=is_yes(said.get("charge")),
        is_mocked=is_yes(said.get("mock")),
    )


def _speed_mps(said: Mapping[str, str]) -> float | None:
    """The protocol counts knots; OsmAnd itself fills in metres a second, so the URL that we write for it says so."""
    plain = number(said.get("speed_mps"))
    return scaled(number(said.get("speed")), MPS_PER_KNOT) if plain is None else plain
