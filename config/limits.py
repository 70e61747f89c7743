"""Every limit of the product with its unit in its name, and what happens at it. Their relations are asserted below."""

from typing import Final

# The gateway: frames and connections
FRAME_BYTES_MAX: Final = 65_536
"""A larger frame is refused with `frame_too_large`; a raw socket is then closed with 1009."""
FIXES_PER_FRAME_MAX: Final = 50
"""More fixes in one frame: the frame is refused with `too_many_fixes`."""
BAD_FRAMES_MAX: Final = 20
"""Refused frames of one connection within a minute before it is closed with 4408 `abuse`."""
HELLO_TIMEOUT_MS: Final = 10_000
"""A raw socket that has not authenticated by then is closed with 4401."""
CONNECTION_FIXES_PER_S_MAX: Final = 200
"""Token bucket of one connection; the frame beyond it is refused with `too_many`."""
CONNECTION_FIXES_BURST: Final = 2_000
"""Bucket size: an offline phone may bring its backlog at once."""
OUTBOX_FRAMES_MAX: Final = 256
"""Durable frames waiting for one slow reader; beyond it the connection is closed with 4410 `slow_reader`."""
COMMAND_TIMEOUT_MS: Final = 5_000
ACCEPT_BACKLOG: Final = 4_096

# Ingest
FLUSH_TICK_MS: Final = 10
"""Fixes are gathered this long, then one scripted Redis call moves them."""
FLUSH_FIXES_MAX: Final = 20_000
"""Fixes of one flush; the rest waits for the next tick."""
PENDING_FIXES_MAX: Final = 200_000
"""Fixes waiting while Redis is away: the oldest are dropped and stay unacknowledged, phones send them again."""
REDIS_TIMEOUT_MS: Final = 2_000

# Fixes
FIX_FUTURE_MS_MAX: Final = 30_000
"""A fix further ahead of our clock is refused as `future`."""
FIX_AGE_MS_MAX: Final = 86_400_000
"""An older fix is refused as `stale`."""
FIX_ACCURACY_M_MAX: Final = 200
"""A fix with a larger stated error radius is refused as `inaccurate`."""
FIX_SPEED_MPS_MAX: Final = 45
"""A step that needs more than this (162 km/h) is refused as `jump`."""
FIX_JUMP_SLACK_M: Final = 50
"""Free metres of a step, for GPS noise between two close fixes."""
JUMP_RESET_FIXES: Final = 5
"""After so many refused jumps in a row that agree with one another the worker really is there: it counts."""
CELL_RESOLUTION: Final = 8
"""H3 resolution of the cell index (edge about 461 m)."""
FANOUT_RESOLUTION: Final = 5
"""H3 resolution of the map's fan-out channels."""
SLAB_PAGE_SLOTS: Final = 2_048
"""Worker records of one Redis string (64 KiB)."""
WORKER_SILENT_MS: Final = 60_000
"""A worker not heard of for this long gets no offer."""

# Fan-out
CONSOLE_FRAME_MS: Final = 500
CONSOLE_WORKERS_MAX: Final = 5_000
"""Workers in one console frame; beyond it cells with counts are sent instead."""
CONSOLE_CELL_ZOOM: Final = 12
"""Below this zoom cells with counts are sent."""

# Dispatch
SEARCH_RADIUS_M_MAX: Final = 12_000
SEARCH_RINGS_MAX: Final = 16
CANDIDATES_MAX: Final = 2_000
OFFER_TTL_MS: Final = 20_000
"""An unanswered offer expires and the next best worker is asked."""
BOOKING_SEARCH_MS_MAX: Final = 1_800_000
"""A booking that found nobody by then becomes `unserved`."""
OFFERS_PER_BOOKING_MAX: Final = 25
DISPATCH_RETRY_MS: Final = 2_000
DISPATCH_BATCH_MAX: Final = 64
DISPATCH_POLL_MS: Final = 500
CLAIM_LEASE_MS: Final = 5_000
WHY_CANDIDATES_MAX: Final = 10
"""Ranked candidates kept in the dispatch log of a decision."""

# Outbox relay
RELAY_BATCH_MAX: Final = 500
RELAY_POLL_MS: Final = 500
OUTBOX_KEPT_MS: Final = 86_400_000

# SafeTap
TRIGGER_BYTES_MAX: Final = 8_192
ESCALATION_POLL_MS: Final = 1_000
ESCALATION_BATCH_MAX: Final = 200
ESCALATION_LEASE_MS: Final = 5_000
NOTICE_ATTEMPTS_MAX: Final = 8
NOTICE_SEND_TIMEOUT_MS: Final = 10_000
NOTICE_BATCH_MAX: Final = 100
NOTICE_LEASE_MS: Final = 15_000
STEPS_PER_POLICY_MAX: Final = 20
FOLLOW_UP_MS: Final = 600_000
"""An acknowledged incident that nobody closed asks again after this long."""

# REST
BODY_BYTES_MAX: Final = 262_144
PAGE_ROWS_DEFAULT: Final = 50
PAGE_ROWS_MAX: Final = 200
PEOPLE_PER_BATCH_MAX: Final = 500
ACCESS_TOKEN_MS: Final = 900_000
REFRESH_TOKEN_MS: Final = 30 * 86_400_000
TOKEN_GRACE_MS: Final = 60_000
"""A socket whose token has expired may refresh it this long before it is closed with 4401."""
ENROLMENT_CODE_MS: Final = 7 * 86_400_000
SIGN_IN_FAILURES_MAX: Final = 10
"""Failed sign-ins of one account within 15 minutes; more are refused with `too_many`."""
SIGN_IN_WINDOW_MS: Final = 900_000
IDEMPOTENCY_KEPT_MS: Final = 86_400_000

# Processes
DATABASE_POOL_MAX: Final = 8
SAFETAP_POOL_MAX: Final = 4
STATEMENT_TIMEOUT_MS: Final = 5_000
READY_TIMEOUT_MS: Final = 60_000
STOP_TIMEOUT_MS: Final = 10_000
RESTART_BACKOFF_MS_MIN: Final = 200
RESTART_BACKOFF_MS_MAX: Final = 5_000

assert FIXES_PER_FRAME_MAX * 24 < FRAME_BYTES_MAX
assert FLUSH_FIXES_MAX <= PENDING_FIXES_MAX
assert CONNECTION_FIXES_BURST >= FIXES_PER_FRAME_MAX
assert DISPATCH_POLL_MS < CLAIM_LEASE_MS < OFFER_TTL_MS < BOOKING_SEARCH_MS_MAX
assert ESCALATION_POLL_MS < ESCALATION_LEASE_MS
assert NOTICE_SEND_TIMEOUT_MS < NOTICE_LEASE_MS
assert FANOUT_RESOLUTION < CELL_RESOLUTION
assert RESTART_BACKOFF_MS_MIN < RESTART_BACKOFF_MS_MAX
