"""Begins a drill from the machine itself: `python -m engine.run_drill [ORGANISATION]`. Prints who plays the part."""

import asyncio
import sys
from uuid import uuid4

from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.errors import ClenzyError
from engine.core.ids import TriggerId
from engine.core.vocabulary import Door
from engine.people.founding import find_org
from engine.safetap.drill import Drill, start_drill
from engine.safetap.forwarding import Forwarder
from engine.wiring import open_access_tokens, open_database


async def drill(settings: Settings, org: str) -> Drill:
    """Send a drill's trigger through SafeTap's door.

    Raises:
        ClenzyError: there is no such organisation, nobody to play the part, or no door that answers.
    """
    pool = await open_database(settings, pool_max=1)
    try:
        async with (
            pool.acquire() as conn,
            Forwarder(socket_path=settings.safetap_socket_path, url=settings.safetap_url, door=Door.API) as door,
        ):
            place = await find_org(conn, org)
            return await start_drill(
                conn,
                open_access_tokens(settings),
                door,
                org_id=place.org_id,
                person_id=None,
                trigger_id=TriggerId(uuid4()),
                now_ms=SystemClock().now_ms(),
            )
    finally:
        await pool.close()


if __name__ == "__main__":
    try:
        begun = asyncio.run(drill(Settings(), " ".join(sys.argv[1:])))
    except (ClenzyError, OSError, ValueError) as error:
        sys.exit(f"no drill: {error}")
    print(f"drill {begun.trigger_id} is {begun.state}; {begun.person_id} plays the part")  # noqa: T201 - a command
