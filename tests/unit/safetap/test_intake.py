"""What the intake does while Postgres is away, on a real disk."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

from config.limits import SPOOLED_PER_PERSON_MAX, TRIGGER_BYTES_MAX
from engine.core.clock import SystemClock
from engine.core.errors import Unavailable
from engine.core.ids import IncidentId, OrgId, PersonId, RegionId, TriggerId
from engine.core.vocabulary import Acknowledgement, Door, IncidentKind, Role
from engine.safetap.intake import Intake
from engine.safetap.spool import Spool
from engine.safetap.trigger import ReceivedTrigger, TokenState, Trigger, to_record

ORG, REGION = OrgId(uuid4()), RegionId(uuid4())


class Away:
    """A Postgres that nobody reaches."""

    def acquire(self) -> Any:
        raise ConnectionRefusedError


class NobodyWatches:
    def spooled(self, received: ReceivedTrigger) -> None: ...

    def settled(self, received: ReceivedTrigger, incident_id: IncidentId | None) -> None: ...


def alarm_of(person_id: PersonId) -> ReceivedTrigger:
    return ReceivedTrigger(
        trigger=Trigger(TriggerId(uuid4()), IncidentKind.BUTTON),
        person_id=person_id,
        role=Role.CUSTOMER,
        org_id=ORG,
        region_id=REGION,
        door=Door.DIRECT,
        token_state=TokenState.VALID,
        received_at_ms=1_700_000_000_000,
        incident_id=IncidentId(uuid4()),
    )


async def test_nobody_fills_the_disk_that_others_need_in_an_outage(tmp_path: Path) -> None:
    """Who has that many alarms on the disk has been heard; the place is for those who have none yet."""
    flooder, caller = PersonId(uuid4()), PersonId(uuid4())
    room = 2 * SPOOLED_PER_PERSON_MAX * len(to_record(alarm_of(caller)))
    assert room > TRIGGER_BYTES_MAX
    pool: Any = Away()
    async with Spool(tmp_path, name=uuid4(), bytes_max=room) as spool:
        intake = Intake(pool=pool, spool=spool, clock=SystemClock(), new_id=uuid4, watches=[NobodyWatches()])
        running = asyncio.create_task(intake.run())
        flood = [intake.take(alarm_of(flooder)) for _ in range(4 * SPOOLED_PER_PERSON_MAX)]
        answers = await asyncio.gather(*flood, return_exceptions=True)
        assert await intake.take(alarm_of(caller)) is Acknowledgement.SPOOLED
        running.cancel()
        await asyncio.wait({running})
    assert answers.count(Acknowledgement.SPOOLED) == SPOOLED_PER_PERSON_MAX
    assert {type(answer) for answer in answers} == {Acknowledgement, Unavailable}
