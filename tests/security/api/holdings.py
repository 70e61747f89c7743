"""One of everything that a path can name, held by people of one organisation, and requests that would do for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from api_rest.route import AnyRoute
from engine.core.ids import IncidentId, OrgId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import Door, IncidentKind, Role
from engine.people.seed import DEMO_ORG_ID, DEMO_REGION_ID
from engine.safetap.trigger import ReceivedTrigger, TokenState, Trigger
from engine.safetap.trigger_store import store_trigger
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person
from tests.peers.push import FakeBrowser

RING = [[-8.61, 41.15], [-8.60, 41.15], [-8.60, 41.16], [-8.61, 41.16], [-8.61, 41.15]]
ZONE = {"kind": "site", "name": "Depot", "geometry": {"type": "Polygon", "coordinates": [RING]}}
STEP = {"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]}
LADDER = {"steps": [STEP], "repeat_s": 60, "follow_up_s": 600}

PERSONAL: Mapping[str, frozenset[Role]] = {
    "booking_id": frozenset({Role.CUSTOMER, Role.WORKER}),
    "offer_id": frozenset({Role.WORKER}),
    "device_id": frozenset({Role.WORKER}),
    "key_id": frozenset({Role.CUSTOMER, Role.WORKER}),
    "subscription_id": frozenset({Role.WORKER, Role.DISPATCHER, Role.ADMIN}),
    "push_device_id": frozenset({Role.WORKER, Role.DISPATCHER, Role.ADMIN}),
}
"""For whom a thing is one person's own: a colleague of the same role has no more to do with it than a stranger."""


@dataclass
class Holdings:
    """The ids, by their names in paths, and the people whose they are."""

    people: Mapping[Role, Person]
    now_ms: int
    ids: dict[str, UUID] = field(default_factory=dict)

    def path(self, route: AnyRoute) -> str:
        """The route's path with our ids.

        Raises:
            KeyError: a route names a thing that nobody here holds: add it to `hold`.
        """
        return route.path.format_map(self.ids)

    def request(self, route: AnyRoute) -> tuple[dict[str, Any] | None, dict[str, str]]:
        """A body and a query that would do for the rightful.

        Raises:
            KeyError: a route wants a body or a query that is not written down here.
        """
        place = f"{route.method} {route.path}"
        needs_body = route.body is not None and any(one.is_required() for one in route.body.model_fields.values())
        needs_query = route.query is not None and any(one.is_required() for one in route.query.model_fields.values())
        body = self.bodies[place] if needs_body else ({} if route.takes_body else None)
        return body, self.queries[place] if needs_query else {}

    @property
    def bodies(self) -> dict[str, dict[str, Any]]:
        """What routes are sent, by method and path."""
        at = utc_from_ms(self.now_ms) + timedelta(days=2)
        desk, admin = str(self.people[Role.DISPATCHER].person_id), str(self.people[Role.ADMIN].person_id)
        incident = "/v1/incidents/{incident_id}"
        return {
            "POST /v1/bookings/{booking_id}/transitions": {"to": "cancelled", "reason": "none"},
            "POST /v1/bookings/{booking_id}/assign": {"worker_id": str(self.people[Role.WORKER].person_id)},
            "PUT /v1/bookings/{booking_id}/pin": {"worker_id": str(self.people[Role.WORKER].person_id)},
            "PUT /v1/zones/{zone_id}": ZONE,
            "PUT /v1/workers/{worker_id}/safety-training": {"trained_until": rfc3339(at)},
            "PUT /v1/schedules/{schedule_id}": self.schedule("Second"),
            "POST /v1/schedules/{schedule_id}/overrides": {
                "starts_at": rfc3339(at), "ends_at": rfc3339(at + timedelta(hours=1)), "person_id": admin,
            },
            "POST /v1/schedules/{schedule_id}/handovers": {"from_person": desk, "to_person": admin},
            f"POST {incident}/notes": {"text": "seen"},
            f"PUT {incident}/police-reference": {"reference": "P-1"},
            f"PUT {incident}/false-alarm": {"is_false_alarm": True},
            f"POST {incident}/hand-over": {"to": admin},
            f"POST {incident}/chat": {"text": "hello"},
            f"POST {incident}/evidence": {"evidence_id": str(uuid4()), "n": 0, "data": "AAAA"},
            f"POST {incident}/close": {"reason": "reviewed"},
            f"POST {incident}/legal-hold": {"reason": "a case"},
            "POST /v1/people/{person_id}/legal-hold": {"reason": "a case"},
            "POST /v1/legal-holds/{hold_id}/lift": {"reason": "the case is over"},
            "POST /v1/contests/{contest_id}/answer": {"text": "you are right"},
        }  # fmt: skip

    @property
    def queries(self) -> dict[str, dict[str, str]]:
        """What routes are asked, by method and path."""
        begin, end = (rfc3339(utc_from_ms(self.now_ms + shift)) for shift in (-3_600_000, 0))
        span = {"from": begin, "to": end, "reason": "a test"}
        trail = "GET /v1/workers/{worker_id}/trail"
        return {trail: span, f"{trail}/replay": span}

    def schedule(self, name: str) -> dict[str, Any]:
        people = [str(self.people[Role.DISPATCHER].person_id)]
        layer = {"every_days": 1, "at": "08:00", "starts_on": "2020-01-01", "people": people}
        return {"name": name, "tz": "Europe/Lisbon", "layers": [layer]}


