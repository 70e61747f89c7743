"""Sends what the ladder decided: at least once, each notice on its own, so that one hung receiver delays nobody.

A claim is a lease; a sender that is killed in mid-send lets it run out, and the notice is sent again with the same key,
unless the provider has told meanwhile that it has it. A notice that fails is tried again ever more slowly, then marked
failed; either outcome is an event of its incident.

The first notice of an incident to somebody waits for nothing: neither for a free place among repetitions nor for its
address's share of them. After an outage there may be thousands: as many are claimed as there are `FirstPlaces`, each
address in its turn, so that a lease and a deadline are spent on the receiver and not in our own queue.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from config.jurisdictions import Jurisdictions, load_jurisdictions
from config.limits import (
    NOTICE_ATTEMPTS_MAX,
    NOTICE_BATCH_MAX,
    NOTICE_FIRST_MAX,
    NOTICE_LEASE_MS,
    NOTICE_POLL_MS,
    NOTICE_RETRY_MS_MAX,
    NOTICE_RETRY_MS_MIN,
    NOTICE_SEND_TIMEOUT_MS,
    NOTICES_PER_ADDRESS_MAX,
)
from engine.core.clock import Clock
from engine.core.crash_point import crash_point
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.ids import NoticeId
from engine.core.units import MS_PER_S, ms_from_utc, utc_from_ms
from engine.core.vocabulary import Channel
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Listener, Wake
from engine.safetap.bystanders import advice_for
from engine.safetap.channels.notifier import NoticeMessage, Notifier, NotSent, Receipt
from engine.safetap.decoy import decoy_for
from engine.safetap.escalation_loop import ReadClock
from engine.safetap.first_places import FirstPlaces, Place
from engine.safetap.incident_store import read_clock
from engine.safetap.incident_views import incident_view
from engine.safetap.metrics import NOTICE_DELAY, NOTICES
from engine.safetap.notice_record import put_off, record_failed, record_sent
from engine.safetap.reply_codes import NewCode, allot_code, random_code

log = structlog.get_logger(__name__)

LAST_ERROR_CHARS_MAX: Final = 200
RECORD_ATTEMPTS_MAX: Final = 3
"""Attempts to write one outcome; then the lease runs out and the notice is sent again."""

# No address gets more than its share of a batch, and each has its turn. `picked` asks for the lease again, because
# another sender may have taken one since `due` was read: the second look sees the row as it is when it is locked.
CLAIM: Final = """
WITH due AS (
  SELECT notice_id, row_number() OVER (PARTITION BY address ORDER BY due_at, notice_id) AS place
    FROM notice
   WHERE state = 'pending' AND channel = $3 AND due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
     AND (loop = 0 AND attempts = 0) = $7
     AND address <> ALL($4::text[])
), picked AS (
  SELECT notice_id FROM notice JOIN due USING (notice_id)
   WHERE due.place <= $6 AND state = 'pending' AND (lease_until IS NULL OR lease_until <= $1)
   ORDER BY due.place, due_at
   LIMIT $5
     FOR UPDATE OF notice SKIP LOCKED
)
UPDATE notice n
   SET attempts = attempts + 1, lease_until = $2
 WHERE notice_id IN (SELECT notice_id FROM picked)
RETURNING notice_id, idempotency_key, incident_id, org_id, target, channel, address, step, loop, attempts, created_at,
          ROW((SELECT k.wrapped FROM incident i JOIN person_key k USING (person_id)
                WHERE i.incident_id = n.incident_id), address_sealed, address)::sealed_text AS opened_address
"""

NEXT_DUE: Final = """
SELECT (extract(epoch FROM min(greatest(due_at, coalesce(lease_until, due_at)))) * 1000)::bigint
  FROM notice
 WHERE state = 'pending' AND channel = ANY($1::text[])
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt: the receiver's word, or why there is none."""

    receipt: Receipt | None
    error: str = ""
    is_final: bool = False


