"""Sends the text messages of people who chose to be asked by one: their own words, from an ordinary number.

At least once: a message whose outcome was not written is sent again, with the same key. One that cannot be sent costs
nothing but itself: the grace ends without an answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Never

import asyncpg
import structlog

from config.limits import ASK_ATTEMPTS_MAX, ASK_BATCH_MAX, ASK_LEASE_MS, ASK_RETRY_MS, SILENCE_POLL_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.units import utc_from_ms
from engine.outbox.durable_loop import end_if_cancelled, keep_running
from engine.safetap.channels.notifier import NotSent
from engine.safetap.channels.phone_api import PhoneApi
from engine.safetap.channels.phone_number import e164
from engine.safetap.escalation_loop import ReadClock
from engine.safetap.incident_store import read_clock
from engine.safetap.silence.metrics import ASKS

log = structlog.get_logger(__name__)

# Only while the question stands: who has answered meanwhile gets no message.
CLAIM: Final = """
WITH due AS (
  SELECT ask_id FROM silence_ask
   WHERE state = 'pending' AND due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
   ORDER BY due_at
   LIMIT $3
     FOR UPDATE SKIP LOCKED
)
UPDATE silence_ask a
   SET lease_until = $2, attempts = attempts + 1
  FROM due, person p LEFT JOIN person_key k ON k.person_id = p.person_id, safety_setup s
 WHERE a.ask_id = due.ask_id AND p.person_id = a.person_id AND s.person_id = a.person_id
RETURNING a.ask_id, a.attempts, s.decoy_text, ROW(k.wrapped, p.phone_sealed, p.phone)::sealed_text AS phone,
          EXISTS (SELECT FROM silence_watch w
                   WHERE w.booking_id = a.booking_id AND w.person_id = a.person_id AND w.round = a.round
                     AND w.stage = 'asked') AS is_wanted
"""
# What comes back from this number is an answer, although the number itself stays with its person.
SENT: Final = """
UPDATE silence_ask SET state = 'sent', sent_at = $2, lease_until = NULL, phone_index = ($3::blind_index).digest
 WHERE ask_id = $1
"""
NOT_SENT: Final = """
UPDATE silence_ask SET state = $2, last_error = $3, due_at = $4, lease_until = NULL WHERE ask_id = $1
"""


class AskSender:
    """Sends what waits; any number of them may run."""

    def __init__(self, *, pool: Pool, api: PhoneApi, read_clock: ReadClock = read_clock) -> None:
        self._pool = pool
        self._api = api
        self._read_clock = read_clock

    async def run(self, clock: Clock) -> Never:
        """Send until cancelled, through restarts of Postgres."""

        async def step() -> None:
            await self.round()
            await clock.sleep_ms(SILENCE_POLL_MS)

        await keep_running(step, name="silence_asks", clock=clock, errors=POSTGRES_ERRORS)

    async def round(self) -> int:
        """Send what is due, all at once; return how many were tried."""
        async with self._pool.acquire() as conn:
            now_ms = await self._read_clock(conn)
            rows: Sequence[asyncpg.Record] = await conn.fetch(
                CLAIM, utc_from_ms(now_ms), utc_from_ms(now_ms + ASK_LEASE_MS), ASK_BATCH_MAX
            )
        async with asyncio.TaskGroup() as tasks:
            for row in rows:
                tasks.create_task(self._send(row, now_ms))
        return len(rows)

    async def _send(self, row: asyncpg.Record, now_ms: int) -> None:
        """Try once; whatever goes wrong, the lease lets another attempt follow, and nothing else ends."""
        try:
            await self._attempt(row, now_ms)
        except POSTGRES_ERRORS as error:
            end_if_cancelled()
            log.warning("silence.ask_not_recorded", ask_id=str(row["ask_id"]), error=repr(error))
        except Exception:
            log.exception("silence.ask_failed", ask_id=str(row["ask_id"]))

    async def _attempt(self, row: asyncpg.Record, now_ms: int) -> None:
        try:
            number = _wanted_number(row)
            await self._api.create("Messages", _message(row, number, self._api), key=str(row["ask_id"]))
        except NotSent as error:
            is_over = error.is_final or row["attempts"] >= ASK_ATTEMPTS_MAX
            again = utc_from_ms(now_ms + ASK_RETRY_MS)
            await self._pool.execute(NOT_SENT, row["ask_id"], "failed" if is_over else "pending", str(error), again)
            ASKS.labels("failed" if is_over else "retried").inc()
            log.warning("silence.ask_not_sent", ask_id=str(row["ask_id"]), reason=str(error), is_over=is_over)
        else:
            await self._pool.execute(SENT, row["ask_id"], utc_from_ms(now_ms), number)
            ASKS.labels("sent").inc()


def _wanted_number(row: asyncpg.Record) -> str:
    """Return where the message goes.

    Raises:
        NotSent: nobody wants it any more, or there is no number.
    """
    if not row["is_wanted"]:
        raise NotSent("answered already", is_final=True)
    number = e164(row["phone"] or "")
    if number is None or row["decoy_text"] is None:
        raise NotSent("no number, or no text any more", is_final=True)
    return number


def _message(row: asyncpg.Record, number: str, api: PhoneApi) -> list[tuple[str, str]]:
    sender = api.account.sender
    return [
        ("To", number),
        ("MessagingServiceSid" if sender.startswith("MG") else "From", sender),
        ("Body", row["decoy_text"]),
    ]
