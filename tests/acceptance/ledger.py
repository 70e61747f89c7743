"""Holds what was acknowledged against what the stores say, after the storm. Returns what is wrong, in words."""

from collections import Counter

import asyncpg

from tests.acceptance.people import History

LEGAL_MOVES = {
    None: {"searching"},
    "searching": {"offered", "unserved", "cancelled"},
    "offered": {"assigned", "searching", "cancelled"},
    "assigned": {"en_route", "cancelled"},
    "en_route": {"arrived", "cancelled"},
    "arrived": {"in_progress", "cancelled"},
    "in_progress": {"completed", "cancelled"},
    "completed": {"confirmed"},
}


async def audit(conn: asyncpg.Connection, history: History) -> list[str]:
    """Return every broken promise."""
    return [
        *await _bookings(conn, history),
        *await _booking_histories(conn, history),
        *await _offers(conn, history),
        *await _incidents(conn, history),
        *await _events(conn),
    ]


async def _bookings(conn: asyncpg.Connection, history: History) -> list[str]:
    stored = [str(row["booking_id"]) for row in await conn.fetch("SELECT booking_id FROM booking")]
    acknowledged = list(history.bookings.values())
    wrong = [f"booking {one} was acknowledged and is gone" for one in set(acknowledged) - set(stored)]
    wrong += [f"booking {one} exists and nobody asked for it (doubled)" for one in set(stored) - set(acknowledged)]
    wrong += [f"booking {one} answers two keys" for one, times in Counter(acknowledged).items() if times > 1]
    return wrong


async def _booking_histories(conn: asyncpg.Connection, history: History) -> list[str]:
    wrong = []
    for booking in await conn.fetch("SELECT booking_id, state, version FROM booking"):
        events = await conn.fetch(
            "SELECT version, state_from, state_to FROM booking_event WHERE booking_id = $1 ORDER BY version",
            booking["booking_id"],
        )
        if [event["version"] for event in events] != list(range(1, booking["version"] + 1)):
            wrong.append(f"booking {booking['booking_id']}: its history has a gap")
        state = None
        for event in events:
            if event["state_from"] != state or event["state_to"] not in LEGAL_MOVES[state]:
                wrong.append(f"booking {booking['booking_id']}: {state} -> {event['state_to']}")
            state = event["state_to"]
        if state != booking["state"]:
            wrong.append(f"booking {booking['booking_id']}: is {booking['state']}, its history ends {state}")
        if str(booking["booking_id"]) in history.confirmed and booking["state"] != "confirmed":
            wrong.append(f"booking {booking['booking_id']}: a confirmation was acknowledged and lost")
    return wrong


async def _offers(conn: asyncpg.Connection, history: History) -> list[str]:
    wrong = []
    for offer_id, worker_id in history.accepted.items():
        row = await conn.fetchrow(
            "SELECT o.state, o.worker_id, b.worker_id AS assigned FROM offer o JOIN booking b USING (booking_id)"
            " WHERE o.offer_id = $1::uuid",
            offer_id,
        )
        if row is None or row["state"] != "accepted" or not str(row["worker_id"]) == worker_id == str(row["assigned"]):
            wrong.append(f"offer {offer_id}: a yes of {worker_id} was acknowledged and lost: {row}")
    doubled = await conn.fetch(
        "SELECT booking_id FROM offer WHERE state = 'accepted' GROUP BY booking_id HAVING count(*) > 1"
    )
    wrong += [f"booking {row['booking_id']} was given to two workers" for row in doubled]
    return wrong


async def _incidents(conn: asyncpg.Connection, history: History) -> list[str]:
    wrong = []
    for trigger_id, person_id in history.triggers.items():
        rows = await conn.fetch(
            "SELECT i.person_id FROM safetap_trigger t JOIN incident i USING (incident_id) WHERE t.trigger_id = $1",
            trigger_id,
        )
        if [str(row["person_id"]) for row in rows] != [person_id]:
            wrong.append(f"trigger {trigger_id} was acknowledged as committed and leads to {rows}")
    per_person = await conn.fetch("SELECT person_id FROM incident GROUP BY person_id HAVING count(*) > 1")
    wrong += [f"person {row['person_id']} has two incidents" for row in per_person]
    silent = await conn.fetch(
        "SELECT incident_id FROM incident i WHERE state <> 'closed'"
        " AND NOT EXISTS (SELECT FROM incident_timer t WHERE t.incident_id = i.incident_id)"
    )
    wrong += [f"incident {row['incident_id']} is open and nothing is due: it would end in silence" for row in silent]
    unstepped = await conn.fetch(
        "SELECT incident_id FROM incident i WHERE NOT EXISTS"
        " (SELECT FROM notice n WHERE n.incident_id = i.incident_id AND n.step = 2)"
        " AND NOT EXISTS (SELECT FROM notice n WHERE n.incident_id = i.incident_id AND n.loop > 0)"
    )
    wrong += [f"incident {row['incident_id']} never reached its second step" for row in unstepped]
    return wrong


async def _events(conn: asyncpg.Connection) -> list[str]:
    waiting = await conn.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
    return [f"{waiting} events were never relayed"] if waiting else []
