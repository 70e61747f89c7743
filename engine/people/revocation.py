"""Tells every gateway that sign-ins have ended, so that open sockets end with them.

The events commit with the change that they tell of and go to the gateways' own topic: no client hears them.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.outbox.events import append_event

GATEWAYS_TOPIC: Final = "gateway"
"""Every gateway listens to it."""
SESSION_ENDED: Final = "session.ended"
"""`{"session_id"}`: signed out, or its refresh token came back spent."""
PEOPLE_ENDED: Final = "people.ended"
"""`{"person_ids", "before_ms"}`: what these people signed in with before that instant (Unix ms) counts no longer."""


async def tell_session_ended(conn: Connection, session_id: UUID, *, now_ms: int) -> None:
    """Let the sockets of one sign-in be closed. The caller holds the transaction that ends it."""
    body = {"session_id": str(session_id)}
    await append_event(conn, topic=GATEWAYS_TOPIC, kind=SESSION_ENDED, body=body, now_ms=now_ms)


async def tell_people_ended(conn: Connection, person_ids: Sequence[PersonId], *, now_ms: int) -> None:
    """Let the sockets of these people's earlier sign-ins be closed. The caller holds the transaction that ends them."""
    body = {"person_ids": [str(person_id) for person_id in person_ids], "before_ms": now_ms}
    await append_event(conn, topic=GATEWAYS_TOPIC, kind=PEOPLE_ENDED, body=body, now_ms=now_ms)
