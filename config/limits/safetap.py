"""Alarms, their ladder and what it sends."""

from typing import Final

# SafeTap
TRIGGER_BYTES_MAX: Final = 8_192
"""A larger request, or message of a desk, is refused at SafeTap's door with 413, or closes the socket."""
ESCALATION_POLL_MS: Final = 500
"""How often due steps are looked for without being woken."""
ESCALATION_PAUSE_MS: Final = 20
"""Between two rounds of an escalator: what becomes due meanwhile is taken in one transaction, this much later."""
LIVE_PAUSE_MS: Final = 10
"""Between two looks at changed incidents: the changes meanwhile are read in one question, this much later."""
ESCALATION_BATCH_MAX: Final = 200
"""Steps of one cycle; the next cycle follows at once."""
ESCALATION_LEASE_MS: Final = 1_000
"""A claimed step that was not begun by then may be claimed by another loop: so late is a step whose loop is killed."""
NOTICE_ATTEMPTS_MAX: Final = 8
"""A notice that was not taken after so many is marked failed."""
NOTICE_SEND_TIMEOUT_MS: Final = 10_000
"""An attempt that the receiver has not answered by then has failed."""
NOTICE_BATCH_MAX: Final = 100
"""Repetitions under way at once on one channel; the others wait."""
NOTICE_LEASE_MS: Final = 15_000
"""A claimed notice whose outcome was not written by then is sent again, with the same key."""
NOTICE_POLL_MS: Final = 1_000
"""How often due notices are looked for without being woken."""
NOTICES_PER_ADDRESS_MAX: Final = 4
"""Repetitions under way to one address; the next waits, so that a hung receiver takes few of the sender's slots."""
NOTICE_RETRY_MS_MIN: Final = 1_000
"""The first retry of a notice; each later one waits twice as long."""
NOTICE_RETRY_MS_MAX: Final = 60_000
"""No retry of a notice waits longer."""
TRIGGER_FORWARD_MS: Final = 3_000
"""One try of another process to hand a trigger to the door; after the Unix socket the port is tried."""
DEVICE_LOOKUP_MS: Final = 1_000
"""Asking Postgres whose tracker calls for help; later it is told to send again."""
TRIGGER_COMMIT_MS_MAX: Final = 200
"""A trigger that Postgres has not committed by then goes to the spool; what answers first is told to the phone."""
CROWD_ALARMS: Final = 4
"""So many alarms that nothing has settled yet are a crowd."""
CROWD_COMMIT_MS: Final = 15
"""In a crowd the disk is asked too after so long; an alarm that comes alone is left to Postgres for longer."""
SPOOL_BYTES_MAX: Final = 64 * 1024 * 1024
"""A full spool refuses: the trigger is answered `unavailable` and the phone tries another door."""
SPOOL_REPLAY_MS: Final = 500
"""How often what is spooled is offered to Postgres again."""
SEVERITY_MAX: Final = 5
"""Further triggers no longer raise an incident, and no longer hasten its next step."""
STEPS_PER_POLICY_MAX: Final = 20
"""A policy with more is refused with 422."""
POLICY_DELAY_S_MAX: Final = 86_400
"""A longer delay in a policy is refused with 422."""
POLICY_REPEAT_S_MIN: Final = 10
"""An exhausted ladder is repeated no more often than this."""
FOLLOW_UP_MS: Final = 600_000
"""An acknowledged incident that nobody closed asks again after this long."""
RESPONDERS_MAX: Final = 500
"""Dispatchers of one organisation whom one step tells, and as many admins; those beyond are left out and logged."""
CLOSE_REASON_CHARS_MAX: Final = 1_000
"""A longer reason is refused with 422."""
LIVE_FRAMES_MAX: Final = 256
"""Incidents waiting for one slow desk; beyond it its socket is closed with 4410 `slow_reader`."""
LIVE_SOCKETS_MAX: Final = 512
"""Desks on one door; one more is refused with 503."""
LIVE_HEARTBEAT_MS: Final = 20_000
"""A desk whose socket does not answer the transport's ping for this long is taken for gone."""
TRIP_SHARES_MAX: Final = 5
"""Links to one trip that each party may have; one more is refused with 409."""
SHARE_MINUTES_MIN: Final = 5
"""A shorter life of a link is refused with 422."""
SHARE_MINUTES_DEFAULT: Final = 120
"""The life of a link where nobody says another; it ends with its trip anyway."""
SHARE_MINUTES_MAX: Final = 720
"""A longer life of a link is refused with 422."""
SHARED_LOOK_EVERY_MIN: Final = 15
"""What a link shows again within this is the same look, on record once."""
LIVE_LOOKS_MAX: Final = 20_000
"""Looks of desks that wait for Postgres to be recorded; of one more the log alone tells that it was not."""
LIVE_LOOKS_MS: Final = 1_000
"""What was looked at within this is one transaction of the audit log; a door that is killed loses no more of it."""
LIVE_STANDING_MS: Final = 1_000
"""How often the door asks whether the sign-ins of its desks still stand, and how long a desk that comes waits to hear
so; while Postgres does not answer it is believed, as its token is."""
LIVE_CLOSE_MS: Final = 1_000
"""How long a desk has to answer a close before its connection is cut."""
SNAPSHOT_INCIDENTS_MAX: Final = 1_000
"""Incidents in a desk's snapshot, oldest first; the rest is on the pages of the API."""
