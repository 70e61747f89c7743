"""What is usual: how long such jobs take and how often such phones report, learned from few or many of them. Pure.

Durations of one kind are taken as log-normal. What is known of their logarithms is a Normal-Inverse-Gamma belief that
starts from a prior and moves with what was seen: thin data stay near the prior, much data forget it.
Source: Murphy, Conjugate Bayesian analysis of the Gaussian distribution (2007), section 3; the prior's centre for one
service is what all services of the organisation taught, shrunk by the same rule (empirical Bayes).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from config.limits import USUAL_RATIO_MAX


@dataclass(frozen=True, slots=True)
class Seen:
    """Logarithms that were seen: how many, their mean, and the sum of squares around it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, logarithms: Iterable[float]) -> "Seen":
        """Return the summary of some logarithms."""
        values = [*logarithms]
        if not values:
            return NOTHING
        mean = math.fsum(values) / len(values)
        return cls(len(values), mean, math.fsum((value - mean) ** 2 for value in values))

    def and_also(self, other: "Seen") -> "Seen":
        """Return the summary of both together."""
        count = self.count + other.count
        if not count:
            return NOTHING
        apart = other.mean - self.mean
        mean = self.mean + apart * other.count / count
        return Seen(count, mean, self.squares + other.squares + apart**2 * self.count * other.count / count)


NOTHING: Final = Seen()


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of a kind of duration: the centre of its logarithm, and how wide it spreads.

    `weight` and `shape` count in observations: how many new ones it takes to outweigh the centre and the spread.
    """

    centre: float
    weight: float
    shape: float
    scale: float

    def after(self, seen: Seen) -> "Belief":
        """Return the belief once `seen` is known."""
        weight = self.weight + seen.count
        apart = seen.mean - self.centre
        return Belief(
            centre=(self.weight * self.centre + seen.count * seen.mean) / weight,
            weight=weight,
            shape=self.shape + seen.count / 2,
            scale=self.scale + seen.squares / 2 + self.weight * seen.count * apart**2 / (2 * weight),
        )

    @property
    def median(self) -> float:
        """The duration that half of them exceed."""
        return math.exp(self.centre)

    def rarely_exceeded(self, deviations: float) -> float:
        """Return the duration so many standard deviations out, of the next one's prediction.

        The prediction is a Student-t; it is taken as a normal of the same variance, which `shape` > 1 lets exist.
        """
        variance = self.scale * (self.weight + 1) / (self.weight * (self.shape - 1))
        return math.exp(self.centre + deviations * math.sqrt(variance))


def prior(typical: float, *, weight: float, spread: float) -> Belief:
    """Return what is believed before anything was seen: about `typical`, as sure as `weight` observations make.

    `spread` is the standard deviation of the logarithm: 0.4 lets two of three lie within a factor of 1.5.
    """
    shape = 1 + weight / 2
    return Belief(math.log(typical), weight, shape, spread**2 * (shape - 1))


JOB_RATIO: Final = prior(1.0, weight=8, spread=0.4)
"""Of a job's duration against the planned one, before the organisation has a history."""
SERVICE_WEIGHT: Final = 8.0
"""How many jobs of a service outweigh what the organisation's other services teach."""
JOB_DEVIATIONS: Final = 3.0
"""One job in about 700 takes longer than is asked after, if it is like the others."""
GAP_S: Final = prior(10.0, weight=20, spread=0.8)
"""Of the seconds between two reports of a phone."""
GAP_DEVIATIONS: Final = 5.0


def job_ratio(of_service: Seen, of_org: Seen) -> Belief:
    """Return how long jobs of a service take against their plan: its own history, leaning on the organisation's.

    Both summaries are of logarithms of ratios, each held within `limits.USUAL_RATIO_MAX`; `of_org` has all services.
    """
    shared = JOB_RATIO.after(of_org)
    shape = 1 + SERVICE_WEIGHT / 2
    spread = shared.scale / (shared.shape - 1)
    return Belief(shared.centre, SERVICE_WEIGHT, shape, spread * (shape - 1)).after(of_service)


def log_ratio(actual_s: float, planned_s: float) -> float:
    """Return the logarithm of how much longer than planned something took, held within sane bounds."""
    ratio = max(actual_s, 1.0) / planned_s
    return math.log(min(USUAL_RATIO_MAX, max(1 / USUAL_RATIO_MAX, ratio)))


@dataclass(frozen=True, slots=True)
class Reporting:
    """How often a phone reports, and after how long without a report it is silent. Seconds."""

    usual_s: float
    silent_after_s: int


def reporting(gaps: Seen, *, least_s: int) -> Reporting:
    """Return what a phone's own gaps (logarithms of seconds) say; nobody is silent before `least_s`."""
    belief = GAP_S.after(gaps)
    after_s = max(float(least_s), belief.rarely_exceeded(GAP_DEVIATIONS))
    return Reporting(belief.median, min(4 * least_s, math.ceil(after_s)))
