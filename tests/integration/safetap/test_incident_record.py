"""Working an incident: what is written down, what is read and by whom, what the person may know of it."""

from datetime import timedelta
from uuid import uuid4
from xml.etree import ElementTree as ET

import pytest

from config.jurisdictions import load_jurisdictions
from config.limits import EVIDENCE_CHUNK_BYTES_MAX, READ_AGAIN_MS, REPORT_TRAIL_FIXES_MAX
from engine.core.errors import ClenzyError, Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.core.vocabulary import IncidentKind
from engine.geo.trail_partitions import keep_days
from engine.people.audit import append_audit
from engine.safetap import evidence
from engine.safetap import incident_work as work
from engine.safetap.call_card import read_call_card
from engine.safetap.cap import NAMESPACE
from engine.safetap.cap_export import export_cap
from engine.safetap.chain import GENESIS, link_hash
from engine.safetap.chain_reading import verify_incident
from engine.safetap.desk import acknowledge, close
from engine.safetap.evidence import Chunk, add_chunk, incident_of_desk, incident_of_trigger, list_evidence, read_chunk
from engine.safetap.incident_reads import note_read
from engine.safetap.incident_report import read_report, thinned
from engine.safetap.incident_statistics import read_statistics
from engine.safetap.incident_trail import read_incident_trail, read_last_fix
from engine.safetap.report_page import report_page
from engine.safetap.watched import who_watched
from tests.integration.safetap.test_chain import tampering
from tests.integration.safetap.test_intake import take
from tests.integration.safetap.world import NOW_MS, World

LATER_MS = NOW_MS + 30_000
JURISDICTIONS = load_jurisdictions()
NASTY = '<script>alert("x")</script>&'


@pytest.fixture
async def incident_id(world: World) -> IncidentId:
    return IncidentId(await take(world, world.received(booking_id=world.booking_id)))


async def add_trail(world: World, *, since_ms: int, fixes: int) -> None:
    """A fix a second of the worker."""
    async with world.pool.acquire() as conn:
        await keep_days(conn, now_ms=NOW_MS, kept_days=30)
        slot = await conn.fetchval("SELECT slot FROM worker WHERE worker_id = $1", world.worker)
        await conn.executemany(
            "INSERT INTO trail VALUES ($1, $2, $3, $4, $5, 50, 100, -1)",
            [
                (utc_from_ms(since_ms + n * 1000), world.org_id, slot, 411_500_000 + n, -86_100_000)
                for n in range(fixes)
            ],
        )


async def kinds(world: World) -> list[str]:
    return [kind for kind in await world.events() if kind != "triggered"]


async def test_a_look_is_an_event_once_a_minute_and_an_audit_entry_every_time(
    world: World, incident_id: IncidentId
) -> None:
    async def look(person_id: PersonId, at_ms: int, what: str = "trail") -> None:
        async with world.pool.acquire() as conn, conn.transaction():
            await note_read(conn, incident_id=incident_id, actor=world.principal(person_id), what=what, now_ms=at_ms)

    await look(world.dispatcher, LATER_MS)
    await look(world.dispatcher, LATER_MS + 1)
    await look(world.dispatcher, LATER_MS + 1, "report")
    await look(world.admin, LATER_MS + 1)
    await look(world.dispatcher, LATER_MS + READ_AGAIN_MS + 1)
    assert await kinds(world) == ["read"] * 4
    rows = await world.pool.fetch("SELECT subject, actor_id, detail ->> 'incident_id' AS of FROM audit_log")
    assert len(rows) == 5
    assert {(row["subject"], row["of"]) for row in rows} == {(f"person:{world.worker}", str(incident_id))}
    for stranger in (world.worker, world.customer):
        with pytest.raises(NotAllowed):
            await look(stranger, LATER_MS)


