"""Accounts: who a person is to the product, and whether their access token still counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from engine.core.database import Connection
from engine.core.errors import NotFound, NotSignedIn
from engine.core.ids import OrgId, PersonId, RegionId, WorkerSlot
from engine.core.units import ms_from_utc
from engine.core.vocabulary import Role
from engine.people.tokens import Principal

ACCOUNT: Final = """
SELECT p.person_id, p.org_id, p.region_id, p.role, p.full_name, p.email, p.tz, w.slot
  FROM person p LEFT JOIN worker w ON w.worker_id = p.person_id
 WHERE p.person_id = $1
"""

# `sid` is the family of refresh tokens: signing out revokes it, and with it every access token of that sign-in.
STANDING: Final = """
SELECT p.status, p.role, p.tokens_valid_after,
       EXISTS (SELECT FROM refresh_token WHERE family_id = s.session_id AND revoked_at IS NOT NULL) AS is_signed_out
  FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS s (person_id, session_id, position)
  LEFT JOIN person p USING (person_id)
 ORDER BY s.position
"""


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in."""

    person_id: PersonId
    org_id: OrgId
    region_id: RegionId
    role: Role
    full_name: str
    email: str | None
    tz: str
    slot: WorkerSlot | None


async def load_account(conn: Connection, person_id: PersonId) -> Account:
    """Return an account.

    Raises:
        NotFound: there is no such person.
    """
    row = await conn.fetchrow(ACCOUNT, person_id)
    if row is None:
        raise NotFound
    return _account(row)


async def check_standing(conn: Connection, principal: Principal) -> None:
    """Refuse an access token that is authentic but has been overtaken by events.

    Raises:
        NotSignedIn: the person is gone or suspended, has another role by now, has signed out, or all tokens of that
            time were revoked.
    """
    (stands,) = await load_standing(conn, [principal])
    if not stands:
        raise NotSignedIn("This sign-in has ended.")


async def load_standing(conn: Connection, principals: Sequence[Principal]) -> list[bool]:
    """Return of each whether `check_standing` would let them pass, in one question."""
    rows = await conn.fetch(STANDING, [each.person_id for each in principals], [each.session_id for each in principals])
    return [_stands(row, each) for row, each in zip(rows, principals, strict=True)]


def _stands(row: asyncpg.Record, principal: Principal) -> bool:
    return (
        row["status"] == "active"
        and row["role"] == principal.role
        and ms_from_utc(row["tokens_valid_after"]) <= principal.issued_at_ms
        and not row["is_signed_out"]
    )


def _account(row: asyncpg.Record) -> Account:
    return Account(
        person_id=PersonId(row["person_id"]),
        org_id=OrgId(row["org_id"]),
        region_id=RegionId(row["region_id"]),
        role=Role(row["role"]),
        full_name=row["full_name"],
        email=row["email"],
        tz=row["tz"],
        slot=None if row["slot"] is None else WorkerSlot(row["slot"]),
    )
