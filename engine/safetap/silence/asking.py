"""How somebody is asked whether all is well: as an ordinary event of their app, and as they chose at set-up.

The event is the same whatever was noticed, and the same as before a planned check-in: who looks over a shoulder sees a
reminder. Who chose nothing gets it alone; who chose a decoy gets their own text message too; who chose a code word is
rung by a human, whom the desk's list asks to.
"""

from collections.abc import Sequence
from typing import Final
from uuid import uuid5

from engine.core.database import Connection
from engine.core.units import MS_PER_S, rfc3339, utc_from_ms
from engine.outbox.events import Event, append_event, append_events, desk_topic, user_topic
from engine.safetap.safety_setup import ContactMode
from engine.safetap.silence.watch import TRIGGERS, Watch
from engine.safetap.silence.watch_store import Due

ADD_MESSAGES: Final = """
INSERT INTO silence_ask (ask_id, person_id, org_id, booking_id, round, state, due_at, created_at)
SELECT ask_id, person_id, org_id, booking_id, round, 'pending', $1, $1
  FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::integer[])
    AS new (ask_id, person_id, org_id, booking_id, round)
ON CONFLICT (ask_id) DO NOTHING
"""


async def ask(conn: Connection, asked: Sequence[tuple[Due, Watch]], *, now_ms: int) -> None:
    """Ask, within the transaction that notes it."""
    for due, watch in asked:
        answer_by = rfc3339(utc_from_ms(now_ms + due.policy.grace_s * MS_PER_S))
        body = {"booking_id": str(watch.booking_id), "answer_by": answer_by}
        await append_event(conn, topic=user_topic(watch.person_id), kind="check.in", body=body, now_ms=now_ms)
    rows = [
        (uuid5(TRIGGERS, f"ask/{watch.trigger_id}"), watch.person_id, watch.org_id, watch.booking_id, watch.round)
        for due, watch in asked
        if due.contact_mode is ContactMode.DECOY
    ]
    if rows:
        await conn.execute(ADD_MESSAGES, utc_from_ms(now_ms), *map(list, zip(*rows, strict=True)))


async def tell_desks(conn: Connection, watches: Sequence[Watch], *, now_ms: int) -> None:
    """Let desks know that looking at the list is worth it."""
    if watches:
        await append_events(
            conn, [Event(desk_topic(one.org_id), "silence", _shown(one)) for one in watches], now_ms=now_ms
        )


def _shown(watch: Watch) -> dict[str, object]:
    return {
        "booking_id": str(watch.booking_id),
        "person_id": str(watch.person_id),
        "stage": watch.stage.value,
        "signal": None if watch.signal is None else watch.signal.value,
    }
