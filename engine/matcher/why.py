"""Why this worker: a decision's record in words and numbers that a person understands. Pure.

Told to the desk. Costs are minutes of drive and what is worth as much; a place of nobody is told, only how far it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import numpy as np

from config.limits import WHY_DIFFERENCES_MAX
from engine.core.units import METRES_PER_DEG, rfc3339, utc_from_ms
from engine.eta.source import EtaOutcome
from engine.eta.straight_line import straight_metres
from engine.matcher.decision_record import DecisionRecord

M_PER_KM: Final = 1_000
DECIMALS: Final = 3
EAST_KM, NORTH_KM = 0, 1
"""The rows of a record's matrix that are a place, from the frame's origin."""
NOWHERE_DEG: Final = 1e-3
"""A place this near to 0/0 is that of somebody whose place is not known."""
S_PER_MIN: Final = 60

NEEDS: Final[Mapping[str, str]] = {
    "zone": "a pin inside the area where the organisation works",
    "skill": "the skill",
    "off_duty": "to be on duty",
    "busy": "to be free: another job or offer was theirs",
    "safety_hold": "no safety hold on them",
    "declined_before": "not to have declined this job, nor let its offer expire",
    "silent": "a phone that was heard of lately",
    "shift": "a planned shift at this time",
    "working_time": "working time left, until the end of the job",
    "blocked": "not to be blocked for this customer",
    "certificate": "a valid certificate that the service needs",
    "tool": "a tool that the service needs",
    "vehicle": "a vehicle that the service needs",
    "too_far": "to be within {radius_km:g} km: no further was looked",
    "eta_cap": "to be there within the longest time that the service allows",
}
"""What would have had to be different, for each rule."""


class RecordState(StrEnum):
    """What there is of a decision besides its row in the log."""

    KEPT = "kept"
    NONE = "none"
    """Nothing was weighed, or it is past its days."""
    DAMAGED = "damaged"
    """Its bytes are not those that were written."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who a worker is to the desk, and what they answered to the offers of this decision."""

    name: str
    answer: str | None = None
    """State of the offer that they got by this decision; `None`: they were not asked."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a decision besides its record."""

    dispatch_id: int
    at_ms: int
    outcome: str
    took_us: int
    detail: Mapping[str, object]
    people: Mapping[UUID, Person] = field(default_factory=dict)
    policy: Mapping[str, object] | None = None
    record_state: RecordState = RecordState.KEPT


def why(told: Told, record: DecisionRecord | None) -> dict[str, object]:
    """Return everything about one decision; without a record only what the dispatch log still says."""
    base: dict[str, object] = {
        "dispatch_id": told.dispatch_id,
        "at": rfc3339(utc_from_ms(told.at_ms)),
        "outcome": told.outcome,
        "took_us": told.took_us,
        "reason": told.detail.get("reason"),
        "searched_m": told.detail.get("searched_m"),
        "asks_again": bool(told.detail.get("asks_again", False)),
        "risk": told.detail.get("risk"),
        "rematch": told.detail.get("rematch"),
        "policy": told.policy or {"label": told.detail.get("policy"), "hash": None, "weights": None},
        "record": told.record_state.value,
    }
    if record is None:
        return base | {
            "looked_at": told.detail.get("looked_at"),
            "ruled_out": told.detail.get("ruled_out", {}),
            "plan": told.detail.get("plan"),
            "ranked": _from_log(told),
            "near_losers": [],
            "also_listed": 0,
        }
    ranked = record.ranked.row.tolist()
    listed = set(record.listed.row.tolist())
    losers = [row for row in range(len(record.rows.slots)) if record.rows.rules[row] and row not in ranked]
    losers.sort(key=lambda row: float(record.rows.unruled[row]))
    distances_m = _distances_m(record)
    return base | {
        "looked_at": record.looked_at,
        "ruled_out": dict(record.ruled_out),
        "plan": told.detail.get("plan") or dict(record.share),
        "ranked": [_ranked(told, record, place, distances_m) for place in range(len(ranked))],
        "near_losers": [_loser(told, record, row, distances_m) for row in losers],
        "also_listed": len(listed.difference(ranked, losers)),
    }


def logged_candidates(detail: Mapping[str, object]) -> list[dict[str, Any]]:
    """Return whom the dispatch log names as candidates, cheapest first."""
    found = detail.get("candidates", [])
    assert isinstance(found, list)
    return found


