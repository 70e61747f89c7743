"""How likely a worker says yes, from the answers to earlier offers. Pure.

A worker's share of yes is shrunk to their organisation's by an empirical-Bayes prior: a few answers say little. A no,
or silence, to a job that was flagged (a hold, a high risk) says nothing about who gave it and is not counted; a yes is.
So a flag can only ever help: whoever is careful loses nothing by it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from engine.core.ids import PersonId

PRIOR_ANSWERS_MIN: Final = 10.0
PRIOR_ANSWERS_MAX: Final = 200.0
"""What the prior weighs in answers, between these bounds; how much, the spread between workers tells."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How often a worker answered so to offers of this kind."""

    org_id: UUID
    worker_id: PersonId
    said_yes: bool
    is_flagged: bool
    count: int


def acceptance_gaps(answers: Iterable[Answers]) -> dict[PersonId, float]:
    """Return by how much each worker's likelihood of a yes lies below their organisation's mean; 0 for who is above."""
    of_org: dict[UUID, dict[PersonId, tuple[int, int]]] = {}
    for each in answers:
        if each.is_flagged and not each.said_yes:
            continue
        workers = of_org.setdefault(each.org_id, {})
        yes, n = workers.get(each.worker_id, (0, 0))
        workers[each.worker_id] = yes + each.count * each.said_yes, n + each.count
    gaps: dict[PersonId, float] = {}
    for workers in of_org.values():
        mean, weight = _prior(workers)
        gaps |= {who: max(0.0, mean - (yes + weight * mean) / (n + weight)) for who, (yes, n) in workers.items()}
    return gaps


def _prior(workers: Mapping[PersonId, tuple[int, int]]) -> tuple[float, float]:
    """Return mean and weight in answers of the Beta prior, by the method of moments (weights n)."""
    total = sum(n for _, n in workers.values())
    mean = sum(yes for yes, _ in workers.values()) / total
    chance = mean * (1 - mean)
    spread = sum(n * (yes / n - mean) ** 2 for yes, n in workers.values()) / total
    by_chance = chance * len(workers) / total
    between = spread - by_chance
    if between <= 0:
        return mean, PRIOR_ANSWERS_MAX
    return mean, min(PRIOR_ANSWERS_MAX, max(PRIOR_ANSWERS_MIN, chance / between - 1))
