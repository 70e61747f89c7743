"""What is done to the installation: kills at random moments, at every named place, and disks that are lost.

Three lanes work at the same time, each on its own processes: doors and Postgres, senders, everything else.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.acceptance.safetap_chaos.crash_points import DOOR_POINTS, SENDER_POINTS, Passed
from tests.acceptance.safetap_chaos.installation import Installation
from tests.acceptance.safetap_chaos.victims import Victim

AWAY_S = (0.2, 1.0)
PASSINGS = (1, 4)
"""At which passing of a named place a process dies: the first to the fourth."""
WAIT_S = 60
LOST_DISK = 1
"""The door whose disk is lost."""


@dataclass
class Harm:
    """Does it until enough has happened."""

    installation: Installation
    rng: random.Random
    gap_s: tuple[float, float]
    """Between two kills of a lane: what comes back must have time to work."""
    disks_lost: int = 0
    bytes_lost: int = 0
    """Bytes of spools that were lost with their disk."""

    async def doors(self, rounds: Sequence[str]) -> None:
        """Harm doors and Postgres in the ways that `rounds` name: see `door_rounds`."""
        for name in rounds:
            match name:
                case "door":
                    await self._restart(self.rng.choice(self.installation.doors))
                case "both doors":
                    await asyncio.gather(*map(self._restart, self.installation.doors))
                case "postgres":
                    async with self._without_postgres():
                        await self._pause(AWAY_S)
                case "lost disk":
                    await self._lose_a_disk()
                case _:
                    await self._die_at(dict(zip(self.installation.doors, name.split("+"), strict=False)))
            await self._pause(self.gap_s)

    async def senders(self, rounds: Sequence[str]) -> None:
        """Kill a sender for each of `rounds`: a named place, or `random`."""
        for name in rounds:
            victim = self.rng.choice(self.installation.senders)
            await (self._restart(victim) if name == "random" else self._die_at({victim: name}))
            await self._pause(self.gap_s)

    async def others(self, rounds: Sequence[str]) -> None:
        """Kill each of the named processes, or Redis."""
        for name in rounds:
            await self._restart(self.installation.redis if name == "redis" else self.installation.others[name])
            await self._pause(self.gap_s)

    async def _restart(self, victim: Victim) -> None:
        await victim.kill()
        await victim.start()

    async def _die_at(self, places: Mapping[Victim, str]) -> None:
        """Start each process anew so that it dies at its place, see it die there, and start it as it should be."""
        await asyncio.gather(*(self._arm(victim, place) for victim, place in places.items()))
        wanted = {DOOR_POINTS.get(place, Passed.AT_WORK) for place in places.values()}
        if wanted != {Passed.AT_WORK}:
            async with self._without_postgres():
                await self._until_spooled([v for v, place in places.items() if DOOR_POINTS[place] is Passed.BACK])
                await asyncio.gather(*(v.dies(p) for v, p in places.items() if DOOR_POINTS[p] is Passed.AWAY))
                await asyncio.gather(*(v.start() for v, p in places.items() if DOOR_POINTS[p] is Passed.AWAY))
            places = {victim: place for victim, place in places.items() if DOOR_POINTS[place] is Passed.BACK}
        await asyncio.gather(*(self._die_and_return(victim, place) for victim, place in places.items()))

    async def _arm(self, victim: Victim, place: str) -> None:
        is_rare = DOOR_POINTS.get(place) is Passed.BACK
        number = 1 if is_rare else self.rng.randint(*PASSINGS)
        await victim.kill()
        await victim.start(crash_at=f"{place}:{number}")

    async def _die_and_return(self, victim: Victim, place: str) -> None:
        await victim.dies(place)
        await victim.start()

    async def _lose_a_disk(self) -> None:
        """Kill a door after it acknowledged from its spool, and take its disk: only the phones have those alarms."""
        door = self.installation.doors[LOST_DISK]
        async with self._without_postgres():
            await self._until_spooled([door])
            await door.kill()
            self.bytes_lost += self.installation.spooled_bytes(LOST_DISK)
            self.installation.lose_disk(LOST_DISK)
            self.disks_lost += 1
            await door.start()

    async def _until_spooled(self, doors: Sequence[Victim]) -> None:
        """Wait until each of the doors has something on its disk."""
        async with asyncio.timeout(WAIT_S):
            for door in doors:
                number = self.installation.doors.index(door)
                while not self.installation.spooled_bytes(number):  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # and has told a phone

    @asynccontextmanager
    async def _without_postgres(self) -> AsyncIterator[None]:
        postgres = self.installation.postgres
        await postgres.kill()
        yield
        await postgres.start()

    async def _pause(self, between_s: tuple[float, float]) -> None:
        await asyncio.sleep(self.rng.uniform(*between_s))


def door_rounds() -> list[str]:
    """Return a full turn of what is done to doors: every named place, two at once where Postgres has to go for it."""
    at_work = [name for name, passed in DOOR_POINTS.items() if passed is Passed.AT_WORK]
    away = [name for name, passed in DOOR_POINTS.items() if passed is Passed.AWAY]
    back = [name for name, passed in DOOR_POINTS.items() if passed is Passed.BACK]
    pairs = [f"{at_work[at]}+{at_work[-1 - at]}" for at in range(len(at_work) // 2)]
    return [*pairs, at_work[len(at_work) // 2], "+".join(away), "+".join(back), "postgres", "lost disk"]


def sender_rounds() -> list[str]:
    """Return a full turn of what is done to senders."""
    return [*SENDER_POINTS, "random"]