async def test_the_card_says_all_that_the_police_ask(world: World, incident_id: IncidentId) -> None:
    await world.pool.execute("UPDATE person SET phone = '+351000000001' WHERE person_id = $1", world.worker)
    async with world.pool.acquire() as conn, conn.transaction():
        actor = world.principal(world.dispatcher)
        await work.set_police_reference(
            conn, incident_id=incident_id, actor=actor, reference=" PSP 12/34 ", now_ms=LATER_MS
        )
        card = await read_call_card(conn, incident_id, jurisdictions=JURISDICTIONS, now_ms=LATER_MS)
    assert card["place"] == {
        "line": "Rua das Flores 1",
        "floor": "2",
        "entry_notes": "ring twice",
        "lat": 41.15,
        "lng": -8.61,
    }
    assert card["last_fix"] == {
        "lat": 41.15,
        "lng": -8.61,
        "accuracy_m": 12.0,
        "source": "trigger",
        "at": "2023-11-14T22:13:19.000Z",
        "age_s": 31,
    }
    assert card["numbers"] == {
        "country_code": "PT",
        "emergency": "112",
        "police": "112",
        "others": {},
        "is_known": True,
    }
    people = card["people"]
    assert isinstance(people, list)
    assert [(one["name"], one["phone"], one["called_for_help"]) for one in people] == [
        ("Walter Worker", "+351000000001", True),
        ("Carla Customer", None, False),
    ]
    assert (card["police_reference"], card["warning"], card["is_drill"]) == ("PSP 12/34", None, False)


async def test_a_drills_card_lets_nobody_ring_the_police(world: World) -> None:
    incident_id = IncidentId(await take(world, world.received(kind=IncidentKind.DRILL)))
    async with world.pool.acquire() as conn:
        card = await read_call_card(conn, incident_id, jurisdictions=JURISDICTIONS, now_ms=LATER_MS)
        report = await read_report(conn, incident_id, jurisdictions=JURISDICTIONS, now_ms=LATER_MS)
    assert card["numbers"] is None
    assert "Do not ring anybody" in str(card["warning"])
    assert report_page(report).count("DRILL") >= 2


async def test_the_trail_is_there_off_duty_too_and_ends_with_the_incident(
    world: World, incident_id: IncidentId
) -> None:
    """The worker of `World` is off duty: what the gateway kept for the alarm is what is read."""
    await add_trail(world, since_ms=NOW_MS - 20 * 60_000, fixes=2)
    await add_trail(world, since_ms=NOW_MS + 1_000, fixes=20)
    async with world.pool.acquire() as conn, conn.transaction():
        fixes = await read_incident_trail(conn, incident_id, now_ms=LATER_MS)
        assert [fix["ts_ms"] for fix in fixes] == [NOW_MS + 1_000 * n for n in range(1, 21)]
        assert fixes[0] | {"at": ""} == {
            "at": "", "ts_ms": NOW_MS + 1_000, "lat": 41.15, "lng": -8.61, "accuracy_m": 5.0, "speed_mps": 1.0,
            "heading_deg": None,
        }  # fmt: skip
        newer = await read_incident_trail(conn, incident_id, after_ms=NOW_MS + 19_000, now_ms=LATER_MS)
        assert [fix["ts_ms"] for fix in newer] == [NOW_MS + 20_000]
        last = await read_last_fix(conn, incident_id, now_ms=LATER_MS)
        assert last is not None
        assert (last["source"], last["age_s"]) == ("trail", 10)
        actor = world.principal(world.dispatcher)
        await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=NOW_MS + 10_000)
        closed = await read_incident_trail(conn, incident_id, now_ms=LATER_MS)
        assert closed[-1]["ts_ms"] == NOW_MS + 9_000


async def test_a_customer_has_the_fix_of_the_trigger_and_no_trail(world: World) -> None:
    incident_id = IncidentId(await take(world, world.received(world.customer)))
    async with world.pool.acquire() as conn:
        assert await read_incident_trail(conn, incident_id, now_ms=LATER_MS) == []
        last = await read_last_fix(conn, incident_id, now_ms=LATER_MS)
    assert last is not None
    assert last["source"] == "trigger"


