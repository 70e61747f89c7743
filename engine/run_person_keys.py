"""Rotates the key that wraps people's keys: `python -m engine.run_person_keys`.

A new key wraps from now on, every person's key is wrapped anew, and the old ones are destroyed: from then on a copy of
the database from before opens nothing any more. Killed anywhere, run it again. Processes that run notice by themselves.
Exit code 0: done; 2: it could not be done, and nothing was destroyed.
"""

import asyncio
import sys
from typing import Final

from config.limits import SEAL_BATCH_MAX, STATEMENT_TIMEOUT_MS
from config.settings import Settings
from engine.core.clock import Clock, SystemClock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.people.envelopes import CannotOpenError
from engine.people.keyring import Keyring, add_key, destroy_old_keys, person_keys_file
from engine.people.sealing import rewrapped
from engine.wiring import open_database

WRAPPED_BY_OTHERS: Final = """
SELECT person_id, wrapped FROM person_key WHERE wrapped IS NOT NULL AND substring(wrapped FOR length($1::bytea)) <> $1
 LIMIT $2 FOR UPDATE SKIP LOCKED
"""
REWRAP: Final = "UPDATE person_key SET wrapped = $2 WHERE person_id = $1"


async def rewrap_all(pool: Pool, keyring: Keyring) -> int:
    """Wrap with the active key what others wrap; return how many keys.

    Raises:
        CannotOpenError: a key is wrapped by one that is not in the file.
    """
    total = 0
    while True:
        async with pool.acquire() as conn, conn.transaction():
            keys = keyring.read_again()
            rows = await conn.fetch(WRAPPED_BY_OTHERS, keys.active, SEAL_BATCH_MAX)
            await conn.executemany(REWRAP, [(row["person_id"], rewrapped(keys, row["wrapped"])) for row in rows])
        total += len(rows)
        if len(rows) < SEAL_BATCH_MAX:
            return total


async def rotate(settings: Settings, clock: Clock) -> tuple[int, int]:
    """Rotate; return how many people's keys were wrapped anew and how many wrapping keys were destroyed.

    Raises:
        CannotOpenError, ValueError, OSError: see `rewrap_all`, `open_database` and `Keyring`.
    """
    file = person_keys_file(settings)
    keyring = Keyring(file)
    async with await open_database(settings, pool_max=1) as pool:
        add_key(file)
        total = await rewrap_all(pool, keyring)
        # Whoever read the file before the new key was in it has committed by then, or never will.
        await clock.sleep_ms(STATEMENT_TIMEOUT_MS)
        total += await rewrap_all(pool, keyring)
    return total, destroy_old_keys(file)


def main() -> int:
    """Rotate, say what was done, and return the exit code."""
    try:
        people, destroyed = asyncio.run(rotate(Settings(), SystemClock()))
    except (*POSTGRES_ERRORS, CannotOpenError, ValueError) as error:
        print(f"not rotated: {error}", file=sys.stderr)  # noqa: T201 - the answer of a command
        return 2
    print(f"{people} people's keys wrapped anew, {destroyed} wrapping keys destroyed")  # noqa: T201 - the same
    return 0


if __name__ == "__main__":
    sys.exit(main())
