"""Every route x everybody who might knock, generated from the table that makes the routes."""

import re
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from api_rest.context import Call, NoBody, NoQuery, Reply
from api_rest.route import ALL_ROLES, Access, AnyRoute, Key, Route, Uses, check_table
from api_rest.table import TABLE
from engine.core.errors import Conflict
from engine.core.vocabulary import Role
from tests.integration.api.conftest import Api, Cast

NOBODY = "nobody"
KNOCKERS = [NOBODY, *(role.value for role in Role)]

# What docs/protocol.md section 1 says, written once more by hand: a slip in the table must not pass unseen.
PUBLIC = {"GET /v1/config", "GET /v1/shared", "POST /v1/auth/sign-in", "POST /v1/auth/enrol", "POST /v1/auth/refresh"}
EVERYBODY = {
    "POST /v1/auth/sign-out",
    "GET /v1/me",
    "GET /v1/me/export",
    "GET /v1/services",
    "GET /v1/bookings",
    "GET /v1/bookings/{booking_id}",
    "POST /v1/bookings/{booking_id}/transitions",
}
ONLY = {
    "POST /v1/bookings": {"customer"},
    "POST /v1/bookings/{booking_id}/shares": {"customer", "worker"},
    "DELETE /v1/bookings/{booking_id}/shares": {"customer", "worker"},
    "PUT /v1/me/duty": {"worker"},
    "GET /v1/me/reasons": {"worker"},
    "GET /v1/me/contests": {"worker"},
    "POST /v1/me/contests": {"worker"},
    "GET /v1/contests": {"dispatcher", "admin"},
    "POST /v1/contests/{contest_id}/answer": {"dispatcher", "admin"},
    "DELETE /v1/people/{person_id}": {"admin"},
    "GET /v1/people/{person_id}/export": {"admin"},
    "POST /v1/people/{person_id}/legal-hold": {"admin"},
    "POST /v1/incidents/{incident_id}/legal-hold": {"admin"},
    "GET /v1/legal-holds": {"admin"},
    "POST /v1/legal-holds/{hold_id}/lift": {"admin"},
    "GET /v1/offers/current": {"worker"},
    "POST /v1/offers/{offer_id}/accept": {"worker"},
    "POST /v1/offers/{offer_id}/decline": {"worker"},
    "PUT /v1/me/safety/pins": {"customer", "worker"},
    "GET /v1/me/safety": {"customer", "worker"},
    "POST /v1/me/check-in": {"customer", "worker"},
    "GET /v1/me/check-ins": {"customer", "worker"},
    "GET /v1/silence": {"dispatcher", "admin"},
    "GET /v1/silence/policy": {"dispatcher", "admin"},
    "PUT /v1/silence/policy": {"admin"},
    "PUT /v1/silence/policy/{service_id}": {"admin"},
    "DELETE /v1/silence/policy/{service_id}": {"admin"},
    "PUT /v1/me/safety": {"customer", "worker"},
    "GET /v1/policies": {"dispatcher", "admin"},
    "PUT /v1/policies": {"admin"},
    "DELETE /v1/policies/{policy_id}": {"admin"},
    "POST /v1/policies/dry-run": {"dispatcher", "admin"},
    "POST /v1/schedules": {"admin"},
    "GET /v1/schedules": {"dispatcher", "admin"},
    "GET /v1/schedules/{schedule_id}": {"dispatcher", "admin"},
    "PUT /v1/schedules/{schedule_id}": {"admin"},
    "DELETE /v1/schedules/{schedule_id}": {"admin"},
    "GET /v1/schedules/{schedule_id}/on-call": {"dispatcher", "admin"},
    "POST /v1/schedules/{schedule_id}/overrides": {"dispatcher", "admin"},
    "DELETE /v1/schedules/{schedule_id}/overrides/{override_id}": {"dispatcher", "admin"},
    "POST /v1/schedules/{schedule_id}/handovers": {"dispatcher", "admin"},
    "GET /v1/schedules/{schedule_id}/handovers": {"dispatcher", "admin"},
    "PUT /v1/workers/{worker_id}/safety-training": {"admin"},
    "GET /v1/desks": {"dispatcher", "admin"},
    "GET /v1/desks/colleagues": {"dispatcher", "admin"},
    "POST /v1/desks/hand-over": {"dispatcher", "admin"},
    "POST /v1/safetap/cancel": {"customer", "worker"},
    "POST /v1/people/batch": {"admin"},
    "POST /v1/me/trigger-keys": {"customer", "worker"},
    "GET /v1/me/trigger-keys": {"customer", "worker"},
    "DELETE /v1/trigger-keys/{key_id}": {"customer", "worker", "admin"},
    "GET /v1/safetap/orphans": {"dispatcher", "admin"},
    "GET /v1/me/phone-door": {"customer", "worker"},
    "PUT /v1/me/phone-door": {"customer", "worker"},
    "DELETE /v1/me/phone-door": {"customer", "worker"},
    "POST /v1/me/trigger-keys/{key_id}/button": {"customer", "worker"},
    "GET /v1/me/push-subscriptions": {"worker", "dispatcher", "admin"},
    "POST /v1/me/push-subscriptions": {"worker", "dispatcher", "admin"},
    "DELETE /v1/me/push-subscriptions/{subscription_id}": {"worker", "dispatcher", "admin"},
    "POST /v1/me/push-devices": {"worker", "dispatcher", "admin"},
    "DELETE /v1/me/push-devices/{push_device_id}": {"worker", "dispatcher", "admin"},
    "POST /v1/devices": {"worker", "admin"},
    "GET /v1/devices": {"worker", "admin"},
    "DELETE /v1/devices/{device_id}": {"worker", "admin"},
    "GET /v1/workers": {"dispatcher", "admin"},
    "GET /v1/kit": {"dispatcher", "admin"},
    "PUT /v1/kit": {"admin"},
    "GET /v1/workers/{worker_id}/matching": {"dispatcher", "admin"},
    "PUT /v1/workers/{worker_id}/matching": {"dispatcher", "admin"},
    "GET /v1/services/{service_id}/matching": {"dispatcher", "admin"},
    "PUT /v1/services/{service_id}/matching": {"admin"},
    "GET /v1/working-time": {"dispatcher", "admin"},
    "PUT /v1/working-time": {"admin"},
    "GET /v1/me/wishes": {"customer"},
    "PUT /v1/me/wishes": {"customer"},
    "GET /v1/travel-times/statistics": {"dispatcher", "admin"},
    "GET /v1/workers/nearby": {"dispatcher", "admin"},
    "GET /v1/workers/{worker_id}/trail": {"dispatcher", "admin"},
    "GET /v1/workers/{worker_id}/trail/replay": {"dispatcher", "admin"},
    "GET /v1/workers/{worker_id}/zones": {"dispatcher", "admin"},
    "POST /v1/zones": {"admin"},
    "GET /v1/zones": {"dispatcher", "admin"},
    "POST /v1/zones/import": {"admin"},
    "GET /v1/zones/export": {"dispatcher", "admin"},
    "GET /v1/zones/{zone_id}": {"dispatcher", "admin"},
    "PUT /v1/zones/{zone_id}": {"admin"},
    "DELETE /v1/zones/{zone_id}": {"admin"},
    "GET /v1/zones/{zone_id}/events": {"dispatcher", "admin"},
    "GET /v1/bookings/{booking_id}/dispatch": {"dispatcher", "admin"},
    "GET /v1/bookings/{booking_id}/why": {"dispatcher", "admin"},
    "GET /v1/bookings/{booking_id}/offers": {"dispatcher", "admin"},
    "POST /v1/bookings/{booking_id}/assign": {"dispatcher", "admin"},
    "PUT /v1/bookings/{booking_id}/pin": {"dispatcher", "admin"},
    "POST /v1/bookings/{booking_id}/search-again": {"dispatcher", "admin"},
    "GET /v1/resources": {"dispatcher", "admin"},
    "PUT /v1/resources": {"admin"},
    "GET /v1/services/{service_id}/crew": {"dispatcher", "admin"},
    "PUT /v1/services/{service_id}/crew": {"admin"},
    "DELETE /v1/bookings/{booking_id}/pin": {"dispatcher", "admin"},
    "POST /v1/bookings/{booking_id}/hand-back": {"worker", "dispatcher", "admin"},
    "GET /v1/me/watched": {"customer", "worker"},
    "GET /v1/me/safety/chat": {"customer", "worker"},
    "POST /v1/me/safety/chat": {"customer", "worker"},
    "POST /v1/safetap/evidence": {"customer", "worker"},
    "GET /v1/incidents/statistics": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/call-card": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/cap": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/report": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/trail": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/notes": {"dispatcher", "admin"},
    "PUT /v1/incidents/{incident_id}/police-reference": {"dispatcher", "admin"},
    "PUT /v1/incidents/{incident_id}/false-alarm": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/hand-over": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/chat": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/contact": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/evidence": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/evidence": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}/evidence/{evidence_id}": {"dispatcher", "admin"},
    "POST /v1/drills": {"dispatcher", "admin"},
    "GET /v1/drills/plan": {"dispatcher", "admin"},
    "PUT /v1/drills/plan": {"admin"},
    "GET /v1/incidents": {"dispatcher", "admin"},
    "GET /v1/incidents/{incident_id}": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/acknowledge": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/vouch": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/decoy": {"dispatcher", "admin"},
    "POST /v1/incidents/{incident_id}/close": {"dispatcher", "admin"},
}
AT_THE_DOOR = {"POST /v1/safetap"}


