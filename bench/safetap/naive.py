"""The anchor: one process that takes pings and alarms alike, in the order in which they come."""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from bench.safetap.alarms import Calls, call
from bench.safetap.processes import flooded
from bench.stream.product import Product
from bench.stream.rig import Rig
from bench.stream.servers import started

PER_S = 20
"""Fewer than the door gets: what hangs here must not pile up in the client."""
SECONDS_MAX = 6.0


def naive_delays(rig: Rig, stores: Product, tokens: Sequence[str]) -> Calls:
    """Return what calls of these people into a flooded process meet."""
    seconds = min(rig.seconds, SECONDS_MAX)
    env = {**os.environ, "DATABASE_URL": stores.database_url}
    with (
        tempfile.TemporaryDirectory(prefix="clenzy-bench-") as folder,
        started("bench.safetap.serve_naive", cpu=rig.server_cpu, env=env) as server,
        flooded(rig, server.port, (), from_ms=stores.epoch_ms, folder=Path(folder), seconds=seconds + 30),
    ):
        calls = asyncio.run(call(server.port, tokens, per_s=PER_S, seconds=seconds))
    with psycopg.connect(stores.database_url) as connection:  # nothing of it is left to be done
        connection.execute("DELETE FROM incident_timer")
        connection.execute("UPDATE incident SET state = 'closed'")
    return calls
