"""HTTP, REST and the processes that serve."""

from typing import Final

# HTTP
CONNECTION_IDLE_MS: Final = 30_000
"""A connection that has not brought a whole head of a request for this long is closed; open websockets are not."""

# REST
BODY_BYTES_MAX: Final = 262_144
"""A larger body is refused with 413."""
BODY_READ_MS: Final = 10_000
"""A body that has not arrived by then is refused with 408."""
PAGE_ROWS_DEFAULT: Final = 50
"""Rows of a page that names no limit."""
PAGE_ROWS_MAX: Final = 200
"""A page that asks for more is refused with 422."""
OPEN_BOOKINGS_TOLD_MAX: Final = 20
"""Open bookings told to a customer at once, the newest first; the rest is on the pages of the list."""
DECISIONS_SHOWN_MAX: Final = 500
"""Decisions shown of one booking, from the first on: more than a search can take."""
PEOPLE_PER_BATCH_MAX: Final = 500
"""A larger batch is refused with 422."""
ACCESS_TOKEN_MS: Final = 900_000
"""An access token is good for this long."""
REFRESH_TOKEN_MS: Final = 30 * 86_400_000
"""A refresh token that was not used by then has ended."""
TOKEN_GRACE_MS: Final = 60_000
"""A socket whose token has expired may refresh it this long before it is closed with 4401."""
DEVICES_PER_WORKER_MAX: Final = 10
"""Trackers of one worker that are not revoked; one more is refused with 409."""
PASSWORDS_PER_BATCH_MAX: Final = 100
"""Passwords in one batch of people (about 20 ms of hashing each); more are refused with 422, codes are not limited."""
PASSWORD_THREADS: Final = 2
"""Threads that hash passwords (19 MiB each); more sign-ins at once wait their turn."""
ENROLMENT_CODE_MS: Final = 7 * 86_400_000
"""An enrolment code that was not used by then has ended."""
SIGN_IN_FAILURES_MAX: Final = 10
"""Failed sign-ins of one account within 15 minutes; more are refused with `too_many`."""
SIGN_IN_WINDOW_MS: Final = 900_000
"""Failed sign-ins older than this no longer count."""
IDEMPOTENCY_KEPT_MS: Final = 86_400_000
"""An answer is kept under its key for this long; then the key is new again."""
IDEMPOTENCY_WAIT_MS: Final = 2_000
"""A second request waits this long for the first one with its key; then it is refused with 409."""
IDEMPOTENCY_KEY_CHARS_MAX: Final = 200
"""A longer key is refused with 422."""
TEXT_CHARS_MAX: Final = 2_000
"""Characters of a note or a reason; a longer one is refused with 422."""
LINE_CHARS_MAX: Final = 200
"""Characters of a name, an address line or a reference; a longer one is refused with 422."""
PASSWORD_CHARS_MIN: Final = 10
"""A shorter new password is refused with 422."""
PASSWORD_CHARS_MAX: Final = 200
"""A longer password is refused with 422."""
READY_PROBE_MS: Final = 1_000
"""How often a process asks its database whether it is there."""
CORS_MAX_AGE_S: Final = 600
"""How long a browser may remember what a page of another origin may do."""

# Processes
DATABASE_POOL_MAX: Final = 8
"""Connections of one process to Postgres; further work waits for a free one."""
DATABASE_CONNECT_MS_MAX: Final = 3_000
"""A Postgres that does not take a connection within this counts as away."""
GATEWAY_POOL_MAX: Final = 4
"""The same of a gateway."""
SAFETAP_POOL_MAX: Final = 4
"""The same of SafeTap's door."""
LADDER_POOL_MAX: Final = 1
"""The escalator's own connection: after a restart of Postgres it waits behind no desk and no listener."""
ZONES_POOL_MAX: Final = 3
"""The same of the zone watch: its turn, its listener, its probe."""
STATEMENT_TIMEOUT_MS: Final = 5_000
"""A statement that Postgres has not done by then is given up; the store counts as away."""
READY_TIMEOUT_MS: Final = 180_000
"""A program that is not ready by then ends the start of the installation, with the reason. The first start compiles the
kernels: half a minute of a processor, of which a small machine has one for everything that starts."""
STOP_TIMEOUT_MS: Final = 10_000
"""A process that was told to stop and still runs by then is killed."""
RESTART_BACKOFF_MS_MIN: Final = 200
"""The first pause before a program is started again."""
RESTART_BACKOFF_MS_MAX: Final = 5_000
"""The pause before a program is started again doubles up to this."""
RESTARTS_AT_START_MAX: Final = 2
"""A program that ends more often before it was ready once ends the installation's start, with the reason."""
RESTART_CALM_MS: Final = 10_000
"""A program that was ready for this long starts again with the shortest pause."""
HEALTH_SILENT_MS: Final = 30_000
"""A process whose `/healthz` does not answer for this long hangs: it is killed and started again."""

# Processes
GC_OBJECTS: Final = 50_000
"""New objects of a process from which Python looks for unreachable cycles among them (2 ms)."""
