"""Contextual risk of sending this worker to that door."""
