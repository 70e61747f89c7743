"""Deals what few people recorded over years to many phones that start together. Pure.

A piece is what one worker recorded without a long silence. Pieces keep their places and their inner times; only the
time between them is chosen anew, so that a long recording fits into a short replay and makes a load.
"""

from typing import Final

import numpy as np

from sim.replay.recording import TRIP_GAP_MS, Recording, Rows, Trip

PAUSE_MS: Final = 600_000
"""Between two pieces of one phone: enough for the way from one place of a city to another."""


def dealt(recording: Recording, phones: int) -> Recording:
    """Return the recording as one of `phones` workers; each piece goes to the phone that is done first.

    Where two pieces of one phone lie farther apart than anybody drives in `PAUSE_MS`, the rules refuse jumps, as for
    any phone that is carried on while it is switched off.
    """
    rows = recording.rows[np.lexsort((recording.rows["ts_ms"], recording.rows["worker"]))]
    pieces = _pieces(rows)
    ends_ms = np.full(phones, recording.first_ms, np.int64)
    dealt_rows, shifts = [], []
    for piece in sorted(pieces, key=lambda piece: int(piece["ts_ms"][0])):
        phone = int(np.argmin(ends_ms))
        shift_ms = int(ends_ms[phone]) - int(piece["ts_ms"][0])
        moved = piece.copy()
        moved["ts_ms"] += shift_ms
        moved["worker"] = phone
        ends_ms[phone] = int(moved["ts_ms"][-1]) + PAUSE_MS
        dealt_rows.append(moved)
        shifts.append((piece, phone, shift_ms))
    together = np.concatenate(dealt_rows)
    return Recording(
        recording.source,
        tuple(f"phone {number}" for number in range(phones)),
        together[np.argsort(together["ts_ms"], kind="stable")],
        tuple(sorted(_moved_trips(recording, shifts), key=lambda trip: (trip.start_ms, trip.trip_id))),
        recording.skipped,
    )


def _pieces(rows: Rows) -> list[Rows]:
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (np.diff(rows["worker"]) != 0) | (np.diff(rows["ts_ms"]) > TRIP_GAP_MS)
    return np.split(rows, np.flatnonzero(is_first)[1:])


def _moved_trips(recording: Recording, shifts: list[tuple[Rows, int, int]]) -> list[Trip]:
    """Return the trips that lie within one piece, where it is now."""
    moved = []
    by_worker: dict[int, list[tuple[int, int, int, int]]] = {}
    for piece, phone, shift_ms in shifts:
        span = (int(piece["ts_ms"][0]), int(piece["ts_ms"][-1]), phone, shift_ms)
        by_worker.setdefault(int(piece["worker"][0]), []).append(span)
    for trip in recording.trips:
        for first_ms, last_ms, phone, shift_ms in by_worker.get(trip.worker, ()):
            if first_ms <= trip.start_ms and trip.end_ms <= last_ms:
                place = (trip.start_lat_deg, trip.start_lng_deg, trip.end_lat_deg, trip.end_lng_deg)
                moved.append(Trip(trip.trip_id, phone, trip.start_ms + shift_ms, trip.end_ms + shift_ms, *place))
                break
    return moved