def place(route: AnyRoute) -> str:
    return f"{route.method} {route.path}"


def welcome(route: AnyRoute) -> set[str]:
    if place(route) in PUBLIC | AT_THE_DOOR:
        return set(KNOCKERS)
    return set(KNOCKERS) - {NOBODY} if place(route) in EVERYBODY else ONLY[place(route)]


def test_every_route_is_in_the_protocols_list() -> None:
    assert {place(route) for route in TABLE} == PUBLIC | EVERYBODY | set(ONLY) | AT_THE_DOOR


def test_the_protocols_page_lists_these_routes_and_the_keys_they_require() -> None:
    page = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^\| `((?:GET|POST|PUT|DELETE) /v1/\S+)` \|[^|]*\| (\w*) ?\|", page, re.MULTILINE)
    assert dict(rows) == {place(route): "required" if route.key is Key.REQUIRED else "" for route in TABLE}


@pytest.mark.parametrize("who", KNOCKERS)
@pytest.mark.parametrize("route", TABLE, ids=place)
def test_the_table_admits_whom_the_protocol_names(route: AnyRoute, who: str) -> None:
    assert route.admits(None if who == NOBODY else Role(who)) == (who in welcome(route))


@pytest.mark.parametrize("who", KNOCKERS)
async def test_the_server_admits_whom_the_protocol_names(api: Api, cast: Cast, who: str) -> None:
    """One server for all routes of a knocker: a database for each of 120 cases would take minutes."""
    by = None if who == NOBODY else cast.demo(Role(who))
    for route in TABLE:
        path = "/".join(str(uuid4()) if part.startswith("{") else part for part in route.path.split("/"))
        body = {} if route.takes_body else None
        said = await api.call(route.method, path, body, by=by, headers={"Idempotency-Key": uuid4().hex})
        if place(route) in AT_THE_DOOR:
            assert said.status == 503, place(route)  # let through to a door that is shut in this test
        elif who in welcome(route):
            assert said.status not in (401, 403), (place(route), said.body)
        else:
            expected = (401, "not_signed_in") if who == NOBODY else (403, "not_allowed")
            assert (said.status, said.code) == expected, place(route)