def _from_log(told: Told) -> list[dict[str, object]]:
    """Return what the dispatch log says of those who were ranked, where there is no record."""
    ranked: list[dict[str, object]] = []
    candidates = logged_candidates(told.detail)
    for place, each in enumerate(candidates):
        more_min = each["cost"] - candidates[0]["cost"]
        person = told.people.get(UUID(each["worker_id"]))
        ranked.append(
            {
                "worker_id": each["worker_id"],
                "slot": each.get("slot"),
                "name": None if person is None else person.name,
                "answer": None if person is None else person.answer,
                "distance_m": None,
                "terms": each["terms"],
                "place": place + 1,
                "cost_min": each["cost"],
                "more_min": round(more_min, DECIMALS),
                "eta_s": each["eta_s"],
                "eta_by": each.get("eta_by", EtaOutcome.STRAIGHT_LINE.name.lower()),
                "against_first": {},
                "needed": None if place == 0 else f"to cost {more_min:.2f} min less",
            }
        )
    return ranked


def _ranked(told: Told, record: DecisionRecord, place: int, distances_m: list[int | None]) -> dict[str, object]:
    row, cost = int(record.ranked.row[place]), float(record.ranked.cost[place])
    more_min = cost - float(record.ranked.cost[0])
    terms, first = _terms(record, row), _terms(record, int(record.ranked.row[0]))
    against = {name: round(terms[name] - first[name], DECIMALS) for name in terms if terms[name] > first[name]}
    dearest = sorted(against, key=lambda name: -against[name])[:WHY_DIFFERENCES_MAX]
    return _worker(told, record, row, distances_m) | {
        "place": place + 1,
        "cost_min": round(cost, DECIMALS),
        "more_min": round(more_min, DECIMALS),
        "eta_s": int(record.ranked.eta_s[place]),
        "eta_by": _eta_by(record, row),
        "against_first": {name: against[name] for name in dearest},
        "needed": None if place == 0 else f"to cost {more_min:.2f} min less",
    }


def _loser(told: Told, record: DecisionRecord, row: int, distances_m: list[int | None]) -> dict[str, object]:
    broken = [name for i, name in enumerate(record.rule_names) if int(record.rows.rules[row]) >> i & 1]
    unruled = float(record.rows.unruled[row])
    cheaper = int(np.count_nonzero(record.ranked.cost <= unruled))
    is_placed = distances_m[row] is not None
    return _worker(told, record, row, distances_m) | {
        "rules": list(dict.fromkeys(broken)),
        "cost_min": round(unruled, DECIMALS) if is_placed else None,
        "eta_s": round(_terms(record, row)["eta"] * S_PER_MIN) if is_placed else None,
        "place_without_rules": cheaper + 1 if is_placed else None,
        "needed": "; ".join(
            NEEDS.get(name, name).format(radius_km=record.asked.radius_m / M_PER_KM) for name in dict.fromkeys(broken)
        ),
    }


def _worker(told: Told, record: DecisionRecord, row: int, distances_m: list[int | None]) -> dict[str, object]:
    worker_id = record.worker_ids[row]
    person = told.people.get(worker_id)
    return {
        "worker_id": str(worker_id),
        "slot": int(record.rows.slots[row]),
        "name": None if person is None else person.name,
        "answer": None if person is None else person.answer,
        "distance_m": distances_m[row],
        "terms": {name: round(minutes, DECIMALS) for name, minutes in _terms(record, row).items()},
    }


def _terms(record: DecisionRecord, row: int) -> dict[str, float]:
    """Return a worker's terms, the drive as the source of travel times had it where it was asked."""
    terms = dict(zip(record.term_names, record.rows.terms[:, row].astype(float).tolist(), strict=True))
    at = np.flatnonzero(record.listed.row == row)
    if len(at):
        priced, straight = float(record.listed.priced[at[0]]), float(record.listed.cost[at[0]])
        terms["eta"] += priced - straight
    return terms


def _eta_by(record: DecisionRecord, row: int) -> str:
    outcomes = record.listed.outcome
    if not len(outcomes):
        return EtaOutcome.STRAIGHT_LINE.name.lower()
    return EtaOutcome(int(outcomes[record.listed.row == row][0])).name.lower()


def _distances_m(record: DecisionRecord) -> list[int | None]:
    """Return how far each was; `None` for whom no place was known."""
    asked, km_per_deg = record.asked, METRES_PER_DEG / M_PER_KM
    east, north = (record.rows.matrix[at].astype(np.float64) / km_per_deg for at in (EAST_KM, NORTH_KM))
    lat_deg, lng_deg = asked.origin_lat_deg + north, asked.origin_lng_deg + east
    far = straight_metres(lat_deg, lng_deg, asked.lat_deg, asked.lng_deg)
    return [
        None if max(abs(lat), abs(lng)) < NOWHERE_DEG else round(metres)
        for lat, lng, metres in zip(lat_deg.tolist(), lng_deg.tolist(), far.tolist(), strict=True)
    ]
