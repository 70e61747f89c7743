"""What a phone sends in a shift of 8 h beside two stock trackers (see `bench.phone_shift`)."""

from collections.abc import Sequence

from bench.phone_shift import RATIO_MAX, measured
from bench.report import Row, less_is_better
from bench.stream.rig import Rig

_AS_FRESH = "as fresh as ours"


def shift_rows(_rig: Rig) -> Sequence[Row]:
    """Return a row for each tracker; the target is for equal freshness, where both know as much."""
    mine, *others = measured()
    return [
        less_is_better(
            "bytes of a phone's shift of 8 h",
            mine.total / 1_000,
            each.total / 1_000,
            anchor_name=each.name,
            unit="kB",
            most=RATIO_MAX * each.total / 1_000 if _AS_FRESH in each.name else None,
        )
        for each in others
    ]
