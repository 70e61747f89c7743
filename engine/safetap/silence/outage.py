"""Whether many phones fell silent at once: then it is our gateway, a store or a network, and nobody's alarm. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from config.limits import OUTAGE_PHONES_MIN, OUTAGE_SILENT_MS
from engine.core.ids import RegionId

SILENT_SHARE_TO_BEGIN: Final = 0.8
SILENT_SHARE_TO_END: Final = 0.5
"""Lower, so that an outage that lets some phones through does not flicker."""
GAPS_OF_SILENCE: Final = 4.0
"""A phone is silent after so many of its own mean gaps, and not before `limits.OUTAGE_SILENT_MS`."""


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone that is expected to be heard. Unix milliseconds; `gap_ms`: its own mean gap."""

    region_id: RegionId
    heard_ms: int
    gap_ms: float

    def is_silent(self, now_ms: int) -> bool:
        """Return whether it has said nothing for longer than such a phone does."""
        return now_ms - self.heard_ms > max(OUTAGE_SILENT_MS, GAPS_OF_SILENCE * self.gap_ms)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many of a place's phones are silent, and since when (Unix ms)."""

    phones: int
    silent: int
    began_ms: int


def judge(
    phones: Iterable[Phone], now_ms: int, *, already: frozenset[RegionId | None]
) -> Mapping[RegionId | None, Verdict]:
    """Return the places with an outage: regions, or `None` for the whole installation, which then stands for all.

    Few phones never make an outage. `already` names those that have one: it ends at a lower share.
    """
    by_place: dict[RegionId | None, list[Phone]] = defaultdict(list)
    for phone in phones:
        by_place[None].append(phone)
        by_place[phone.region_id].append(phone)
    found = {}
    for place, those in by_place.items():
        silent = [phone.heard_ms for phone in those if phone.is_silent(now_ms)]
        share = SILENT_SHARE_TO_END if place in already else SILENT_SHARE_TO_BEGIN
        if len(those) >= OUTAGE_PHONES_MIN and len(silent) >= share * len(those):
            found[place] = Verdict(len(those), len(silent), int(median(silent)))
    return {None: found[None]} if None in found else found
