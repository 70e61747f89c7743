"""Following a trip by a link: who may make one, when it shows a place, and that an alarm looks as a lost GPS."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from config.limits import TRIP_SHARES_MAX
from engine.core.ids import IncidentId, OrgId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Door, IncidentKind, Role
from engine.geo.trail_partitions import make_days
from engine.people.seed import DEMO_ORG_ID, DEMO_REGION_ID
from engine.safetap.trigger import ReceivedTrigger, TokenState, Trigger
from engine.safetap.trigger_store import store_trigger
from engine.safetap.watched import who_watched
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person

S = 1_000
NORTH = 41.15


@dataclass
class Trip:
    """A job of the demo's worker, its times counted from now."""

    api: Api
    pool: asyncpg.Pool
    clock: ManualClock
    customer: Person
    worker: Person
    booking_id: UUID
    link: dict[str, str]
    base_ms: int

    async def move(self, to: str, at_s: int) -> None:
        at = utc_from_ms(self.base_ms + at_s * S)
        await self.pool.execute(
            "UPDATE booking SET state = $2, updated_at = $3, version = version + 1 WHERE booking_id = $1",
            self.booking_id, to, at,
        )  # fmt: skip
        await self.pool.execute(
            """INSERT INTO booking_event (booking_id, version, state_to, actor_role, at)
               SELECT booking_id, version, state, 'worker', $2 FROM booking WHERE booking_id = $1""",
            self.booking_id, at,
        )  # fmt: skip

    async def fix(self, at_s: int) -> None:
        """The trail gets a place; each is a little farther north."""
        await self.pool.execute(
            "INSERT INTO trail VALUES ($1, $2, 0, $3, -86100000, 50, 100, -1)",
            utc_from_ms(self.base_ms + at_s * S), DEMO_ORG_ID, round((NORTH + at_s / 1e5) * 1e7),
        )  # fmt: skip

    async def alarm(self, of: Person, at_s: int) -> None:
        received = ReceivedTrigger(
            trigger=Trigger(uuid4(), IncidentKind.BUTTON), person_id=of.person_id, role=of.role,
            org_id=OrgId(DEMO_ORG_ID), region_id=DEMO_REGION_ID, door=Door.DIRECT, token_state=TokenState.VALID,
            received_at_ms=self.base_ms + at_s * S, incident_id=IncidentId(uuid4()),
        )  # fmt: skip
        async with self.pool.acquire() as conn:
            await store_trigger(conn, received, new_id=uuid4)

    async def over(self, *, is_reviewed: bool) -> None:
        await self.pool.execute("UPDATE incident SET state = 'closed', closed_at = opened_at, close_reason = 'a test'")
        if is_reviewed:
            await self.pool.execute("UPDATE safety_hold SET released_at = now()")

    async def look(self, at_s: int) -> bytes:
        """What the link shows, as JSON and as a page, with all that a wire shows of it but the request's own id."""
        await self.clock.advance_ms(self.base_ms + at_s * S - self.clock.now_ms())
        seen = []
        for form in ("json", "html"):
            query = self.link | {"format": form}
            async with self.api.client.get("/v1/shared", params=query) as answer:
                heads = [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() not in VARYING]
                seen.append("\n".join([str(answer.status), *heads]).encode() + b"\n" + await answer.read())
        return self.plain(b"\n".join(seen))

    def plain(self, shown: bytes) -> bytes:
        """Times of fixes count from the trip's beginning."""
        return re.sub(rb'"ts_ms":(\d+)', lambda found: b'"ts_ms":%d' % (int(found[1]) - self.base_ms), shown)


VARYING = ("date", "x-request-id")


async def trip(api: Api, pool: asyncpg.Pool, clock: ManualClock, cast: Cast) -> Trip:
    """A new job of the same two people; whatever was before is over."""
    customer, worker = cast.demo(Role.CUSTOMER), cast.demo(Role.WORKER)
    async with pool.acquire() as conn:
        await make_days(conn, [utc_from_ms(clock.now_ms()).date()])
    await pool.execute("UPDATE booking SET state = 'confirmed'")
    booking_id = UUID((await api.book(customer))["booking_id"])
    await pool.execute(
        "UPDATE booking SET state = 'assigned', worker_id = $2, next_attempt_at = NULL WHERE booking_id = $1",
        booking_id, worker.person_id,
    )  # fmt: skip
    said = await api.post(f"/v1/bookings/{booking_id}/shares", {}, by=customer, key=uuid4().hex)
    assert said.status == 201, said.body
    return Trip(api, pool, clock, customer, worker, booking_id, link_of(said.body), clock.now_ms())


def link_of(made: dict[str, str]) -> dict[str, str]:
    """What the page at the link's address asks with: no server is told what is behind the hash."""
    url = urlsplit(made["url"])
    assert (url.netloc, url.path, url.query) == ("clenzy.test", "/trip/", "")
    return {"token": url.fragment}


async def followed(one: Trip, alarm_of: Person | None) -> list[bytes]:
    """A home, a way with an end of the places at 25 s, a return at 100 s. What the link showed at each moment."""
    has_gps = alarm_of is not None
    await one.fix(-30)
    seen = [await one.look(0)]
    await one.move("en_route", 5)
    for at_s in (10, 20):
        await one.fix(at_s)
        seen.append(await one.look(at_s + 1))
    if alarm_of is not None:
        await one.alarm(alarm_of, 25)
    for at_s in (30, 40, 60):
        if has_gps:
            await one.fix(at_s)
        seen.append(await one.look(at_s + 1))
        if at_s == 40 and alarm_of is not None:
            await one.over(is_reviewed=False)
    await one.move("arrived", 70)
    seen.append(await one.look(71))
    if alarm_of is not None:
        await one.over(is_reviewed=True)
    await one.fix(100)
    seen.append(await one.look(101))
    await one.move("in_progress", 110)
    seen.append(await one.look(111))
    return seen


