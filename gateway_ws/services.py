"""What every session of one gateway stands on, handed over as one value by the composition root."""

from dataclasses import dataclass

import numpy as np

from engine.core.clock import Clock
from engine.geo.cell_index import CellIndex
from engine.geo.ingest import Ingest
from engine.geo.worker_table import WorkerTable
from gateway_ws.arrivals import Arrivals
from gateway_ws.background import Background
from gateway_ws.batched import Batched
from gateway_ws.cadence import Cadences
from gateway_ws.counting import Counting
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.fan_out.subscriptions import FanOut
from gateway_ws.jobs import Jobs
from gateway_ws.registry import Registry
from gateway_ws.safetap_client import SafeTapClient
from gateway_ws.speakers import Speakers


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one gateway process."""

    gateway_id: str
    clock: Clock
    tokens: Speakers
    table: WorkerTable
    index: CellIndex
    ingest: Ingest
    counting: Counting
    cadences: Cadences
    jobs: Jobs
    calls: EngineCalls
    fan_out: FanOut
    safetap: SafeTapClient
    background: Background
    registry: Registry
    arrivals: Arrivals
    newest: Batched[int, np.void]
    """The record of a slot in the cell index: the newest fix that any gateway has accepted."""
