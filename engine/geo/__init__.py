"""Fixes, their acceptance, H3 cells and the cell index in Redis."""
