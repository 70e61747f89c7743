"""Which answers to customers hold a place: those of what they wrote themselves, and no other."""

from collections.abc import Iterator
from typing import Any

from api_rest.route import Access
from api_rest.table import TABLE
from engine.core.vocabulary import Role

OWN = {"pin.lat", "pin.lng"}
"""The door that the customer named when they booked."""
NOBODYS = {"center.lat", "center.lng"}
"""Where a map begins."""
A_PLACE = {
    "lat",
    "lng",
    "lat_deg",
    "lng_deg",
    "lat_e7",
    "lng_e7",
    "position",
    "fix",
    "last_fix",
    "cell",
    "trail",
    "geometry",
}


def fields(schema: dict[str, Any], whole: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every field that a schema can have, with the one that holds it."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, inner in schema.get("properties", {}).items():
        yield ".".join([*path[-1:], name])
        yield from fields(inner, whole, (*path, name))
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), schema.get("items", {})):
        if inner:
            yield from fields(inner, whole, path)


def places(schema: dict[str, Any]) -> set[str]:
    return {field for field in fields(schema, schema) if field.rpartition(".")[2] in A_PLACE}


def test_line_9_no_answer_to_a_customer_has_a_place_but_their_own() -> None:
    told = {
        f"{route.method} {route.path}": places(route.answer.model_json_schema())
        for route in TABLE
        if (isinstance(route.access, Access) or Role.CUSTOMER in route.access) and route.answer is not None
    }
    # Held against a lost GPS, and against the time before the way there, in tests/integration/api/test_shares.py.
    assert told.pop("GET /v1/shared") == {"position", "position.lat", "position.lng"}
    assert told["GET /v1/bookings/{booking_id}"] == OWN
    assert {route: found for route, found in told.items() if not found <= OWN | NOBODYS} == {}
