"""From silence to an incident: by the one statement of every other trigger, under an id that is always the same."""

from collections.abc import Callable, Sequence

from engine.core.database import Connection
from engine.core.ids import IncidentId, PersonId
from engine.core.vocabulary import Door
from engine.safetap.silence.watch import Watch
from engine.safetap.trigger import TokenState, Trigger, Trust
from engine.safetap.trigger_store import store_triggers


class _Climb:
    """What is written of a trigger that nobody sent."""

    door = Door.WATCH
    token_state = TokenState.VALID
    trust = Trust.VERIFIED
    issued_at_ms: int | None = None

    def __init__(self, watch: Watch, incident_id: IncidentId, now_ms: int) -> None:
        assert watch.signal is not None
        self.trigger = Trigger(watch.trigger_id, watch.signal, watch.booking_id, None, {})
        self.person_id: PersonId = watch.person_id
        self.received_at_ms = now_ms
        self.incident_id = incident_id


async def climb(
    conn: Connection, watches: Sequence[Watch], *, new_id: Callable[[], IncidentId], now_ms: int
) -> list[IncidentId | None]:
    """Open or join an incident for each watch. The caller holds the transaction that advances them."""
    return await store_triggers(conn, [_Climb(one, new_id(), now_ms) for one in watches], new_id=new_id)
