"""What is done to the installation: kills at random moments, at every named place, and disks that are lost.

Three lanes work at the same time, each on its own processes: doors and Postgres, senders, everything else.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.acceptance.safetap_chaos.crash_points import DOOR_POINTS, SENDER_POINTS, Passed
from tests.acceptance.safetap_chaos.installation import Installation
from tests.acceptance.safetap_chaos.victims import Victim

AWAY_S = (0.2, 1.0)
PASSINGS = (1, 4)
"""At which passing of a named place a process dies: the first to the fourth."""
WAIT_S = 120
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
        """Harm doors and Postgres in the ways that `rounds` name: see `DOOR_ROUNDS`."""
        doors = self.installation.doors
        for name in rounds:
            match name:
                case "door":
                    await self._restart(self.rng.choice(doors))
                case "both doors":
                    await asyncio.gather(*map(self._restart, doors))
                case "postgres":
                    async with self._without_postgres():
                        await self._pause(AWAY_S)
                case "lost disk":
                    await self._lose_a_disk()
                case "spool":
                    await self._die_about_the_spool()
                case "named":
                    await self._die_in_turn(doors, places_of(Passed.AT_WORK))
                case _:
                    raise AssertionError(name)
            await self._pause(self.gap_s)

    async def senders(self, rounds: Sequence[str]) -> None:
        """Kill a sender for each of `rounds`, or one after the other at each named place."""
        for name in rounds:
            if name == "named":
                await self._die_in_turn(self.installation.senders, SENDER_POINTS)
            else:
                await self._restart(self.rng.choice(self.installation.senders))
            await self._pause(self.gap_s)

    async def others(self, rounds: Sequence[str]) -> None:
        """Kill each of the named processes, or Redis."""
        for name in rounds:
            await self._restart(self.installation.redis if name == "redis" else self.installation.others[name])
            await self._pause(self.gap_s)

    async def _restart(self, victim: Victim) -> None:
        await victim.kill()
        await victim.start()

    async def _die_in_turn(self, victims: Sequence[Victim], places: Sequence[str]) -> None:
        """Let processes of a kind die at these places, each process at its share of them, one after the other."""
        shuffled = self.rng.sample(places, len(places))
        shares = [shuffled[number :: len(victims)] for number in range(len(victims))]
        await asyncio.gather(*map(self._die_at_each, victims, shares))

    async def _die_at_each(self, victim: Victim, places: Sequence[str]) -> None:
        await victim.kill()
        for place in places:
            await victim.start(crash_at=f"{place}:{self.rng.randint(*PASSINGS)}")
            await victim.dies(place)
            await self._pause(self.gap_s)
        await victim.start()

    async def _die_about_the_spool(self) -> None:
        """Let doors die at the disk while Postgres is away, and again while they bring to it what lies there."""
        doors = self.rng.sample(self.installation.doors, 2)
        away, back = places_of(Passed.AWAY), places_of(Passed.BACK)
        await asyncio.gather(*(self._arm(door, place) for door, place in zip(doors, away, strict=True)))
        async with self._without_postgres():
            await asyncio.gather(*(door.dies(place) for door, place in zip(doors, away, strict=True)))
            await asyncio.gather(*(door.start(crash_at=place) for door, place in zip(doors, back, strict=True)))
            await self._until_spooled(doors)
        await asyncio.gather(*(self._die_and_return(door, place) for door, place in zip(doors, back, strict=True)))

    async def _arm(self, victim: Victim, place: str) -> None:
        await victim.kill()
        await victim.start(crash_at=place)

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
        """Wait until each of the doors has put something on its disk, and a moment longer."""
        disks = {door: self.installation.doors.index(door) for door in doors}
        before = {door: self.installation.spooled_bytes(disk) for door, disk in disks.items()}
        async with asyncio.timeout(WAIT_S):
            while not all(  # noqa: ASYNC110 - files
                door.is_dead() or self.installation.spooled_bytes(disk) > before[door] for door, disk in disks.items()
            ):
                await asyncio.sleep(0.02)
        # The answer is on its way: whether it arrived before the kill is one more thing that is left to chance.
        await asyncio.sleep(0.2)

    @asynccontextmanager
    async def _without_postgres(self) -> AsyncIterator[None]:
        postgres = self.installation.postgres
        await postgres.kill()
        yield
        await postgres.start()

    async def _pause(self, between_s: tuple[float, float]) -> None:
        await asyncio.sleep(self.rng.uniform(*between_s))


def places_of(passed: Passed) -> list[str]:
    """Return the places that a door passes then."""
    return [name for name, when in DOOR_POINTS.items() if when is passed]


DOOR_ROUNDS = ("named", "spool", "lost disk")
"""What is done to doors at least once; each names a method above."""
DOOR_MORE = (*DOOR_ROUNDS, "postgres", "both doors", *["door"] * 6)
SENDER_ROUNDS = ("named",)
SENDER_MORE = ("named", *["random"] * 6)