async def test_the_report_holds_everything_and_escapes_it(world: World, incident_id: IncidentId) -> None:
    await world.pool.execute("UPDATE person SET full_name = $2 WHERE person_id = $1", world.worker, NASTY)
    await add_trail(world, since_ms=NOW_MS + 1_000, fixes=3)
    actor = world.principal(world.dispatcher)
    async with world.pool.acquire() as conn, conn.transaction():
        await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=LATER_MS)
        await work.add_note(conn, incident_id=incident_id, actor=actor, text=NASTY, now_ms=LATER_MS)
        await work.mark_false_alarm(conn, incident_id=incident_id, actor=actor, is_false_alarm=True, now_ms=LATER_MS)
        report = await read_report(conn, incident_id, jurisdictions=JURISDICTIONS, now_ms=LATER_MS)
    timeline, chain = report["timeline"], report["chain"]
    assert isinstance(timeline, list)
    assert [event["kind"] for event in timeline] == ["triggered", "acknowledged", "note", "false_alarm"]
    head = await world.pool.fetchval("SELECT encode(hash, 'hex') FROM incident_event ORDER BY version DESC LIMIT 1")
    assert chain == {"entries": 4, "head": head, "broken": []}
    page = report_page(report)
    assert "<script" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;" in page
    assert str(head) in page
    assert "Rua das Flores 1" in page
    assert "//" not in page, "the page loads nothing"
    async with tampering(world) as conn:
        await conn.execute("UPDATE incident_event SET body = '{}' WHERE kind = 'note'")
    async with world.pool.acquire() as conn:
        report = await read_report(conn, incident_id, jurisdictions=JURISDICTIONS, now_ms=LATER_MS)
    assert "entry 3 is not what was written" in report_page(report)


@pytest.mark.parametrize("count", [0, 1, REPORT_TRAIL_FIXES_MAX, REPORT_TRAIL_FIXES_MAX + 1, 4_999])
def test_a_thinned_trail_keeps_its_ends(count: int) -> None:
    fixes: list[dict[str, object]] = [{"n": n} for n in range(count)]
    kept = thinned(fixes, REPORT_TRAIL_FIXES_MAX)
    assert len(kept) == min(count, REPORT_TRAIL_FIXES_MAX)
    assert kept[:1] == fixes[:1]
    assert kept[-1:] == fixes[-1:]
    assert [one["n"] for one in kept] == sorted({one["n"] for one in kept})  # type: ignore[type-var]


async def hand(world: World, incident_id: IncidentId, by: PersonId, to: PersonId) -> None:
    async with world.pool.acquire() as conn, conn.transaction():
        await work.hand_over(
            conn, incident_id=incident_id, actor=world.principal(by), to=to, note="my shift ends", now_ms=LATER_MS
        )


async def test_an_incident_is_handed_over_by_whoever_has_it(world: World, incident_id: IncidentId) -> None:
    with pytest.raises(Conflict):
        await hand(world, incident_id, world.dispatcher, world.other_dispatcher)
    async with world.pool.acquire() as conn:
        await acknowledge(conn, incident_id=incident_id, actor=world.principal(world.dispatcher), now_ms=NOW_MS + 1)
    refused: list[tuple[PersonId, PersonId, type[ClenzyError]]] = [
        (world.other_dispatcher, world.admin, NotAllowed),  # not theirs
        (world.dispatcher, world.dispatcher, InvalidInput),  # to themself
        (world.dispatcher, PersonId(uuid4()), InvalidInput),
        (world.dispatcher, world.worker, NotAllowed),  # the person themself
        (world.dispatcher, world.customer, NotAllowed),  # the other party
    ]
    for by, to, error in refused:
        with pytest.raises(error):
            await hand(world, incident_id, by, to)
    await hand(world, incident_id, world.dispatcher, world.other_dispatcher)
    assert (await world.incident())["acknowledged_by"] == world.other_dispatcher
    timer = await world.pool.fetchrow("SELECT due_at, step FROM incident_timer")
    assert (ms_from_utc(timer["due_at"]), timer["step"]) == (LATER_MS + 600_000, 1)
    await hand(world, incident_id, world.admin, world.dispatcher)
    assert await kinds(world) == ["acknowledged", "handed_over", "handed_over"]


