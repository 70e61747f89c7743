"""Embedded Postgres and Redis for people without either: our own start and stop around the binaries of two wheels."""
