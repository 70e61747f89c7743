"""What the gateway asks of the engine through Postgres: commands of workers, the state of a session, counts.

Positions never come here: while Postgres is away fixes flow on and everything in this module raises `Unavailable`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import structlog

from config.limits import (
    ARRIVALS_MAX,
    COMMAND_TEXT_CHARS_MAX,
    COMMAND_TIMEOUT_MS,
    GATEWAY_POOL_MAX,
    LIVE_READS_MAX,
    RESTART_BACKOFF_MS_MAX,
    RESTART_BACKOFF_MS_MIN,
)
from config.settings import Settings
from engine.booking.booking_store import transition
from engine.booking.lifecycle import ASKED_FOR_STATES
from engine.booking.views import open_bookings_of_customer
from engine.core.clock import Clock
from engine.core.database import CONNECTION_LOST, POSTGRES_ERRORS, Connection, Pool
from engine.core.errors import InvalidInput, NotFound, Unavailable
from engine.core.ids import BookingId, OfferId, OrgId, PersonId
from engine.core.units import MS_PER_DAY, utc_from_ms
from engine.core.vocabulary import BookingState, Duty
from engine.matcher.offer_answers import answer_offer
from engine.matcher.offer_store import worker_state, worker_states
from engine.outbox.history import History, Position, read_missed, read_position
from engine.people.accounts import load_standing
from engine.people.audit import append_audit
from engine.people.devices import DeviceSpeaker, find_speaker
from engine.people.duty import set_duty
from engine.people.tokens import Principal
from engine.people.tracking import Tracking, read_tracking, read_trackings
from engine.safetap.live_reads import LiveRead, note_live_reads
from engine.wiring import open_database
from gateway_ws.batched import Batched
from gateway_ws.closing import UnknownType

log = structlog.get_logger(__name__)

BOOKING_COUNTS = """
SELECT state, count(*) AS bookings FROM booking WHERE org_id = $1 AND created_at > $2 GROUP BY state
"""
WORKERS_ON_DUTY = """
SELECT count(*) FROM worker JOIN person ON person_id = worker_id WHERE org_id = $1 AND duty = 'on'
"""
WORKER_ORGS = "SELECT slot, org_id FROM worker JOIN person ON person_id = worker_id WHERE slot = ANY($1::int[])"

Json = dict[str, Any]


class EngineCalls:
    """The small pool of a gateway, and the calls that need it."""

    def __init__(self, clock: Clock, pool: Pool | None = None) -> None:
        self._clock = clock
        self._pool = pool
        self._epoch: str | None = None
        self._snapshots = Batched(self._read_snapshots, keys_max=ARRIVALS_MAX)
        self._histories = Batched(self._read_missed, keys_max=ARRIVALS_MAX)
        self.note_live_read = Batched(self._note_live_reads, keys_max=LIVE_READS_MAX)
        """Records that a console was shown an incident; raises `Unavailable` while Postgres is away."""

    @property
    def is_connected(self) -> bool:
        """Whether Postgres has answered once; from then on the pool heals itself."""
        return self._pool is not None

    def use(self, pool: Pool) -> None:
        """Work with this pool from now on."""
        self._pool = pool

    async def connect(self, settings: Settings) -> None:
        """Open the pool as soon as Postgres answers."""
        delay_ms = RESTART_BACKOFF_MS_MIN
        while self._pool is None:
            try:
                self.use(await open_database(settings, pool_max=GATEWAY_POOL_MAX))
            except POSTGRES_ERRORS as error:
                log.warning("postgres.unavailable", error=type(error).__name__)
                await self._clock.sleep_ms(delay_ms)
                delay_ms = min(2 * delay_ms, RESTART_BACKOFF_MS_MAX)

    async def close(self) -> None:
        """Close the pool."""
        if self._pool is not None:
            await self._pool.close()

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection for one short piece of work; entering raises `Unavailable` while Postgres is away."""
        return self._connection()

    async def command(self, worker: Principal, name: str, body: Mapping[str, Any]) -> Json:
        """Do what a worker asks for and return the protocol's answer.

        Raises:
            UnknownType: there is no such command.
            InvalidInput: a field is missing or breaks its rule.
            Unavailable: Postgres is away.
            ClenzyError: the engine refused it.
        """
        match name:
            case "duty":
                return await self._duty(worker, body)
            case "offer.accept" | "offer.decline":
                return await self._answer_offer(worker, body, accept=name == "offer.accept")
            case "booking.transition":
                return await self._transition(worker, body)
            case _:
                raise UnknownType(f"there is no command {name[:40]!r}")

    async def worker_state(self, worker: Principal) -> Json:
        """Return `{"duty", "offer", "booking"}`, and `tracking`, which no phone is shown."""
        async with self._connection() as conn:
            return await _state_of(conn, worker.person_id)

    async def worker_snapshot(self, worker: Principal) -> tuple[Position, Json]:
        """Return the same after a position of the outbox: every event up to there is in it."""
        position, state = await self._snapshots(worker.person_id)
        if state is None:
            raise NotFound
        return position, state

    async def state_of_worker(self, worker_id: PersonId) -> Json:
        """Return the same of a worker whose tracker speaks."""
        async with self._connection() as conn:
            return await _state_of(conn, worker_id)

    async def tracking(self, worker_id: PersonId) -> Tracking:
        """Return since when this worker's fixes count."""
        async with self._connection() as conn:
            return await read_tracking(conn, worker_id)

    async def standing(self, principals: Sequence[Principal]) -> list[bool]:
        """Return of each whether their sign-in still stands."""
        async with self._connection() as conn:
            return await load_standing(conn, principals)

    async def device_speaker(self, token: str) -> DeviceSpeaker | None:
        """Return for whom a device's token speaks, or nobody."""
        async with self._connection() as conn:
            return await find_speaker(conn, token)

    async def customer_snapshot(self, customer: PersonId) -> tuple[Position, list[Json]]:
        """Return the bookings that can still change, after a position of the outbox."""
        async with self._connection() as conn:
            position = self._seen(await read_position(conn))
            return position, [dict(booking) for booking in await open_bookings_of_customer(conn, customer)]

    async def position(self) -> Position:
        """Return how far the outbox has got."""
        async with self._connection() as conn:
            return self._seen(await read_position(conn))

    async def missed(self, after: Mapping[str, int]) -> History:
        """Return what was told on each topic after the number beside it."""
        return await self._histories(after)

    async def note_map_look(self, desk: Principal) -> None:
        """Record that somebody at the desk looks at the live map of their organisation."""
        async with self._connection() as conn:
            await append_audit(
                conn,
                org_id=desk.org_id,
                actor_id=desk.person_id,
                action="map.read",
                subject=f"org:{desk.org_id}",
                now_ms=self._clock.now_ms(),
            )

    async def epoch(self) -> str | None:
        """Return the outbox's epoch as it was last seen; None as long as Postgres has never told it."""
        if self._epoch is None:
            with suppress(Unavailable):
                await self.position()
        return self._epoch

    async def desk_counts(self, org_id: OrgId) -> tuple[int, dict[str, int]]:
        """Return how many workers are on duty, and how many bookings of the last 24 h are in each state."""
        since = utc_from_ms(self._clock.now_ms() - MS_PER_DAY)
        async with self._connection() as conn:
            rows = await conn.fetch(BOOKING_COUNTS, org_id, since)
            on_duty = await conn.fetchval(WORKERS_ON_DUTY, org_id)
        return int(on_duty), {row["state"]: row["bookings"] for row in rows}

    async def worker_orgs(self, slots: list[int]) -> dict[int, OrgId]:
        """Return whose workers these slots are."""
        async with self._connection() as conn:
            rows = await conn.fetch(WORKER_ORGS, slots)
        return {row["slot"]: OrgId(row["org_id"]) for row in rows}

    def _seen(self, position: Position) -> Position:
        self._epoch = position.epoch
        return position

    async def _read_snapshots(self, worker_ids: Sequence[PersonId]) -> list[tuple[Position, Json | None]]:
        async with self._connection() as conn:
            position = self._seen(await read_position(conn))
            states = await worker_states(conn, worker_ids)
            trackings = await read_trackings(conn, worker_ids)
        found = {each: {**states[each], "tracking": trackings[each]} for each in states.keys() & trackings.keys()}
        return [(position, found.get(worker_id)) for worker_id in worker_ids]

    async def _note_live_reads(self, reads: Sequence[LiveRead]) -> list[None]:
        async with self._connection() as conn:
            await note_live_reads(conn, reads)
        return [None] * len(reads)

    async def _read_missed(self, wanted: Sequence[Mapping[str, int]]) -> list[History]:
        """Return one history for all: from the earliest number that somebody asked for on each topic."""
        after: dict[str, int] = {}
        for each in wanted:
            for topic, offset in each.items():
                after[topic] = min(offset, after.get(topic, offset))
        async with self._connection() as conn:
            history = await read_missed(conn, after)
        self._seen(history.position)
        return [history] * len(wanted)

    async def _duty(self, worker: Principal, body: Mapping[str, Any]) -> Json:
        try:
            duty = Duty(body.get("duty", ""))
        except ValueError as error:
            raise InvalidInput("duty is `on` or `off`", field="duty") from error
        async with self._connection() as conn:
            return {"duty": await set_duty(conn, principal=worker, duty=duty, now_ms=self._clock.now_ms())}

    async def _answer_offer(self, worker: Principal, body: Mapping[str, Any], *, accept: bool) -> Json:
        offer_id = OfferId(_uuid(body, "offer_id"))
        reason = _text(body, "reason")
        async with self._connection() as conn:
            _, booking = await answer_offer(
                conn, offer_id=offer_id, worker=worker, accept=accept, reason=reason, now_ms=self._clock.now_ms()
            )
        return {"booking": booking} if accept else {}

    async def _transition(self, worker: Principal, body: Mapping[str, Any]) -> Json:
        booking_id = BookingId(_uuid(body, "booking_id"))
        try:
            to = BookingState(body.get("to", ""))
        except ValueError as error:
            raise InvalidInput("`to` is a state of the life cycle", field="to") from error
        if to not in ASKED_FOR_STATES:
            raise InvalidInput(f"nobody asks for {to}: offers, assignments and hand-backs lead there", field="to")
        async with self._connection() as conn, conn.transaction():
            booking = await transition(
                conn, booking_id=booking_id, to=to, actor=worker, reason=_text(body, "reason"),
                now_ms=self._clock.now_ms(),
            )  # fmt: skip
        return {"booking": booking}

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        if self._pool is None:
            raise Unavailable
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_MS / 1000), self._pool.acquire() as conn:
                yield conn
        except CONNECTION_LOST as error:
            raise Unavailable from error


async def _state_of(conn: Connection, worker_id: PersonId) -> Json:
    return {**await worker_state(conn, worker_id), "tracking": await read_tracking(conn, worker_id)}


def _uuid(body: Mapping[str, Any], field: str) -> UUID:
    value = body.get(field)
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{field} is a UUID", field=field) from error


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str):
        raise InvalidInput(f"{field} is text", field=field)
    return value[:COMMAND_TEXT_CHARS_MAX]
