"""Every open session of one gateway: who must refresh a token, who must read the state again."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from config.limits import CONNECTIONS_MAX, RECOVERY_TOPICS_MAX, TOKEN_GRACE_MS
from engine.core.errors import TooMany
from engine.outbox.history import History
from engine.people.tokens import Principal
from gateway_ws.closing import Close
from gateway_ws.metrics import CONNECTIONS


class Session(Protocol):
    """What the registry needs of a session."""

    @property
    def kind(self) -> str:
        """`worker`, `customer` or `console`."""
        ...

    @property
    def principal(self) -> Principal:
        """Who speaks."""
        ...

    @property
    def topic(self) -> str:
        """Whose durable events it hears."""
        ...

    @property
    def position(self) -> int | None:
        """Up to which number of the outbox the client has everything."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether its welcome was sent."""
        ...

    @property
    def is_behind(self) -> bool:
        """Whether its events are held back until the outbox has been read."""
        ...

    @property
    def can_catch_up(self) -> bool:
        """Whether the missed events would do: it has had a snapshot."""
        ...

    def interrupt(self) -> None:
        """Hold events back: some may be missing."""
        ...

    def expect(self) -> None:
        """Take note that the outbox is being read for it."""
        ...

    def catch_up(self, history: History) -> bool:
        """Send what was missed; return False where that is not all there any more."""
        ...

    async def reload(self) -> bool:
        """Read the durable state and send it; return whether that worked."""
        ...

    def close(self, reason: Close, detail: str = "", *, retry_after_ms: int | None = None) -> None:
        """End the session."""
        ...


class Registry:
    """Open sessions, and those among them whose state is not known to be whole."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()
        self._incomplete: dict[Session, None] = {}
        self._unchecked: dict[Session, None] = {}
        self._worker_by_slot: dict[int, Session] = {}

    def __len__(self) -> int:
        """Return how many sessions are open."""
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """Go through the open sessions as they are now."""
        return iter(tuple(self._sessions))

    def add(self, session: Session) -> None:
        """Take in a session.

        Raises:
            TooMany: the gateway is full.
        """
        if len(self._sessions) >= CONNECTIONS_MAX:
            raise TooMany("this gateway is full, try another one")
        self._sessions.add(session)
        self._unchecked[session] = None
        CONNECTIONS.labels(session.kind).inc()

    def replace_worker(self, slot: int, session: Session) -> None:
        """Let `session` be the worker's only one here: the one before is closed."""
        before = self._worker_by_slot.get(slot)
        self._worker_by_slot[slot] = session
        if before is not None:
            before.close(Close.REPLACED, "connected again elsewhere")

    def org_of_worker(self, slot: int) -> str | None:
        """Return the organisation of a worker connected here."""
        session = self._worker_by_slot.get(slot)
        return None if session is None else str(session.principal.org_id)

    def remove(self, session: Session) -> None:
        """Let go of a session."""
        slot = session.principal.slot
        if slot is not None and self._worker_by_slot.get(slot) is session:
            del self._worker_by_slot[slot]
        if session in self._sessions:
            self._sessions.remove(session)
            self._unchecked.pop(session, None)
            self._incomplete.pop(session, None)
            CONNECTIONS.labels(session.kind).dec()

    def needs_reload(self, session: Session) -> None:
        """Remember that a session may have missed something."""
        if session in self._sessions:
            self._incomplete[session] = None

    def interrupt_all(self) -> None:
        """Hold all events back: the fan-out begins anew, and may have missed some."""
        for session in self:
            session.interrupt()

    def all_need_reload(self) -> None:
        """After a gap in the fan-out every session may have missed something."""
        self._incomplete.update(dict.fromkeys(self._sessions))

    def take_incomplete(self) -> list[Session]:
        """Remove and return the next sessions to read again, the longest waiting first."""
        batch = list(self._incomplete)[:RECOVERY_TOPICS_MAX]
        for session in batch:
            del self._incomplete[session]
        return batch

    def all_unchecked(self) -> None:
        """Ask again about the sign-in of every session."""
        self._unchecked.update(dict.fromkeys(self._sessions))

    def not_checked(self, sessions: Iterable[Session]) -> None:
        """Remember that nobody could tell about the sign-ins of these."""
        self._unchecked.update(dict.fromkeys(session for session in sessions if session in self._sessions))

    def take_unchecked(self) -> list[Session]:
        """Remove and return the sessions about whose sign-in nobody has asked yet."""
        unchecked, self._unchecked = list(self._unchecked), {}
        return unchecked

    def close_expired(self, now_ms: int) -> None:
        """Close the sessions whose token expired longer ago than the grace."""
        for session in self:
            if session.principal.expires_at_ms + TOKEN_GRACE_MS <= now_ms:
                session.close(Close.NOT_SIGNED_IN, "the access token has expired")

    def close_all(self, reason: Close) -> None:
        """Close every session."""
        for session in self:
            session.close(reason)
