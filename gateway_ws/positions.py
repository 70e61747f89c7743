"""What a flush tells the fan-out: rows of the live map by coarse cell, position and ETA by booking. Pure.

The messages go out in the same write as the cell moves, so a position is never told before it is in its cell.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgpack
import numpy as np
import orjson
from numpy.typing import NDArray

from config.limits import FANOUT_RESOLUTION
from engine.core.units import e7_to_deg
from engine.core.vocabulary import FixFlag
from engine.geo.cells import CellArray, parents_of, text_of
from engine.geo.fixes import UNKNOWN_U16, RecordArray, SlotArray
from engine.geo.ingest import Moves
from gateway_ws.customer_etas import EtaOf, straight_eta
from gateway_ws.jobs import Job, Jobs

MAP_ROW: Final = np.dtype(
    [
        ("slot", "<u4"),
        ("lat_e7", "<i4"),
        ("lng_e7", "<i4"),
        ("ts_ms", "<i8"),
        ("heading_cdeg", "<u2"),
        ("status", "u1"),
        ("battery_pct", "u1"),
    ]
)
"""A worker on the console's map (docs/protocol.md, section 3)."""
assert MAP_ROW.itemsize == 24  # noqa: PLR2004 - the protocol's

OFF_DUTY: Final = 4
"""The status of somebody who is on the map because of an open alarm."""

MapRows: TypeAlias = NDArray[np.void]
Publication: TypeAlias = tuple[str, bytes]


def publications(moves: Moves, jobs: Jobs, eta_of: EtaOf = straight_eta) -> list[Publication]:
    """Return every message of one flush: channel and payload."""
    return [*_map_messages(moves), *_job_messages(moves, jobs, eta_of)]


def map_rows(slots: SlotArray, records: RecordArray) -> MapRows:
    """Return the map's rows of records; who shows them fills in the status of those on duty."""
    rows = np.zeros(len(slots), MAP_ROW)
    rows["slot"] = slots
    for column in ("lat_e7", "lng_e7", "ts_ms", "heading_cdeg", "battery_pct"):
        rows[column] = records[column]
    rows["status"][(records["flags"] & FixFlag.OFF_DUTY) != 0] = OFF_DUTY
    return rows


def map_topic(coarse_cell: int) -> str:
    """Return the topic of one coarse cell."""
    return f"map:{text_of(coarse_cell)}"


def position_body(slot: int, job: Job, record: np.void, eta_of: EtaOf = straight_eta) -> dict[str, Any]:
    """Return the customer's `position` event."""
    lat_deg, lng_deg = e7_to_deg(int(record["lat_e7"])), e7_to_deg(int(record["lng_e7"]))
    eta = eta_of(slot, job, lat_deg, lng_deg)
    body = {
        "booking_id": job.booking_id,
        "lat": lat_deg,
        "lng": lng_deg,
        "ts_ms": int(record["ts_ms"]),
        "eta_s": eta.eta_s,
        "eta_low_s": eta.low_s,
        "eta_high_s": eta.high_s,
    }
    if record["heading_cdeg"] != UNKNOWN_U16:
        body["heading_deg"] = int(record["heading_cdeg"]) / 100
    return body


def _map_messages(moves: Moves) -> Iterator[Publication]:
    coarse = parents_of(moves.records["cell"], FANOUT_RESOLUTION)
    was = parents_of(moves.old_cells, FANOUT_RESOLUTION)
    left = (was != 0) & (was != coarse)
    gone_cells = np.concatenate([was[left], parents_of(moves.removed_cells, FANOUT_RESOLUTION)])
    gone_slots = np.concatenate([moves.slots[left], moves.removed_slots]).astype("<u4")
    rows = map_rows(moves.slots, moves.records)
    for cell in np.unique(np.concatenate([coarse, gone_cells])).tolist():
        if not cell:
            continue
        here: NDArray[np.bool_] = coarse == cell
        yield _map_message(cell, rows[here], moves.records["cell"][here], gone_slots[gone_cells == cell])


def _map_message(cell: int, rows: MapRows, cells: CellArray, gone: NDArray[np.uint32]) -> Publication:
    body = {"rows": rows.tobytes(), "cells": cells.tobytes(), "gone": gone.tobytes()}
    return f"fan:{map_topic(cell)}", msgpack.packb(body)


def _job_messages(moves: Moves, jobs: Jobs, eta_of: EtaOf) -> Iterator[Publication]:
    if not len(jobs):
        return
    for row, slot in enumerate(moves.slots.tolist()):
        if (job := jobs.watched(slot)) is not None:
            yield f"fan:booking:{job.booking_id}", orjson.dumps(position_body(slot, job, moves.records[row], eta_of))