async def test_the_desk_writes_only_to_whom_it_may(world: World, incident_id: IncidentId) -> None:
    """Whoever chose nothing is left alone, and their phone is told nothing that an alarm could be read from."""

    async def say() -> None:
        async with world.pool.acquire() as conn, conn.transaction():
            actor = world.principal(world.dispatcher)
            await work.say_to_person(conn, incident_id=incident_id, actor=actor, text="are you OK?", now_ms=LATER_MS)

    async def hear() -> list[dict[str, object]]:
        async with world.pool.acquire() as conn, conn.transaction():
            await work.say_to_desk(conn, person_id=world.worker, text="no", now_ms=LATER_MS)
            return await work.read_chat(conn, person_id=world.worker)

    for mode in (None, "none"):
        if mode is not None:
            await world.pool.execute(
                "INSERT INTO safety_setup (person_id, contact_mode, updated_at) VALUES ($1, $2, $3)",
                world.worker, mode, utc_from_ms(NOW_MS),
            )  # fmt: skip
        with pytest.raises(NotAllowed):
            await say()
        with pytest.raises(NotFound):
            await hear()
    await world.pool.execute("UPDATE safety_setup SET contact_mode = 'decoy'")
    await say()
    assert [(one["is_mine"], one["text"]) for one in await hear()] == [(False, "are you OK?"), (True, "no")]
    async with world.pool.acquire() as conn:
        await close(conn, incident_id=incident_id, actor=world.principal(world.admin), reason="safe", now_ms=LATER_MS)
    with pytest.raises(NotFound):
        await hear()


async def test_evidence_is_a_chain_that_ends_in_the_history(world: World, incident_id: IncidentId) -> None:
    received = await world.pool.fetchval("SELECT trigger_id FROM safetap_trigger")
    phone, evidence_id = world.principal(world.worker), uuid4()
    data = [bytes([n]) * 1000 for n in range(3)]
    prev, chunks = GENESIS, []
    for n, part in enumerate(data):
        chunks.append(Chunk(evidence_id, n, prev, part, "audio/ogg", is_last=n == 2))
        prev = link_hash(prev, part)

    async def send(chunk: Chunk, who: object = phone) -> bytes:
        async with world.pool.acquire() as conn, conn.transaction():
            assert who is phone
            target = await incident_of_trigger(conn, trigger_id=received, actor=phone)
            assert target == incident_id
            return await add_chunk(conn, incident_id=target, actor=phone, chunk=chunk, now_ms=LATER_MS)

    with pytest.raises(Conflict):
        await send(chunks[1])  # a gap
    first = await send(chunks[0])
    assert await send(chunks[0]) == first, "the same again"
    with pytest.raises(Conflict):
        await send(Chunk(evidence_id, 0, GENESIS, b"other", "audio/ogg", is_last=False))
    with pytest.raises(Conflict):
        await send(Chunk(evidence_id, 1, GENESIS, data[1], "audio/ogg", is_last=False))
    for size in (0, EVIDENCE_CHUNK_BYTES_MAX + 1):
        with pytest.raises(InvalidInput):
            await send(Chunk(evidence_id, 1, first, bytes(size), "audio/ogg", is_last=False))
    for chunk in chunks[1:]:
        await send(chunk)
    with pytest.raises(Conflict):
        await send(Chunk(evidence_id, 3, prev, b"more", "audio/ogg", is_last=False))
    async with world.pool.acquire() as conn, conn.transaction():
        (piece,) = await list_evidence(conn, incident_id)
        assert (piece["chunks"], piece["bytes"], piece["is_complete"], piece["sha256"]) == (3, 3000, True, prev.hex())
        assert await read_chunk(conn, incident_id=incident_id, evidence_id=evidence_id, n=2) == data[2]
        with pytest.raises(NotFound):
            await read_chunk(conn, incident_id=incident_id, evidence_id=evidence_id, n=3)
        with pytest.raises(NotFound):
            await incident_of_trigger(conn, trigger_id=received, actor=world.principal(world.customer))
        desk = world.principal(world.dispatcher)
        assert await incident_of_desk(conn, incident_id=incident_id, actor=desk) == incident_id
        with pytest.raises(Conflict):  # another's piece
            await add_chunk(conn, incident_id=incident_id, actor=desk, chunk=chunks[0], now_ms=LATER_MS)
        verified = await verify_incident(conn, incident_id)
        assert (verified.chunks, verified.broken) == (3, [])
    assert await kinds(world) == ["evidence", "evidence_complete"]


