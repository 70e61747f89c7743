"""Creates an account from the machine itself: `python -m engine.run_account`, a JSON object on standard input.

By standard input so that no password shows in the list of processes. Prints the new person's id, or why not.
"""

import asyncio
import sys
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.limits import LINE_CHARS_MAX, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN
from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.database import Connection
from engine.core.errors import ClenzyError
from engine.core.ids import PersonId, PolicyId
from engine.core.vocabulary import Role
from engine.people.founding import NewAccount, NewRegion, Place, add_account, find_org, found_org
from engine.people.passwords import hash_password
from engine.safetap.policy_store import add_default_policy
from engine.wiring import open_database


class Region(BaseModel):
    """The region of a new organisation."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1)
    country_code: str = Field(pattern=r"^[A-Za-z]{2}$")
    tz: str = Field(min_length=1)
    center_lat: float = Field(ge=-90, le=90)
    center_lng: float = Field(ge=-180, le=180)


class Request(BaseModel):
    """Whom to create. With `region`, `org` is created too."""

    model_config = ConfigDict(extra="forbid")

    role: Role
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    full_name: str = Field(min_length=1, max_length=LINE_CHARS_MAX)
    password: str = Field(min_length=PASSWORD_CHARS_MIN, max_length=PASSWORD_CHARS_MAX)
    org: str = ""
    region: Region | None = None


async def create(conn: Connection, request: Request, *, now_ms: int) -> PersonId:
    """Create the account, in a transaction with the organisation if that is new.

    Raises:
        ClenzyError: with the reason.
    """
    account = NewAccount(request.role, request.email, request.full_name, hash_password(request.password))
    async with conn.transaction():
        place = await _place(conn, request, now_ms=now_ms)
        return await add_account(conn, account, place, now_ms=now_ms)


async def _place(conn: Connection, request: Request, *, now_ms: int) -> Place:
    if request.region is None:
        return await find_org(conn, request.org)
    region = request.region
    new = NewRegion(region.name, region.country_code, region.tz, region.center_lat, region.center_lng)
    place = await found_org(conn, request.org, new, now_ms=now_ms)
    await add_default_policy(conn, policy_id=PolicyId(uuid4()), org_id=place.org_id, now_ms=now_ms)
    return place


async def _main(settings: Settings, request: Request) -> PersonId:
    pool = await open_database(settings, pool_max=1)
    try:
        async with pool.acquire() as conn:
            return await create(conn, request, now_ms=SystemClock().now_ms())
    finally:
        await pool.close()


if __name__ == "__main__":
    try:
        wanted = Request.model_validate_json(sys.stdin.buffer.read())
        print(asyncio.run(_main(Settings(), wanted)))  # noqa: T201 - the answer of a command
    except (ClenzyError, ValidationError, OSError, ValueError) as error:
        sys.exit(str(error))
