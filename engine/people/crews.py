"""Who else is on a job of several workers, as conditions for everybody's statements.

A crew is a booking for each seat. Whatever asks "whose job is this?" asks it by these, and pays nothing for a booking
of one worker: its `crew_id` is null, and nothing more is read.
"""


def is_on_crew(person: str, booking: str = "b") -> str:
    """Return the condition that `person` (SQL) has a seat in the crew of `booking` (an alias)."""
    return f"""
({booking}.crew_id IS NOT NULL
 AND EXISTS (SELECT FROM booking mate WHERE mate.crew_id = {booking}.crew_id AND mate.worker_id = {person}))
"""


def workers_of(booking: str = "b") -> str:
    """Return the array of everybody who has this job, the one of `booking` among them; it may hold a null."""
    return f"""
CASE WHEN {booking}.crew_id IS NULL THEN ARRAY[{booking}.worker_id]
     ELSE ARRAY(SELECT mate.worker_id FROM booking mate WHERE mate.crew_id = {booking}.crew_id ORDER BY mate.seat) END
"""  # noqa: S608 - written by the callers' own source