async def test_one_incident_does_not_fill_the_disk_that_every_alarm_needs(
    world: World, incident_id: IncidentId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "EVIDENCE_BYTES_MAX", 3 * EVIDENCE_CHUNK_BYTES_MAX)
    phone, whole = world.principal(world.worker), bytes(EVIDENCE_CHUNK_BYTES_MAX)

    async def send(size: int) -> None:
        async with world.pool.acquire() as conn, conn.transaction():
            chunk = Chunk(uuid4(), 0, GENESIS, whole[:size], "image/jpeg", is_last=True)
            await add_chunk(conn, incident_id=incident_id, actor=phone, chunk=chunk, now_ms=LATER_MS)

    for _ in range(2):
        await send(EVIDENCE_CHUNK_BYTES_MAX)
    with pytest.raises(Conflict):  # an envelope is larger than what is in it
        await send(EVIDENCE_CHUNK_BYTES_MAX)
    assert await world.pool.fetchval("SELECT sum(length(data)) FROM evidence_chunk") <= 3 * EVIDENCE_CHUNK_BYTES_MAX


@pytest.mark.parametrize(
    ("statement", "place", "problem"),
    [
        ("UPDATE evidence_chunk SET data = data || '\\x00' WHERE n = 1", 1, "is not what was written"),
        ("DELETE FROM evidence_chunk WHERE n = 0", 0, "is missing"),
        ("DELETE FROM evidence_chunk WHERE n = 2", 2, "does not end as the history says"),
    ],
)
async def test_changed_evidence_is_found(
    world: World, incident_id: IncidentId, statement: str, place: int, problem: str
) -> None:
    evidence_id, prev = uuid4(), GENESIS
    async with world.pool.acquire() as conn, conn.transaction():
        for n in range(3):
            chunk = Chunk(evidence_id, n, prev, bytes([n]), "audio/ogg", is_last=n == 2)
            actor = world.principal(world.dispatcher)
            prev = await add_chunk(conn, incident_id=incident_id, actor=actor, chunk=chunk, now_ms=LATER_MS)
    async with tampering(world) as conn:
        await conn.execute(statement)
    async with world.pool.acquire() as conn:
        (found,) = (await verify_incident(conn, incident_id)).broken
    assert (found.chain, found.place, found.problem) == (f"evidence {evidence_id}", place, problem)


async def test_who_watched_me_tells_nothing_of_a_live_or_held_incident(world: World) -> None:
    """Whoever holds the phone would learn from it that the desk is looking."""

    async def look(at_ms: int) -> None:
        async with world.pool.acquire() as conn, conn.transaction():
            await append_audit(
                conn, org_id=world.org_id, actor_id=world.dispatcher, action="trail.read",
                subject=f"worker:{world.worker}", now_ms=at_ms, detail={"reason": "late for a job", "from": "x"},
            )  # fmt: skip

    async def seen() -> list[object]:
        async with world.pool.acquire() as conn:
            return [one["what"] for one in await who_watched(conn, world.worker)]

    await look(NOW_MS - 1_000)
    assert await seen() == ["trail.read"]
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    await look(NOW_MS + 1_000)
    async with world.pool.acquire() as conn, conn.transaction():
        actor = world.principal(world.dispatcher)
        await note_read(conn, incident_id=incident_id, actor=actor, what="trail", now_ms=LATER_MS)
    assert await seen() == ["trail.read"], "nothing since the alarm"
    async with world.pool.acquire() as conn:
        await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=LATER_MS)
        assert await seen() == ["trail.read"], "the hold still stands"
        await close(conn, incident_id=incident_id, actor=actor, reason="reviewed", now_ms=LATER_MS)
        looks = await who_watched(conn, world.worker)
    assert [one["what"] for one in looks] == ["incident.trail_read", "trail.read", "trail.read"]
    assert (looks[1]["who"], looks[1]["reason"]) == ("Dora Dispatcher", "late for a job")
    async with world.pool.acquire() as conn:
        assert await who_watched(conn, world.customer) == []