async def hold(api: Api, cast: Cast, pool: asyncpg.Pool, clock: ManualClock) -> Holdings:
    """Let the demo's people have one of everything, by the API wherever it makes such things."""
    people = {role: cast.demo(role) for role in Role}
    held = Holdings(people, clock.now_ms())
    ids, worker, desk, admin = held.ids, people[Role.WORKER], people[Role.DISPATCHER], people[Role.ADMIN]

    async def make(path: str, body: object, name: str, by: Person, method: str = "POST") -> None:
        headers = {"Idempotency-Key": uuid4().hex}
        said = await api.call(method, path, body, by=by, headers=headers)
        assert said.status in (200, 201), (path, said.body)
        ids[name] = UUID(said.body[name])

    ids["booking_id"] = UUID((await api.book(people[Role.CUSTOMER]))["booking_id"])
    ids["worker_id"] = worker.person_id
    ids["service_id"] = await pool.fetchval("SELECT service_id FROM service WHERE org_id = $1 LIMIT 1", DEMO_ORG_ID)
    ids["offer_id"] = await _offer(pool, ids["booking_id"], worker, clock.now_ms())
    await pool.execute("UPDATE booking SET pinned_worker_id = $1", worker.person_id)
    await make("/v1/zones", ZONE, "zone_id", admin)
    await make("/v1/devices", {"kind": "osmand"}, "device_id", worker)
    await make("/v1/me/trigger-keys", {}, "key_id", worker)
    await make("/v1/me/push-subscriptions", FakeBrowser(url="https://push.test/a").to_json(), "subscription_id", desk)
    await make("/v1/me/push-devices", {"token": "an app's"}, "push_device_id", desk)
    await make("/v1/policies", {"name": "Nights", "policy": LADDER}, "policy_id", admin, "PUT")
    await make("/v1/schedules", held.schedule("First"), "schedule_id", admin)
    overrides = "/v1/schedules/{schedule_id}/overrides"
    await make(overrides.format_map(ids), held.bodies[f"POST {overrides}"], "override_id", admin)
    ids["incident_id"] = await _incident(pool, worker, clock.now_ms())
    evidence = "/v1/incidents/{incident_id}/evidence"
    await make(evidence.format_map(ids), held.bodies[f"POST {evidence}"], "evidence_id", desk)
    ids["person_id"] = worker.person_id
    await make(f"/v1/incidents/{ids['incident_id']}/legal-hold", {"reason": "a case"}, "hold_id", admin)
    decided = await _decision(pool, ids["booking_id"], worker, clock.now_ms())
    said = await api.post("/v1/me/contests", {"dispatch_id": decided, "text": "I was nearer"}, by=worker)
    ids["contest_id"] = UUID(said.body["items"][0]["contest_id"])
    return held


async def rows_of_everything(pool: asyncpg.Pool) -> dict[str, str]:
    """A fingerprint of each table."""
    fingerprint = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM"
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {table: await pool.fetchval(f"{fingerprint} {table} t") for (table,) in tables}


async def _offer(pool: asyncpg.Pool, booking_id: UUID, worker: Person, now_ms: int) -> UUID:
    offer_id = uuid4()
    await pool.execute(
        """INSERT INTO offer (offer_id, org_id, booking_id, worker_id, state, cost_min, eta_s, sent_at, expires_at)
           SELECT $1, org_id, booking_id, $3, 'open', 4, 240, $4, $5 FROM booking WHERE booking_id = $2""",
        offer_id, booking_id, worker.person_id, utc_from_ms(now_ms), utc_from_ms(now_ms + 20_000),
    )  # fmt: skip
    await pool.execute("UPDATE booking SET state = 'offered', version = version + 1 WHERE booking_id = $1", booking_id)
    return offer_id


async def _decision(pool: asyncpg.Pool, booking_id: UUID, worker: Person, now_ms: int) -> int:
    return await pool.fetchval(
        """INSERT INTO dispatch_log (org_id, booking_id, worker_id, outcome, detail, took_us, at)
           SELECT org_id, booking_id, NULL, 'nobody', jsonb_build_object('candidates', jsonb_build_array(
                    jsonb_build_object('worker_id', $2::uuid, 'cost', 4.0, 'eta_s', 240, 'terms', '{}'::jsonb))), 1, $3
             FROM booking WHERE booking_id = $1
           RETURNING dispatch_id""",
        booking_id, worker.person_id, utc_from_ms(now_ms),
    )  # fmt: skip


async def _incident(pool: asyncpg.Pool, worker: Person, now_ms: int) -> UUID:
    received = ReceivedTrigger(
        trigger=Trigger(uuid4(), IncidentKind.BUTTON), person_id=worker.person_id, role=Role.WORKER,
        org_id=OrgId(DEMO_ORG_ID), region_id=DEMO_REGION_ID, door=Door.DIRECT, token_state=TokenState.VALID,
        received_at_ms=now_ms, incident_id=IncidentId(uuid4()),
    )  # fmt: skip
    async with pool.acquire() as conn:
        incident_id = await store_trigger(conn, received, new_id=uuid4)
    assert incident_id is not None
    return incident_id
