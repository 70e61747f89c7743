"""A process that takes a yes, for tests that kill it on the way: `python -m ... URL KEYS OFFER NOW_MS PRINCIPAL`.

The real code on a connection of its own; where it dies, `CLENZY_CRASH_AT` says.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID

import asyncpg

from engine.core.ids import OfferId, OrgId, PersonId, RegionId, WorkerSlot
from engine.core.vocabulary import Role
from engine.matcher.offer_answers import answer_offer
from engine.people.keyring import Keyring
from engine.people.sealing import Sealing
from engine.people.tokens import Principal


async def main(url: str, keys: str, offer_id: str, now_ms: str, person: str) -> None:
    said = json.loads(person)
    worker = Principal(
        PersonId(UUID(said["person_id"])), Role.WORKER, OrgId(UUID(said["org_id"])), RegionId(UUID(said["region_id"])),
        WorkerSlot(said["slot"]), UUID(int=1), int(now_ms), int(now_ms) + 1,
    )  # fmt: skip
    conn = await asyncpg.connect(url)
    await Sealing(Keyring(Path(keys))).prepare(conn)
    await answer_offer(
        conn, offer_id=OfferId(UUID(offer_id)), worker=worker, accept=True, reason="", now_ms=int(now_ms)
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