async def test_statistics_keep_drills_apart_and_count_nobody(world: World) -> None:
    begin, end = utc_from_ms(NOW_MS) - timedelta(days=1), utc_from_ms(NOW_MS) + timedelta(days=1)
    actor = world.principal(world.dispatcher)
    for waited_s, kind in ((10, IncidentKind.BUTTON), (30, IncidentKind.BUTTON), (5, IncidentKind.DRILL)):
        incident_id = IncidentId(await take(world, world.received(kind=kind)))
        async with world.pool.acquire() as conn:
            at_ms = NOW_MS + waited_s * 1_000
            await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=at_ms)
            await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=at_ms + 60_000)
    await take(world, world.received(world.customer))
    async with world.pool.acquire() as conn:
        statistics = await read_statistics(conn, org_id=world.org_id, begin=begin, end=end)
        other = await World(world.pool).build()
        assert (await read_statistics(conn, org_id=other.org_id, begin=begin, end=end))["real"] == {
            "incidents": 0, "open": 0, "acknowledged": 0, "false_alarms": 0, "lapsed": 0, "acknowledge_p50_s": None,
            "acknowledge_p99_s": None, "close_p50_s": None, "by_kind": {},
        }  # fmt: skip
    real, drills = statistics["real"], statistics["drills"]
    assert isinstance(real, dict)
    assert isinstance(drills, dict)
    assert (real["incidents"], real["open"], real["acknowledged"]) == (3, 1, 2)
    assert (real["acknowledge_p50_s"], real["acknowledge_p99_s"], real["close_p50_s"]) == (20.0, 29.8, 80.0)
    assert (drills["incidents"], drills["acknowledge_p50_s"]) == (1, 5.0)
    assert list(real["by_kind"]) == ["button"]
    assert list(drills["by_kind"]) == ["drill"]


async def test_cap_messages_name_each_other_and_every_one_is_on_record(world: World, incident_id: IncidentId) -> None:
    async def export(at_ms: int) -> ET.Element:
        async with world.pool.acquire() as conn, conn.transaction():
            actor = world.principal(world.dispatcher)
            await note_read(conn, incident_id=incident_id, actor=actor, what="cap", now_ms=at_ms)
            return ET.fromstring(
                await export_cap(conn, incident_id, actor=actor, jurisdictions=JURISDICTIONS, now_ms=at_ms)
            )

    def said(root: ET.Element, name: str) -> str | None:
        return root.findtext(f"{{{NAMESPACE}}}{name}")

    alert, update = await export(LATER_MS), await export(LATER_MS + 60_000)
    async with world.pool.acquire() as conn:
        actor = world.principal(world.dispatcher)
        await close(conn, incident_id=incident_id, actor=actor, reason="safe", now_ms=LATER_MS + 90_000)
    cancel = await export(LATER_MS + 120_000)
    assert [said(root, "msgType") for root in (alert, update, cancel)] == ["Alert", "Update", "Cancel"]
    sender = f"safetap@{world.org_id}"
    names = [f"{sender},{said(root, 'identifier')},{said(root, 'sent')}" for root in (alert, update)]
    assert said(alert, "references") is None
    assert said(update, "references") == names[0]
    assert said(cancel, "references") == " ".join(names)
    assert len(alert.findall(f"{{{NAMESPACE}}}info")) == 2, "the world is in Portugal"
    assert (await kinds(world)).count("cap_exported") == 3
    reads = await world.pool.fetch("SELECT subject FROM audit_log WHERE action = 'incident.cap_read'")
    assert [row["subject"] for row in reads] == [f"person:{world.worker}"] * 3
