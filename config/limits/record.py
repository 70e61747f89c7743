"""What is kept of an incident, and who may stop one."""

from typing import Final

PIN_DIGITS_MIN: Final = 4
"""A shorter PIN is refused with 422."""
PIN_DIGITS_MAX: Final = 8
"""A longer PIN is refused with 422."""
PIN_FAILURES_MAX: Final = 5
"""Wrong PINs of one person within `PIN_WINDOW_MS`; then every PIN is refused with 429, a duress PIN still heard."""
PIN_WINDOW_MS: Final = 900_000
"""How long a wrong PIN counts."""
PIN_ANSWER_MS: Final = 400
"""What a PIN is answered with leaves at the next multiple of this, so that the time tells nothing of what was done."""
DURESS_FORWARD_MS: Final = 250
"""How long the API waits for each way to SafeTap's door with the alarm of a duress PIN; then it stores it itself."""
DOOR_CANCELS_MAX: Final = 32
"""People whose PINs SafeTap's own door judges at once; more are answered 503, and a phone sends again."""
DOOR_CANCELS_PER_PERSON_MAX: Final = 8
"""PINs of one person that wait for each other there; more are answered 503."""
NOTE_CHARS_MAX: Final = 4_000
"""A longer note or message on an incident is refused with 422."""
POLICE_REFERENCE_CHARS_MAX: Final = 100
"""A longer reference is refused with 422."""
READ_AGAIN_MS: Final = 60_000
"""Another look of the same person at the same part of an incident adds no event so soon; the audit log has each."""
INCIDENT_TRAIL_FIXES_MAX: Final = 5_000
"""Fixes of an incident in one answer: the newest."""
INCIDENT_TRAIL_LEAD_MS: Final = 900_000
"""How long before the alarm the trail of an incident begins."""
REPORT_TRAIL_FIXES_MAX: Final = 500
"""Fixes in a report; more are thinned evenly."""
EVIDENCE_CHUNK_BYTES_MAX: Final = 131_072
"""A larger chunk is refused with 422."""
EVIDENCE_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
"""Evidence of one incident as it is kept; more is refused with 409. It lies where every alarm is committed."""
EVIDENCE_CHUNKS_MAX: Final = 2_000
"""Chunks of one piece of evidence; one more is refused with 422: begin another piece."""
EVIDENCE_PIECES_MAX: Final = 100
"""Pieces of evidence of one incident; one more is refused with 409."""
WATCHED_ROWS_MAX: Final = 200
"""Looks at oneself in one answer, newest first."""
STATISTICS_SPAN_DAYS_MAX: Final = 366
"""A longer time is refused with 422."""
DRILL_POLL_MS: Final = 30_000
"""How often planned drills are looked for."""
DRILL_EVERY_H_MAX: Final = 8_760
"""Who practises less often than once a year does not practise: a longer plan is refused with 422."""
DRILL_TIMES_MAX: Final = 6
"""Times of day in a week's plan; one more is refused with 422."""
DRILL_LATE_MS: Final = 3_600_000
"""A drill of a week's plan that is later than this is left out: nobody planned one for the middle of the night."""

assert PIN_DIGITS_MIN < PIN_DIGITS_MAX
assert DRILL_POLL_MS < DRILL_LATE_MS
assert REPORT_TRAIL_FIXES_MAX <= INCIDENT_TRAIL_FIXES_MAX
