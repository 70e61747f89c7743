"""Taking alarms: lanes, budgets, keys, what waits where."""

from typing import Final

TRIGGERS_WAITING_MAX: Final = 4_096
"""Verified triggers that wait for a commit; one beyond goes straight to the spool."""
TRIGGERS_PER_PERSON_WAITING_MAX: Final = 8
"""The same of one person; one beyond goes straight to the spool, so that nobody fills the lane alone."""
SPOOLED_PER_PERSON_MAX: Final = 64
"""Triggers of one person that wait on a disk; one more is answered `unavailable`, so that nobody fills it alone."""
TRIGGERS_PER_COMMIT_MAX: Final = 64
"""Triggers in one transaction; the others are in the next."""
COMMIT_PACE_MS: Final = 12
"""Between the beginnings of two transactions of a lane: what comes meanwhile shares the next, so much later at most."""
COMMITTERS: Final = 2
"""Transactions of the verified lane under way at once: one is being computed while the other is flushed."""
INTAKE_POOL_MAX: Final = 4
"""Connections of the verified lane alone: its commits, the replay of its spool, a key that is looked up."""
UNVERIFIED_POOL_MAX: Final = 2
"""Connections of the unverified lane: its commits and the replay of its spool."""
UNVERIFIED_WAITING_MAX: Final = 1_024
"""Unverified triggers that wait for a commit; one beyond is counted as `too_many` and answered like the others."""
UNVERIFIED_SPOOL_BYTES_MAX: Final = 16 * 1024 * 1024
"""The unverified lane's own spool; once full, what comes is counted as `too_many` and answered like the others."""
UNVERIFIED_PER_SOURCE_PER_S_MAX: Final = 2
"""Unverified triggers of one source; one beyond is counted as `too_many` and answered like the others."""
UNVERIFIED_PER_SOURCE_BURST: Final = 20
"""How many of them may come at once."""
UNVERIFIED_PER_S_MAX: Final = 100
"""Unverified triggers of all sources; one beyond is counted as `too_many` and answered like the others."""
UNVERIFIED_BURST: Final = 500
"""How many of them may come at once."""
UNVERIFIED_ANSWER_MS: Final = 1_000
"""Every unverified trigger is answered this long after it came, whatever became of it: the time tells nothing.

It is long because a connection has one request at a time: a forger gets so many a second as they have connections."""
STRANGERS_TICK_MS: Final = 20
"""How often the door looks for whose time has come: so much later than that they are answered."""
STRANGERS_TURN_MS: Final = 6
"""So much of each such tick is for those who have not shown on their connection who they are; more of them wait."""
FULL_SERVER_CHARGE_US: Final = 400
"""What a stranger's piece for the full server is taken to cost besides: its work is not done in their turn."""
CHECKS_PER_SOURCE_PER_S_MAX: Final = 300
"""Signatures of one source that are checked; a token beyond counts as `unchecked` until it is sent again."""
CHECKS_PER_SOURCE_BURST: Final = 2_000
"""How many of them may come at once: a carrier puts many phones behind one address."""
CHECKS_PER_S_MAX: Final = 1_000
"""Signatures of all sources that are checked, an eighth of a core; a token beyond counts as `unchecked`."""
CHECKS_BURST: Final = 4_000
"""How many of them may come at once."""
SOURCES_MAX: Final = 20_000
"""Sources whose budgets are remembered; beyond it the one that was silent longest starts anew."""
TOKENS_KNOWN_MAX: Final = 50_000
"""Tokens whose signature is remembered as good; beyond it the one that was silent longest is checked again."""
TOKENS_FORGED_MAX: Final = 20_000
"""The same of forged ones."""
TRIGGER_KEYS_PER_PERSON_MAX: Final = 8
"""A new trigger key beyond ends the person's oldest one: a new phone must never be left without a key."""
TRIGGER_KEYS_PAGE: Final = 5_000
"""Keys that a door reads in one question when it loads all of them."""
TRIGGER_KEYS_CHECK_MS: Final = 60_000
"""How often a door reads all keys without being told of a change."""
SPOOL_REPLAY_BATCH: Final = 64
"""Records of the spool that are offered to Postgres in one transaction."""
SPOOLED_SHOWN_MAX: Final = 1_000
"""People whose spooled alarm a door shows to desks from memory; a further one is shown when it is committed."""
OUTAGE_CALL_AFTER_MS: Final = 2_000
"""An alarm that only a disk has is called about after so long: a crowd, or a restart, takes less."""
OUTAGE_CALL_RETRY_MS: Final = 5_000
"""Until a call that failed is made again."""
OUTAGE_CALL_TRIES_MAX: Final = 720
"""Attempts at one call, an hour of them; then it is given up and counted as failed."""
OUTAGE_CALLS_AT_ONCE: Final = 16
"""Calls of one door under way; the others wait for one to end."""
ORPHANS_KEPT_MS: Final = 30 * 24 * 3_600_000
"""Unverified triggers of nobody known are deleted after this long."""
ORPHANS_SWEEP_MS: Final = 3_600_000
"""How often a door looks for old ones."""
