"""Sockets of phones and browsers: ingest of fixes, fan-out of events."""
