"""What people get of what is kept about them, and how fast it is deleted or sealed."""

from typing import Final

EXPORT_ROWS_MAX: Final = 5_000
"""Rows of each kind in a person's copy of their data: the newest."""
EXPORT_FIXES_MAX: Final = 20_000
"""Fixes in it: the newest; the rest is asked for in writing (docs/privacy.md)."""
REASONS_SHOWN_MAX: Final = 200
"""Decisions about oneself, or contested ones, in one answer: the newest."""
HOLDS_SHOWN_MAX: Final = 500
"""Legal holds in one answer: the newest."""
SEAL_BATCH_MAX: Final = 200
"""Rows that the keeper puts into envelopes in one transaction; the rest waits for the next one."""
EXPIRY_BATCH_MAX: Final = 50
"""Incidents that the keeper deletes in a row, each in a transaction of its own."""
PERSONAL_EVERY_MS: Final = 300_000
"""How often the keeper looks for clear text that is to be sealed, and for what may be kept no longer."""
LIVE_READS_MAX: Final = 1_000
"""Incidents shown by consoles that go into one entry of the record's batch, or that one console remembers as recorded;
the next go into the next batch, and a console that has shown more is recorded anew."""
MAP_LOOK_MS: Final = 900_000
"""A console that looks at the same part of the live map stands in the audit log once in this time."""