class NoticeSender:
    """Sends over the given channels until cancelled; any number of senders may run."""

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Clock,
        notifiers: Mapping[Channel, Notifier],
        read_clock: ReadClock = read_clock,
        new_code: NewCode = random_code,
        jurisdictions: Jurisdictions | None = None,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Without `jurisdictions` those of the installation are read, and checked. `on_round` hears of whole rounds."""
        self._pool = pool
        self._on_round = on_round
        self._clock = clock
        self._notifiers = notifiers
        self._read_clock = read_clock
        self._new_code = new_code
        self._jurisdictions = load_jurisdictions() if jurisdictions is None else jurisdictions
        self._wake = Wake()
        self._listener = Listener(pool=pool, clock=clock, handlers={"clenzy_notice": self._wake.set})
        self._firsts: Counter[Channel] = Counter()
        self._repetitions: Counter[tuple[Channel, str]] = Counter()
        self._places = FirstPlaces(on_room=self._wake.set)

    async def run(self) -> None:
        """Send until cancelled, through restarts of Postgres and of every provider."""
        async with asyncio.TaskGroup() as sends:
            sends.create_task(self._listener.run())

            async def round_() -> None:
                wait_ms = await self.round(sends)
                self._on_round()
                await self._wake.wait(wait_ms)

            await keep_running(round_, name="notice_sender", clock=self._clock, errors=POSTGRES_ERRORS)

    async def round(self, sends: asyncio.TaskGroup) -> float:
        """Begin to send everything that is due; return how long to wait for the next, in milliseconds."""
        async with self._pool.acquire() as conn:
            now_ms = await self._read_clock(conn)
            for channel, notifier in self._notifiers.items():
                for row in await self._claim_firsts(conn, channel, now_ms):
                    self._firsts[channel] += 1
                    sends.create_task(self._send_first(row, notifier, now_ms, self._places.take(channel)))
                for row in await self._claim(conn, channel, now_ms):
                    self._repetitions[channel, row["address"]] += 1
                    sends.create_task(self._send_again(row, notifier, now_ms))
            next_due_ms = await conn.fetchval(NEXT_DUE, [channel.value for channel in self._notifiers])
        until_due_ms = NOTICE_POLL_MS if next_due_ms is None else next_due_ms - now_ms
        return min(NOTICE_POLL_MS, until_due_ms) if until_due_ms > 0 else NOTICE_POLL_MS

    async def _claim_firsts(self, conn: Connection, channel: Channel, now_ms: int) -> list[asyncpg.Record]:
        """Lease the first notices that are due on one channel, as many as there are places."""
        lease_until = utc_from_ms(now_ms + NOTICE_LEASE_MS)
        free = min(NOTICE_FIRST_MAX - self._firsts[channel], self._places.free(channel))
        return await conn.fetch(
            CLAIM,
            utc_from_ms(now_ms),
            lease_until,
            channel.value,
            [],
            free,
            NOTICE_FIRST_MAX,
            True,  # noqa: FBT003 - SQL
        )

    async def _claim(self, conn: Connection, channel: Channel, now_ms: int) -> list[asyncpg.Record]:
        """Lease what is due again on one channel, up to its free places; nothing for an address that has its share."""
        busy = sum(count for (one, _), count in self._repetitions.items() if one is channel)
        crowded = [
            address
            for (one, address), count in self._repetitions.items()
            if one is channel and count >= NOTICES_PER_ADDRESS_MAX
        ]
        lease_until = utc_from_ms(now_ms + NOTICE_LEASE_MS)
        free = NOTICE_BATCH_MAX - busy
        share = NOTICES_PER_ADDRESS_MAX
        return await conn.fetch(
            CLAIM,
            utc_from_ms(now_ms),
            lease_until,
            channel.value,
            crowded,
            free,
            share,
            False,  # noqa: FBT003 - SQL
        )

    async def _send_first(self, notice: asyncpg.Record, notifier: Notifier, now_ms: int, place: Place) -> None:
        channel = Channel(notice["channel"])
        try:
            await self._send(notice, notifier, now_ms, on_asked=place.asked)
        finally:
            place.leave()
            self._firsts[channel] -= 1
            self._wake.set()

    async def _send_again(self, notice: asyncpg.Record, notifier: Notifier, now_ms: int) -> None:
        place = Channel(notice["channel"]), notice["address"]
        try:
            await self._send(notice, notifier, now_ms)
        finally:
            self._repetitions[place] -= 1
            if not self._repetitions[place]:
                del self._repetitions[place]
            self._wake.set()

    async def _send(
        self, notice: asyncpg.Record, notifier: Notifier, now_ms: int, *, on_asked: Callable[[], None] = lambda: None
    ) -> None:
        """Try once and record what came of it; whatever goes wrong, the lease lets another attempt follow."""
        started_ns = self._clock.steady_ns()
        crash_point("notice_claimed")
        try:
            outcome = await self._attempt(notice, notifier, now_ms, on_asked)
            crash_point("notice_sent")
            took_ms = (self._clock.steady_ns() - started_ns) // 1_000_000
            await self._record(notice, outcome, now_ms + took_ms)
        except POSTGRES_ERRORS as error:
            log.warning("notice.not_recorded", notice_id=str(notice["notice_id"]), error=repr(error))

    async def _attempt(
        self, notice: asyncpg.Record, notifier: Notifier, now_ms: int, on_asked: Callable[[], None]
    ) -> Outcome:
        try:
            message = await self._message(notice, now_ms)
            on_asked()
            async with asyncio.timeout(NOTICE_SEND_TIMEOUT_MS / MS_PER_S):
                receipt = await notifier.send(message)
        except NotSent as error:
            return Outcome(None, str(error)[:LAST_ERROR_CHARS_MAX], is_final=error.is_final)
        except TimeoutError:
            return Outcome(None, f"no answer within {NOTICE_SEND_TIMEOUT_MS // MS_PER_S} s")
        except POSTGRES_ERRORS:
            raise
        except Exception as error:
            log.exception("notice.channel_failed", notice_id=str(notice["notice_id"]))
            return Outcome(None, f"internal: {type(error).__name__}")
        return Outcome(receipt)

    async def _message(self, notice: asyncpg.Record, now_ms: int) -> NoticeMessage:
        async with self._pool.acquire() as conn:
            incident = await incident_view(conn, notice["incident_id"])
            code = await self._reply_code(conn, notice, now_ms)
            advice = await advice_for(conn, notice["incident_id"], notice["target"], jurisdictions=self._jurisdictions)
            decoy = await decoy_for(conn, notice["incident_id"], notice["target"])
        return NoticeMessage(
            notice_id=NoticeId(notice["notice_id"]),
            key=notice["idempotency_key"],
            incident_id=notice["incident_id"],
            org_id=notice["org_id"],
            target=notice["target"],
            address=notice["opened_address"],
            step=notice["step"],
            sent_at_ms=now_ms,
            incident=incident,
            reply_code=code,
            advice=advice,
            decoy=decoy,
        )

    async def _reply_code(self, conn: Connection, notice: asyncpg.Record, now_ms: int) -> str | None:
        if notice["channel"] != Channel.SMS:
            return None
        return await allot_code(
            conn,
            incident_id=notice["incident_id"],
            phone=notice["opened_address"],
            target=notice["target"],
            now_ms=now_ms,
            new_code=self._new_code,
        )

    async def _record(self, notice: asyncpg.Record, outcome: Outcome, now_ms: int) -> None:
        """Write the outcome; the first one of a notice stands, so that a late twin adds no second event."""
        notice_id, attempts = NoticeId(notice["notice_id"]), notice["attempts"]
        is_last = outcome.is_final or attempts >= NOTICE_ATTEMPTS_MAX

        async def write(conn: Connection) -> None:
            if outcome.receipt is not None:
                await record_sent(conn, notice_id, outcome.receipt, now_ms=now_ms)
            elif is_last:
                await record_failed(conn, notice_id, outcome.error, now_ms=now_ms)
            else:
                await put_off(conn, notice_id, outcome.error, due_at_ms=now_ms + retry_delay_ms(attempts))

        await self._in_transaction(write)
        crash_point("notice_recorded")
        _count(notice, outcome, now_ms, is_last=is_last)

    async def _in_transaction(self, write: Callable[[Connection], Awaitable[None]]) -> None:
        """Write, again when Postgres took it back over a lock: what is not recorded would be sent a second time."""
        for attempt in range(RECORD_ATTEMPTS_MAX):
            try:
                async with self._pool.acquire() as conn, conn.transaction():
                    return await write(conn)
            except asyncpg.TransactionRollbackError:
                if attempt == RECORD_ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("unreachable")


def retry_delay_ms(attempts: int) -> int:
    """Return the pause after so many failed attempts: it doubles up to `limits.NOTICE_RETRY_MS_MAX`."""
    assert attempts >= 1
    return min(NOTICE_RETRY_MS_MAX, NOTICE_RETRY_MS_MIN << min(attempts - 1, 16))


def _count(notice: asyncpg.Record, outcome: Outcome, now_ms: int, *, is_last: bool) -> None:
    channel = notice["channel"]
    if outcome.receipt is not None:
        NOTICES.labels(channel, "sent").inc()
        NOTICE_DELAY.labels(channel).observe(max(0, now_ms - ms_from_utc(notice["created_at"])) / MS_PER_S)
        return
    NOTICES.labels(channel, "failed" if is_last else "retried").inc()
    log.warning(
        "notice.not_sent",
        notice_id=str(notice["notice_id"]),
        channel=channel,
        attempts=notice["attempts"],
        error=outcome.error,
        is_last=is_last,
    )
