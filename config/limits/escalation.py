"""Schedules of who is on call, armed desks, contacts and volunteers."""

from typing import Final

# On call
LAYERS_PER_SCHEDULE_MAX: Final = 8
"""A schedule with more is refused with 422."""
PEOPLE_PER_LAYER_MAX: Final = 100
"""A layer with more is refused with 422."""
SCHEDULES_PER_ORG_MAX: Final = 200
"""Schedules of an organisation; further ones are refused with 409."""
OVERRIDES_PER_SCHEDULE_MAX: Final = 500
"""Overrides of one schedule that have not ended; further ones are refused with 409."""
OVERRIDE_MS_MAX: Final = 90 * 86_400_000
"""A longer override is refused with 422: change the rotation instead."""
ON_CALL_LOOK_AHEAD_MS: Final = 14 * 86_400_000
"""How far ahead a check looks for times at which nobody is on call."""
WARNINGS_MAX: Final = 50
"""Warnings told of one policy or schedule, the first ones."""

# Armed desks
ARMED_REPORT_MS: Final = 10_000
"""How often a desk says that it is armed."""
ARMED_LEASE_MS: Final = 25_000
"""A desk that has not said so again by then is not armed any more."""
ARMED_ACTIVE_MS: Final = 600_000
"""A desk whose human has touched nothing for this long is not armed any more."""

# People who are told
CONTACTS_PER_PERSON_MAX: Final = 5
"""Contacts of one person; a set-up with more is refused with 422."""
VOLUNTEER_CELLS_MAX: Final = 10
"""A policy that asks volunteers further away is refused with 422."""
VOLUNTEER_CELL_M: Final = 920
"""What each cell widens the circle by: the distance of the centres of two neighbours of the index's resolution."""
VOLUNTEERS_TOLD_MAX: Final = 20
"""Volunteers whom one step tells, the nearest first; those beyond are left out."""
VOLUNTEER_FIX_MS_MAX: Final = 300_000
"""A volunteer whose newest fix is older has no place, and is not told."""

# Escalators
ESCALATION_RETRY_MS: Final = 500
"""Pause of an escalator whose store is away: no longer, so that steps are late by seconds after Postgres restarts."""
DRY_RUN_ENTRIES_MAX: Final = 100
"""Steps that a dry run shows at most."""
