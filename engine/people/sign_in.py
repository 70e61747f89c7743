"""Signing in, enrolling, refreshing and signing out: the four ways in which a session begins, goes on and ends."""

import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from config.limits import SIGN_IN_FAILURES_MAX, SIGN_IN_WINDOW_MS
from engine.core.database import Connection, Pool
from engine.core.errors import NotSignedIn, TooMany
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.accounts import load_account
from engine.people.audit import append_audit
from engine.people.enrolment import spend_code
from engine.people.passwords import Passwords, needs_rehash
from engine.people.refresh_tokens import Reused, add_refresh_token, revoke_family_of, spend_refresh_token
from engine.people.revocation import tell_session_ended
from engine.people.tokens import AccessTokens, Principal

# Two attempts on one account count one after the other, whichever process they reach.
LOCK_ACCOUNT: Final = "SELECT pg_advisory_xact_lock($1)"
COUNT_FAILURES: Final = "SELECT count(*) FROM sign_in_failure WHERE account_hash = $1 AND at > $2"
ADD_FAILURE: Final = "INSERT INTO sign_in_failure (account_hash, at) VALUES ($1, $2)"
CLEAR_FAILURES: Final = "DELETE FROM sign_in_failure WHERE account_hash = $1"

ACCOUNT_OF_EMAIL: Final = "SELECT person_id, password_hash FROM person WHERE email = $1 AND status = 'active'"
REPLACE_HASH: Final = "UPDATE person SET password_hash = $2 WHERE person_id = $1"


@dataclass(frozen=True, slots=True)
class Session:
    """What a person's device keeps after signing in."""

    access_token: str
    refresh_token: str
    person_id: PersonId
    role: Role


async def sign_in(
    pool: Pool, tokens: AccessTokens, passwords: Passwords, *, email: str, password: str, now_ms: int
) -> Session:
    """Begin a session for whoever knows the password.

    An attempt counts as failed before it is checked and is forgiven afterwards: many at once are no way around the
    limit. No connection is held while the hash is computed.

    Raises:
        TooMany: this account has failed too often.
        NotSignedIn: unknown e-mail or wrong password; which of them is not told, by words or by timing.
    """
    account_hash = hashlib.sha256(email.lower().encode()).digest()
    async with pool.acquire() as conn, conn.transaction():
        await _count_attempt(conn, account_hash, now_ms=now_ms)
    row = await pool.fetchrow(ACCOUNT_OF_EMAIL, email.lower())
    password_hash: str | None = None if row is None else row["password_hash"]
    is_right = await passwords.verify(password_hash, password)
    if row is None or password_hash is None or not is_right:
        raise NotSignedIn("The e-mail or the password is wrong.")
    better_hash = await passwords.hash(password) if needs_rehash(password_hash) else None
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(CLEAR_FAILURES, account_hash)
        if better_hash is not None:
            await conn.execute(REPLACE_HASH, row["person_id"], better_hash)
        return await _begin(conn, tokens, PersonId(row["person_id"]), action="session.signed_in", now_ms=now_ms)


async def enrol(conn: Connection, tokens: AccessTokens, *, code: str, now_ms: int) -> Session:
    """Begin a session with an enrolment code, which is spent. The caller holds a transaction.

    Raises:
        NotSignedIn: the code is unknown, spent or expired.
    """
    person_id = await spend_code(conn, code, now_ms=now_ms)
    if person_id is None:
        raise NotSignedIn("The code is unknown, used or expired.")
    return await _begin(conn, tokens, person_id, action="session.enrolled", now_ms=now_ms)


async def refresh(conn: Connection, tokens: AccessTokens, *, refresh_token: str, now_ms: int) -> Session | None:
    """Go on with a session: the token is spent for the next one. The caller holds a transaction, and commits it.

    `None`: the token has ended; when it had been spent before, so has its whole family from now on. That is an answer
    and not an error, because an error would roll the revocation back.
    """
    spent = await spend_refresh_token(conn, refresh_token, now_ms=now_ms)
    if isinstance(spent, Reused):
        await tell_session_ended(conn, spent.family_id, now_ms=now_ms)
        await _audit_reuse(conn, spent, now_ms=now_ms)
        return None
    if spent is None:
        return None
    return await _issue(conn, tokens, spent.person_id, family_id=spent.family_id, now_ms=now_ms)


async def sign_out(conn: Connection, *, refresh_token: str, principal: Principal, now_ms: int) -> None:
    """End the session of this token. A token that is unknown or somebody else's ends nothing and tells nothing."""
    family_id = await revoke_family_of(conn, refresh_token, person_id=principal.person_id, now_ms=now_ms)
    if family_id is not None:
        await tell_session_ended(conn, family_id, now_ms=now_ms)
        await append_audit(
            conn,
            org_id=principal.org_id,
            actor_id=principal.person_id,
            action="session.signed_out",
            subject=f"person:{principal.person_id}",
            now_ms=now_ms,
        )


async def _begin(conn: Connection, tokens: AccessTokens, person_id: PersonId, *, action: str, now_ms: int) -> Session:
    family_id = uuid4()
    session = await _issue(conn, tokens, person_id, family_id=family_id, now_ms=now_ms)
    account = await load_account(conn, person_id)
    await append_audit(
        conn,
        org_id=account.org_id,
        actor_id=person_id,
        action=action,
        subject=f"session:{family_id}",
        now_ms=now_ms,
    )
    return session


async def _issue(
    conn: Connection, tokens: AccessTokens, person_id: PersonId, *, family_id: UUID, now_ms: int
) -> Session:
    account = await load_account(conn, person_id)
    refresh_token = await add_refresh_token(conn, person_id=person_id, family_id=family_id, now_ms=now_ms)
    access_token = tokens.issue(
        person_id=person_id,
        role=account.role,
        org_id=account.org_id,
        region_id=account.region_id,
        slot=account.slot,
        session_id=family_id,
        now_ms=now_ms,
    )
    return Session(access_token, refresh_token, person_id, account.role)


async def _count_attempt(conn: Connection, account_hash: bytes, *, now_ms: int) -> None:
    await conn.execute(LOCK_ACCOUNT, int.from_bytes(account_hash[:8], "big", signed=True))
    failures = await conn.fetchval(COUNT_FAILURES, account_hash, utc_from_ms(now_ms - SIGN_IN_WINDOW_MS))
    if failures >= SIGN_IN_FAILURES_MAX:
        raise TooMany("Too many failed sign-ins of this account: wait a quarter of an hour.")
    await conn.execute(ADD_FAILURE, account_hash, utc_from_ms(now_ms))


async def _audit_reuse(conn: Connection, reused: Reused, *, now_ms: int) -> None:
    account = await load_account(conn, reused.person_id)
    await append_audit(
        conn,
        org_id=account.org_id,
        actor_id=None,
        action="session.revoked_by_reuse",
        subject=f"session:{reused.family_id}",
        now_ms=now_ms,
    )
