"""What is told to people who are no responders: the person's own contacts and volunteers nearby.

They look from outside and call for help; nothing that they answer takes responsibility for an incident.
"""

from typing import Final

from config.jurisdictions import Jurisdictions
from engine.core.database import Connection
from engine.core.ids import IncidentId
from engine.safetap.policy import Target

KINDS: Final = ("contact", Target.VOLUNTEERS.value.removesuffix("s"))
"""How their targets begin: `contact:<id>`, `volunteer:<id>`."""

# The place is the booking's door where there is one: its region says which country's numbers count.
COUNTRY: Final = """
SELECT r.country_code
  FROM incident i
  LEFT JOIN booking b USING (booking_id)
  LEFT JOIN address a USING (address_id)
  JOIN region r ON r.region_id = coalesce(a.region_id, i.region_id)
 WHERE i.incident_id = $1
"""


def is_bystander(target: str) -> bool:
    """Return whether a notice's target is somebody who only looks."""
    return target.partition(":")[0] in KINDS


async def advice_for(
    conn: Connection, incident_id: IncidentId, target: str, *, jurisdictions: Jurisdictions
) -> str | None:
    """Return what a bystander is to do and not to do; `None`: the target is none."""
    if not is_bystander(target):
        return None
    number = jurisdictions.of(await conn.fetchval(COUNTRY, incident_id)).emergency.number
    return f"Look from outside only. Do not enter, do not ring or write to them. If you see danger, call {number}."
