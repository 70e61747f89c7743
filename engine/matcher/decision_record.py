"""A decision as it is kept: the rows of the frame that mattered, and what came of them, as exact bits. Pure.

What is kept is enough to decide again (`engine.matcher.decision_replay`) and to say why (`engine.matcher.why`): all who
were on the shortlist, and of those whom a rule excluded the ones who would have been cheapest. A record describes
itself: the names of its terms and rules are in it, so that it can be read after there are more of them.

It holds places of workers and the pin, and is kept no longer than the trails are. It must not know how a cost is made.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from config.limits import DECISION_RECORD_BYTES_MAX
from engine.matcher.packed import RecordError, pack, unpack

VERSION: Final = 1
SQUEEZED_MAX: Final = 16
"""A record that would grow by more than this when it is opened is none of ours."""

WAS_ASKED: Final = 1
IS_BLOCKED: Final = 2
IS_PREFERRED: Final = 4
"""Bits of a row's `apart`: what a worker is to this booking and to no other."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The booking as the ranking saw it. Degrees are WGS84, times Unix ms; the origin is the frame's."""

    lat_deg: float
    lng_deg: float
    skill_bit: int
    risk: float
    service_id: str | None
    certificates: int
    tools: int
    vehicles: int
    parts: int
    languages: int
    level: float
    duration_min: int
    has_preferred: bool
    """Whether the customer prefers anybody at all: then everybody else costs more."""
    is_in_area: bool
    radius_m: float
    origin_lat_deg: float
    origin_lng_deg: float
    epoch_ms: int
    now_ms: int
    k: int
    """How many fitted on the shortlist."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The workers who mattered, by ascending row of the frame; n of them. Costs and terms are minutes."""

    slots: NDArray[np.int32]
    matrix: NDArray[np.float32]
    """(`kernels.FRAME_ROWS`, n): what the kernel read; of the levels the one asked for."""
    mask: NDArray[np.int32]
    """(`kernels.MASK_ROWS`, n)."""
    fixed: NDArray[np.float32]
    """(terms that do not depend on the booking, n)."""
    apart: NDArray[np.uint8]
    """Bits as above."""
    rules: NDArray[np.int32]
    """Bit i is set where rule i of `DecisionRecord.rule_names` excludes."""
    unruled: NDArray[np.float32]
    """The cost by the straight line as if no rule applied."""
    terms: NDArray[np.float32]
    """(all terms, n), the drive by the straight line."""


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """The shortlist, cheapest first by the straight line; m on it."""

    row: NDArray[np.int32]
    """Of `Rows`."""
    cost: NDArray[np.float32]
    """Minutes, as the kernel said."""
    eta_s: NDArray[np.float64]
    low_s: NDArray[np.float64]
    high_s: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    """What the source of travel times answered (`engine.eta.source.EtaOutcome`); nothing where it was not asked."""
    priced: NDArray[np.float64]
    """Minutes, with these times."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """The booking as the kernel read it."""

    numbers: NDArray[np.float32]
    need: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Who was ranked in the end, cheapest first."""

    row: NDArray[np.int32]
    cost: NDArray[np.float64]
    eta_s: NDArray[np.int32]
    to_ask: NDArray[np.int32]
    """Rows, in the order in which they may be asked."""


@dataclass(frozen=True, slots=True, eq=False)
class DecisionRecord:
    """What one decision was made of and what came of it. Two are the same when their bytes are: `encode`."""

    asked: Asked
    looked_at: int
    """Workers who were weighed."""
    ruled_out: Mapping[str, int]
    """How many of them did not count, by the first rule that applied."""
    term_names: tuple[str, ...]
    rule_names: tuple[str, ...]
    """In the order in which they are given as reasons, 31 at most."""
    share: Mapping[str, object]
    """The booking's part in a plan for several: mode, seat, outcome, who went elsewhere."""
    worker_ids: tuple[UUID, ...]
    """Of `rows`."""
    rows: Rows
    listed: Listed
    query: Query
    ranked: Ranked


_PARTS: Final[dict[str, Any]] = {"rows": Rows, "listed": Listed, "query": Query, "ranked": Ranked}


def arrays_of(record: DecisionRecord) -> dict[str, NDArray[Any]]:
    """Return every array of a record as `part.name`."""
    return {
        f"{part}.{name}": getattr(getattr(record, part), name) for part, kind in _PARTS.items() for name in _names(kind)
    }


def encode(record: DecisionRecord) -> bytes:
    """Return a record's bytes."""
    assert len(record.worker_ids) == len(record.rows.slots)
    head = {
        "version": VERSION,
        "asked": asdict(record.asked),
        "looked_at": record.looked_at,
        "ruled_out": dict(record.ruled_out),
        "terms": record.term_names,
        "rules": record.rule_names,
        "share": dict(record.share),
        "workers": [each.hex for each in record.worker_ids],
    }
    data = pack(head, arrays_of(record))
    assert len(data) <= DECISION_RECORD_BYTES_MAX, "rows and names are bounded"
    return data


def decode(data: bytes) -> DecisionRecord:
    """Return the record that these bytes are.

    Raises:
        RecordError: they are no record, or a byte is not as it was written.
    """
    head, arrays = unpack(data, bytes_max=SQUEEZED_MAX * DECISION_RECORD_BYTES_MAX)
    try:
        if head["version"] != VERSION:
            raise RecordError(f"version {head['version']}, this program reads {VERSION}")
        parts = {
            part: kind(**{name: arrays.pop(f"{part}.{name}") for name in _names(kind)}) for part, kind in _PARTS.items()
        }
        record = DecisionRecord(
            asked=Asked(**head["asked"]),
            looked_at=head["looked_at"],
            ruled_out=head["ruled_out"],
            term_names=tuple(head["terms"]),
            rule_names=tuple(head["rules"]),
            share=head["share"],
            worker_ids=tuple(UUID(each) for each in head["workers"]),
            **parts,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"not a record of this version: {error}") from error
    if arrays or len(record.worker_ids) != len(record.rows.slots):
        raise RecordError("not a record of this version: arrays and workers do not fit")
    return record


def _names(part: Any) -> tuple[str, ...]:  # noqa: ANN401 - a dataclass of arrays
    return tuple(part.__dataclass_fields__)
