"""Decisions of the matcher that a worker contests, and what a human answers. No decision reads any of it."""

from typing import Final
from uuid import UUID

from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import OrgId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.people.audit import append_audit
from engine.people.reasons import WEIGHED
from engine.people.sealing import Sealed, person_key
from engine.people.tokens import Principal

IS_ABOUT: Final = "SELECT EXISTS (SELECT FROM dispatch_log d WHERE d.dispatch_id = $2 AND :weighed)".replace(
    ":weighed", WEIGHED
)
ADD: Final = """
INSERT INTO contested_reason (contest_id, org_id, person_id, dispatch_id, text_sealed, at)
VALUES ($1, $2, $3, $4, ($5::sealed_text).sealed, $6)
    ON CONFLICT DO NOTHING
RETURNING contest_id
"""
OF_CONTEST: Final = """
SELECT person_id, answered_at FROM contested_reason WHERE contest_id = $1 AND org_id = $2 FOR UPDATE
"""
ANSWER: Final = """
UPDATE contested_reason SET answered_by = $2, answered_at = $3, answer_sealed = ($4::sealed_text).sealed
 WHERE contest_id = $1
"""
CONTESTS: Final = """
SELECT c.contest_id, c.person_id, c.dispatch_id, c.at, c.answered_at,
       ROW(k.wrapped, c.text_sealed, NULL)::sealed_text AS text,
       ROW(k.wrapped, c.answer_sealed, NULL)::sealed_text AS answer
  FROM contested_reason c LEFT JOIN person_key k USING (person_id)
 WHERE c.org_id = $1 AND c.person_id = coalesce($2, c.person_id)
 ORDER BY c.at DESC, c.contest_id LIMIT $3
"""


async def contest(
    conn: Connection, *, contest_id: UUID, worker: Principal, dispatch_id: int, text: str, now_ms: int
) -> None:
    """Write down that a worker contests a decision in which they were weighed. The caller holds a transaction.

    Raises:
        NotFound: there is no such decision about them.
        Conflict: they contested it already.
    """
    if not await conn.fetchval(IS_ABOUT, worker.person_id, dispatch_id):
        raise NotFound
    key = await person_key(conn, worker.person_id, now_ms=now_ms)
    made = await conn.fetchval(
        ADD, contest_id, worker.org_id, worker.person_id, dispatch_id, Sealed(key, text), utc_from_ms(now_ms)
    )
    if made is None:
        raise Conflict("You contested this decision already.")
    await _tell(conn, "reason.contested", worker, worker.person_id, dispatch_id, now_ms=now_ms)


async def answer_contest(conn: Connection, contest_id: UUID, *, actor: Principal, text: str, now_ms: int) -> None:
    """Answer a worker. The caller holds a transaction.

    Raises:
        NotFound: there is no such contest in the organisation.
        Conflict: it was answered.
    """
    row = await conn.fetchrow(OF_CONTEST, contest_id, actor.org_id)
    if row is None:
        raise NotFound
    if row["answered_at"] is not None:
        raise Conflict("It was answered already.")
    key = await person_key(conn, PersonId(row["person_id"]), now_ms=now_ms)
    await conn.execute(ANSWER, contest_id, actor.person_id, utc_from_ms(now_ms), Sealed(key, text))
    await _tell(conn, "reason.answered", actor, PersonId(row["person_id"]), None, now_ms=now_ms)


async def list_contests(
    conn: Connection, *, org_id: OrgId, person_id: PersonId | None, limit: int
) -> list[dict[str, object]]:
    """Return an organisation's contested decisions, or one person's, newest first."""
    return [
        {
            "contest_id": str(row["contest_id"]),
            "person_id": str(row["person_id"]),
            "dispatch_id": row["dispatch_id"],
            "text": row["text"],
            "at": rfc3339(row["at"]),
            "answer": row["answer"],
            "answered_at": rfc3339(row["answered_at"]),
        }
        for row in await conn.fetch(CONTESTS, org_id, person_id, limit)
    ]


async def _tell(
    conn: Connection, action: str, actor: Principal, person_id: PersonId, dispatch_id: int | None, *, now_ms: int
) -> None:
    await append_audit(
        conn,
        org_id=actor.org_id,
        actor_id=actor.person_id,
        action=action,
        subject=f"person:{person_id}",
        now_ms=now_ms,
        detail={} if dispatch_id is None else {"dispatch_id": dispatch_id},
    )
