"""Dispatch quality in virtual time: what the customers and workers of a whole city get from a policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np

from bench.matcher.city import ARRIVED, City, Scenario, build
from bench.matcher.policies import Windows, nearest_first
from bench.report import Row, less_is_better, more_is_better
from engine.matcher.assignment.window import DEFAULT_RULES, WindowRules

LOADS: Final = (0.8, 1.0, 1.15)
ON_TIME_S: Final = 900.0
WARM_S: Final = 1_800.0
TAIL_S: Final = 2_400.0
"""Jobs of the first and last part are driven but not counted."""
RIVAL: Final = "nearest-first, 8 min cap, same seeds"
EMPTY_RATIO: Final = {0.8: 0.93, 1.0: 0.80, 1.15: 0.65}
"""Empty km a job against capped nearest-first."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What came of it. Minutes, percent, km."""

    wait_mean_min: float
    wait_median_min: float
    wait_p90_min: float
    on_time_pct: float
    """Reached within 15 minutes, of all who asked."""
    served_pct: float
    empty_km: float
    """Driven without earning, for each job done."""
    gini: float
    """Of jobs a worker: 0 when all do the same."""


def drive(scenario: Scenario, policy: Callable[[City], None], step: Callable[[City], float]) -> Quality:
    """Run a policy through the scenario."""
    city = build(scenario)
    end_s = scenario.hours * 3600
    while city.now_s < end_s:
        city.advance(city.now_s + step(city))
        policy(city)
    return measure(city)


def measure(city: City) -> Quality:
    """Return the figures of the jobs asked for in the middle of the run."""
    end_s = city.scenario.hours * 3600
    counted = (city.asked_s > WARM_S) & (city.asked_s < end_s - TAIL_S)
    wait_s = (city.arrival_s - city.asked_s)[counted]
    served = wait_s[np.isfinite(wait_s)] / 60
    return Quality(
        wait_mean_min=float(served.mean()),
        wait_median_min=float(np.median(served)),
        wait_p90_min=float(np.quantile(served, 0.9)),
        on_time_pct=float((wait_s <= ON_TIME_S).mean() * 100),
        served_pct=float(np.isfinite(wait_s).mean() * 100),
        empty_km=city.driven_km / max(int((city.job_state == ARRIVED).sum()), 1),
        gini=gini(city.done.astype(np.float64)),
    )


def gini(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the Gini coefficient; 0 for nothing at all."""
    ordered = np.sort(values)
    count = len(ordered)
    total = ordered.sum()
    return float((2 * np.arange(1, count + 1) - count - 1) @ ordered / (count * total)) if total else 0.0


def days(load: float, *, workers: int, hours: float, seeds: Sequence[int]) -> list[Scenario]:
    """Return a day for each seed."""
    return [Scenario(workers=workers, hours=hours, load=load, seed=seed) for seed in seeds]


def planned(scenario: Scenario, rules: WindowRules = DEFAULT_RULES) -> Quality:
    """Return what came of a day under the product's plans."""
    windows = Windows(rules)
    return drive(scenario, windows.plan, windows.step_s)


def as_shipped(scenario: Scenario) -> Quality:
    """Return the same without what the matcher does not do as shipped: nobody is exchanged, no customer is told."""
    return planned(replace(scenario, reserved_stay=False), replace(DEFAULT_RULES, rematches_max=0))


def nearest(scenario: Scenario) -> Quality:
    """Return what came of a day under capped nearest-first."""
    return drive(scenario, nearest_first, lambda _: 1.0)


def quality_rows(*, workers: int, hours: float, seeds: Sequence[int]) -> list[Row]:
    """Return the rows of dispatch quality at each load."""
    rows = []
    for load in LOADS:
        scenarios = days(load, workers=workers, hours=hours, seeds=seeds)
        theirs = mean_of([nearest(each) for each in scenarios])
        rows += _rows(load, mean_of([planned(each) for each in scenarios]), theirs)
        rows += _shipped_rows(load, mean_of([as_shipped(each) for each in scenarios]), theirs)
    return rows


def mean_of(every: Sequence[Quality]) -> Quality:
    """Return the means over several days."""
    return Quality(*(float(np.mean([getattr(each, f.name) for each in every])) for f in fields(Quality)))


def _rows(load: float, ours: Quality, theirs: Quality) -> list[Row]:
    name, at = RIVAL, f"load {load:g}"
    wait_most = theirs.wait_mean_min * 0.95 if load == 1.0 else None
    on_time_least = {0.8: theirs.on_time_pct - 0.3, 1.15: theirs.on_time_pct + 4.0}.get(load)
    return [
        less_is_better(
            f"{at}: wait, mean", ours.wait_mean_min, theirs.wait_mean_min, anchor_name=name, unit="min", most=wait_most
        ),
        less_is_better(
            f"{at}: wait, median", ours.wait_median_min, theirs.wait_median_min, anchor_name=name, unit="min"
        ),
        less_is_better(f"{at}: wait, p90", ours.wait_p90_min, theirs.wait_p90_min, anchor_name=name, unit="min"),
        more_is_better(
            f"{at}: on time <= 15 min, of all",
            ours.on_time_pct,
            theirs.on_time_pct,
            anchor_name=name,
            unit="%",
            ratio_min=None if on_time_least is None else on_time_least / theirs.on_time_pct,
        ),
        more_is_better(f"{at}: served", ours.served_pct, theirs.served_pct, anchor_name=name, unit="%"),
        less_is_better(
            f"{at}: empty km a job",
            ours.empty_km,
            theirs.empty_km,
            anchor_name=name,
            unit="km",
            most=theirs.empty_km * EMPTY_RATIO[load],
        ),
        less_is_better(f"{at}: Gini of jobs a worker", ours.gini, theirs.gini, anchor_name=name, unit=""),
    ]


def _shipped_rows(load: float, ours: Quality, theirs: Quality) -> list[Row]:
    at = f"load {load:g}, nobody exchanged or told"
    return [
        less_is_better(f"{at}: wait, mean", ours.wait_mean_min, theirs.wait_mean_min, anchor_name=RIVAL, unit="min"),
        more_is_better(f"{at}: on time, of all", ours.on_time_pct, theirs.on_time_pct, anchor_name=RIVAL, unit="%"),
        less_is_better(f"{at}: empty km a job", ours.empty_km, theirs.empty_km, anchor_name=RIVAL, unit="km"),
    ]
