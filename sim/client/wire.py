"""The frames of `/ws/ping` as bytes and back. Pure: no socket, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgpack
import numpy as np

from sim.client.errors import WireFault

FIX_DTYPE: Final = np.dtype(
    [
        ("ts_ms", "<i8"),
        ("lat_e7", "<i4"),
        ("lng_e7", "<i4"),
        ("accuracy_dm", "<u2"),
        ("speed_cm_s", "<u2"),
        ("heading_cdeg", "<u2"),
        ("battery_pct", "u1"),
        ("flags", "u1"),
    ]
)
"""One fix record: 24 bytes, little-endian, no padding."""
FIX_BYTES: Final = 24
FIXES_PER_FRAME_MAX: Final = 50
UNKNOWN_U16: Final = 65_535
UNKNOWN_BATTERY: Final = 255
TRIGGER_KINDS: Final = {"button": 0, "hold": 1, "gesture": 2, "duress_pin": 3, "drill": 4}

assert FIX_DTYPE.itemsize == FIX_BYTES


@dataclass(frozen=True, slots=True)
class Place:
    """How far a client got with the durable events: everything up to `offset` of this epoch has arrived."""

    epoch: str
    offset: int

    def after(self, offset: int | None) -> "Place":
        """Return the place after an event."""
        return self if offset is None else Place(self.epoch, offset)

    @classmethod
    def of_welcome(cls, state: Mapping[str, Any]) -> "Place | None":
        """Return the place that a welcome tells; none while the server does not know it."""
        epoch, offset = state.get("epoch"), state.get("offset")
        return cls(epoch, offset) if isinstance(epoch, str) and isinstance(offset, int) else None


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server knows who this is; `state` is the worker's present."""

    slot: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ack:
    """Every frame up to `seq` is indexed or refused for good; `alarm` is 0, 1 (on disk) or 2 (committed)."""

    seq: int
    alarm: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the command `command_id`."""

    command_id: int
    ok: bool
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened; `offset` is its place among all durable events."""

    name: str
    body: dict[str, Any]
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class FrameRefused:
    """One of our frames was refused; the connection lives on, unless a close follows."""

    code: str
    detail: str
    seq: int | None
    retry_after_ms: int | None = None
    """The server is going away: how long to wait before connecting again."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """Take a fix this often from now on, and send what was gathered every `batch_ms`: the same means each at once."""

    cadence_ms: int
    batch_ms: int

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Cadence":
        """Return what a welcome or frame 9 tells.

        Raises:
            KeyError: it tells nothing.
        """
        cadence_ms = int(body["cadence_ms"])
        return cls(cadence_ms, int(body.get("batch_ms", cadence_ms)))


ServerFrame = Welcome | Ack | Answer | Event | FrameRefused | Cadence


def hello(token: str, client: str, place: Place | None = None) -> bytes:
    """Return frame 0: who connects, and where their events stopped."""
    options: dict[str, object] = {"client": client}
    if place is not None:
        options |= {"epoch": place.epoch, "offset": place.offset}
    return _pack([0, token, options])


def ping(seq: int, records: bytes) -> bytes:
    """Return frame 1 with 1-50 records of `FIX_DTYPE`."""
    assert len(records) % FIX_BYTES == 0, "a ping carries whole records"
    assert 1 <= len(records) // FIX_BYTES <= FIXES_PER_FRAME_MAX, "a ping carries 1-50 fixes"
    return _pack([1, seq, records])


def shifted(records: bytes, by_ms: int) -> bytes:
    """Return the records of `FIX_DTYPE` with another time."""
    if not by_ms:
        return records
    fixes = np.frombuffer(records, FIX_DTYPE).copy()
    fixes["ts_ms"] += by_ms
    return fixes.tobytes()


def trigger(seq: int, trigger_id: UUID, kind: str, *, record: bytes | None = None) -> bytes:
    """Return frame 3, the silent trigger: as large as a ping of two fixes.

    Raises:
        KeyError: the protocol knows no such `kind`.
    """
    fix = record or bytes(FIX_BYTES)
    assert len(fix) == FIX_BYTES
    return _pack([3, seq, fix + trigger_id.bytes + bytes([TRIGGER_KINDS[kind]]) + bytes(7)])


def command(command_id: int, name: str, body: Mapping[str, Any]) -> bytes:
    """Return frame 4."""
    return _pack([4, command_id, name, dict(body)])


def fresh_token(token: str) -> bytes:
    """Return frame 7: a newer access token for the open connection."""
    return _pack([7, token])


def decode(data: bytes) -> ServerFrame:
    """Return what the server said.

    Raises:
        WireFault: not a frame of the protocol.
    """
    try:
        frame = msgpack.unpackb(data)
        return _frame(frame)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise WireFault(f"a frame of {len(data)} bytes cannot be read: {error!r}") from error


def _frame(frame: Any) -> ServerFrame:  # noqa: ANN401 - msgpack gives anything; this function is what types it
    match frame:
        case [2, int(seq), int(alarm)]:
            return Ack(seq, alarm)
        case [6, str(name), dict(body)] | [6, str(name), dict(body), int()]:
            return Event(name, body, *frame[3:])
        case [0, int(slot), dict(state)]:
            return Welcome(slot, state)
        case [5, int(command_id), bool(ok), body]:
            return Answer(command_id, ok, body if isinstance(body, dict) else {})
        case [8, dict(problem)]:
            return FrameRefused(
                str(problem["code"]),
                str(problem.get("detail", "")),
                problem.get("seq"),
                problem.get("retry_after_ms"),
            )
        case [9, dict(cadence)]:
            return Cadence.of(cadence)
        case _:
            raise WireFault(f"unknown frame: {type(frame).__name__}")


def _pack(frame: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(frame)
    return packed
