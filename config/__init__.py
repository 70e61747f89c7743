"""Settings and limits."""