@pytest.mark.parametrize("whose", [Role.WORKER, Role.CUSTOMER])
async def test_line_7_a_link_shows_an_alarm_as_a_lost_gps(
    api: Api, pool: asyncpg.Pool, clock: ManualClock, cast: Cast, whose: Role
) -> None:
    # Both trips begin at the same second of a minute: the page shows the time of day.
    first = await trip(api, pool, clock, cast)
    without_gps = await followed(first, None)
    await clock.advance_ms(first.base_ms + 86_400_000 - clock.now_ms())
    second = await trip(api, pool, clock, cast)
    with_alarm = await followed(second, cast.demo(whose))
    expiry = re.compile(rb'"expires_at":"[^"]*"')
    assert [expiry.sub(b"", one) for one in with_alarm] == [expiry.sub(b"", one) for one in without_gps]
    places = [re.search(rb'"position":(null|{"lat":[^,]*,"lng":[^,]*,"ts_ms":(\d+))', one) for one in with_alarm]
    assert [found and found[2] for found in places] == [
        None, b"10000", b"20000", b"20000", b"20000", b"20000", b"20000", b"100000", None
    ]  # fmt: skip
    assert b'"state":"assigned"' in with_alarm[0], "before the way there no place: it may be a home"
    assert await pool.fetchval("SELECT count(*) FROM incident") == 1


async def test_a_link_ends_with_its_trip_its_time_or_by_whose_it_is(
    api: Api, pool: asyncpg.Pool, clock: ManualClock, cast: Cast
) -> None:
    one = await trip(api, pool, clock, cast)
    shares = f"/v1/bookings/{one.booking_id}/shares"

    async def shown(**link: str) -> Any:
        return await api.get("/v1/shared", query=one.link | link)

    assert (await shown()).body["worker_name"] == "Wim"
    assert (await shown(token="A" * 43)).status == 404
    assert (await shown(token="short")).status == 422
    stranger = await cast.another(Role.CUSTOMER)
    for method in ("POST", "DELETE"):
        assert (await api.call(method, shares, {} if method == "POST" else None, by=stranger)).status == 404
    assert (await api.call("DELETE", shares, by=one.worker)).status == 204, "their own links, of which there are none"
    assert (await shown()).status == 200
    assert (await api.call("DELETE", shares, by=one.customer)).status == 204
    assert (await shown()).status == 404

    for _ in range(TRIP_SHARES_MAX):
        said = await api.post(shares, {"minutes": 5}, by=one.worker, key=uuid4().hex)
        assert said.status == 201
    assert (await api.post(shares, {}, by=one.worker, key=uuid4().hex)).code == "conflict"
    one.link = link_of(said.body)
    assert (await shown()).status == 200
    hashes = await pool.fetch("SELECT token_hash FROM trip_share")
    assert one.link["token"].encode() not in b"".join(row["token_hash"] for row in hashes)
    await clock.advance_ms(5 * 60 * S)
    assert (await shown()).status == 404, "its time is over"

    said = await api.post(shares, {}, by=one.customer, key=uuid4().hex)
    one.link = link_of(said.body)
    assert (await shown()).status == 200
    await pool.execute("UPDATE booking SET state = 'completed' WHERE booking_id = $1", one.booking_id)
    assert (await shown()).status == 404, "the trip is over"
    assert (await api.post(shares, {}, by=one.customer, key=uuid4().hex)).code == "conflict"
    async with pool.acquire() as conn:
        looks = [look["what"] for look in await who_watched(conn, one.worker.person_id)]
    assert looks == ["trip.shared", "trip.shared"], "the worker sees who has shared where they are; their own links not"


async def test_a_place_that_a_link_shows_is_on_the_workers_record(
    api: Api, pool: asyncpg.Pool, clock: ManualClock, cast: Cast
) -> None:
    one = await trip(api, pool, clock, cast)
    said = await api.post(f"/v1/bookings/{one.booking_id}/shares", {}, by=one.worker, key=uuid4().hex)

    async def looks() -> list[tuple[object, object]]:
        async with pool.acquire() as conn:
            return [(look["what"], look["who"]) for look in await who_watched(conn, one.worker.person_id)]

    await one.look(0)
    assert await looks() == [("trip.shared", "Clara Customer")], "no place was shown"
    await one.move("en_route", 5)
    await one.fix(10)
    for at_s in (11, 20, 5 * 60):
        await one.look(at_s)
    assert await looks() == [("trip.shared_read", None), ("trip.shared", "Clara Customer")]
    await one.look(11 + 15 * 60)
    assert [what for what, _ in await looks()].count("trip.shared_read") == 2
    one.link = link_of(said.body)
    await one.look(12 + 15 * 60)
    assert [what for what, _ in await looks()].count("trip.shared_read") == 3, "each link by itself"
    chained = "SELECT count(*) FROM audit_log a JOIN audit_chain USING (audit_id) WHERE a.action = 'trip.shared_read'"
    assert await pool.fetchval(chained) == 3

    await one.alarm(one.worker, 2_000)
    await one.look(2_001 + 15 * 60)
    assert [what for what, _ in await looks()].count("trip.shared_read") == 3, "nothing since an alarm"
