"""The dispatch and safety engine: decisions are pure, I/O lives at the rim, no transport is served here."""