async def test_what_is_no_token_is_not_signed_in(api: Api) -> None:
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer not.a.token", "Token abc", "Bearer a b"):
        said = await api.get("/v1/me", headers={"Authorization": header})
        assert (said.status, said.code) == (401, "not_signed_in"), header
        assert said.headers["WWW-Authenticate"] == "Bearer"


async def test_who_may_not_ask_learns_nothing_about_the_question(api: Api, cast: Cast) -> None:
    said = await api.post("/v1/people/batch", b"{broken", by=cast.demo(Role.CUSTOMER))
    assert (said.status, said.code) == (403, "not_allowed")


async def handler(_call: Call[NoBody, NoQuery]) -> Reply:
    return Reply()


def a_route(
    *,
    access: frozenset[Role] | Access = ALL_ROLES,
    uses: Uses = Uses.TRANSACTION,
    key: Key = Key.NONE,
    path: str = "/v1/x",
    body: type[NoBody] | None = None,
    method: str = "POST",
) -> AnyRoute:
    return Route(
        method=method, path=path, access=access, handler=handler, summary="", uses=uses, answer=None, key=key, body=body
    )


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ([a_route(access=frozenset())], "names no roles"),
        ([a_route(uses=Uses.NOTHING)], "still stands"),
        ([a_route(access=Access.PUBLIC, uses=Uses.CONNECTION, key=Key.ACCEPTED)], "no transaction"),
        ([a_route(key=Key.REQUIRED)], "does not document the conflict"),
        (
            [replace(a_route(key=Key.ACCEPTED), errors=(Conflict,), other_media_types=("text/csv",))],
            "which alone is kept",
        ),
        ([a_route(method="GET", body=NoBody)], "method without one"),
        ([a_route(), a_route()], "twice"),
        ([replace(a_route(uses=Uses.CONNECTION), ahead=handler)], "looks ahead"),
    ],
)
def test_a_table_that_contradicts_itself_does_not_start(routes: list[AnyRoute], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_table(routes)


def test_a_route_cannot_be_written_without_saying_who() -> None:
    with pytest.raises(TypeError, match="access"):
        Route(method="GET", path="/v1/x", handler=handler, summary="", uses=Uses.CONNECTION, answer=None)  # type: ignore[call-arg]


def test_a_sound_table_passes() -> None:
    sound = a_route(access=Access.PUBLIC, uses=Uses.NOTHING)
    assert check_table([sound]) == (sound,)
    assert Conflict.status == 409
