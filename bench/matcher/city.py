"""A made-up city for dispatch policies, in virtual time: home-service jobs, workers, streets as straight lines.

One second a step of the baseline, one window a step of ours. Every policy sees the same jobs, the same true durations
and the same refusals: they are drawn before the first step, a refusal by its pair.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.matcher.finishing import OVERDUE_MIN, likely_left_min

KMH: Final = 22.0
DETOUR: Final = 1.3
S_PER_KM: Final = 3600 / KMH * DETOUR
JOB_S: Final = 2_100.0
JOB_SIGMA: Final = 0.6
PATIENCE_S: Final = 600.0
"""Mean; a customer without a promise gives up after an exponential time."""
DRIVE_GUESS_S: Final = 240.0
SIDE_KM_2000: Final = 28.0
"""Side of the city of 2,000 workers; others have the same density."""
HOT_SPOTS: Final = 12
ANSWER_S: Final = 6.0
"""A worker who says no takes this long to do so."""

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_likely_left_min = kernel(likely_left_min)
"""The product's own function, compiled: a city asks it some thousand times a window."""

FUTURE, WAITING, PROMISED, ARRIVED, GONE = range(5)
IDLE, DRIVING, WORKING = range(3)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens, whatever the policy does."""

    workers: int
    hours: float = 3.0
    load: float = 1.0
    finish_cv: float = 0.3
    refusal: float = 0.1
    seed: int = 0
    reserved_stay: bool = True
    """Whether a customer for whom somebody is reserved was told so, and does not give up."""


@dataclass(slots=True)
class City:
    """Jobs and workers; the policy calls `send`, `reserve` and `divert`."""

    scenario: Scenario
    job_xy: Doubles
    asked_s: Doubles
    expected_s: Doubles
    true_s: Doubles
    patience_s: Doubles
    xy: Doubles
    """Where a worker is, or where the present drive began."""
    now_s: float = 0.0
    arrived: int = 0
    driven_km: float = 0.0
    diverted: int = 0
    state: Ints = field(init=False)
    until_s: Doubles = field(init=False)
    begun_s: Doubles = field(init=False)
    job: Ints = field(init=False)
    next_job: Ints = field(init=False)
    done: Ints = field(init=False)
    job_state: Ints = field(init=False)
    arrival_s: Doubles = field(init=False)
    not_before_s: Doubles = field(init=False)
    diversions: Ints = field(init=False)
    refused: dict[int, list[int]] = field(default_factory=dict)
    """Who said no, by job."""

    def __post_init__(self) -> None:
        """Begin with everybody idle."""
        workers, jobs = len(self.xy), len(self.job_xy)
        self.state = np.zeros(workers, np.int64)
        self.until_s, self.begun_s = np.zeros(workers), np.zeros(workers)
        self.job, self.next_job = np.full(workers, -1), np.full(workers, -1)
        self.done = np.zeros(workers, np.int64)
        self.job_state = np.zeros(jobs, np.int64)
        self.arrival_s, self.not_before_s = np.full(jobs, np.inf), np.zeros(jobs)
        self.diversions = np.zeros(jobs, np.int64)

    def advance(self, to_s: float) -> None:
        """Let everything happen until `to_s`."""
        self.now_s = to_s
        while True:
            due = np.flatnonzero((self.state != IDLE) & (self.until_s <= to_s))
            if not len(due):
                break
            for worker in due.tolist():
                self._step(worker)
        came = int(np.searchsorted(self.asked_s, to_s, side="right"))
        self.job_state[self.arrived : came] = WAITING
        self.arrived = came
        impatient = (self.job_state[:came] == WAITING) & (to_s - self.asked_s[:came] > self.patience_s[:came])
        self.job_state[:came][impatient] = GONE
        if not self.scenario.reserved_stay:
            self._lose_reserved()

    def waiting(self) -> Ints:
        """Jobs to give out now, oldest first."""
        come = slice(0, self.arrived)
        return np.flatnonzero((self.job_state[come] == WAITING) & (self.not_before_s[come] <= self.now_s))

    def refuses(self, job: int, worker: int) -> bool:
        """Whether this worker says no to this job; the answer is the same for every policy."""
        mixed = (job * 2_654_435_761 + worker * 40_503 + self.scenario.seed * 97) % 4_294_967_296
        says_no = (mixed * 1_103_515_245 >> 12) % 1_000 < self.scenario.refusal * 1_000
        if says_no:
            self.refused.setdefault(job, []).append(worker)
            self.not_before_s[job] = self.now_s + ANSWER_S
        return says_no

    def send(self, worker: int, job: int, *, at_s: float | None = None) -> None:
        """Let an idle worker set out."""
        start_s = self.now_s if at_s is None else at_s
        self.state[worker], self.job[worker], self.begun_s[worker] = DRIVING, job, start_s
        self.until_s[worker] = start_s + self._km(worker, job) * S_PER_KM
        self.job_state[job] = PROMISED

    def reserve(self, worker: int, job: int) -> None:
        """Let a worker go on to this job from the present one."""
        self.next_job[worker] = job
        self.job_state[job] = PROMISED

    def release(self, worker: int) -> None:
        """Take the reserved job, or the one under way, from a worker."""
        if self.state[worker] == WORKING:
            self.next_job[worker] = -1
            return
        here = self.place(np.array([worker]))[0]
        self.driven_km += float(np.hypot(*(here - self.xy[worker]))) * DETOUR
        self.diverted += 1
        self.diversions[self.job[worker]] += 1
        self.xy[worker] = here
        self.state[worker], self.job[worker] = IDLE, -1

    def place(self, workers: Ints) -> Doubles:
        """Where these workers are; those at work: where they will set out from."""
        here = self.xy[workers].copy()
        driving = self.state[workers] == DRIVING
        on_road = workers[driving]
        share = (self.now_s - self.begun_s[on_road]) / np.maximum(self.until_s[on_road] - self.begun_s[on_road], 1e-6)
        here[driving] += (self.job_xy[self.job[on_road]] - here[driving]) * np.clip(share, 0, 1)[:, None]
        return here

    def left_min(self, workers: Ints) -> tuple[Doubles, Doubles, Doubles]:
        """Return the minutes until these working workers are free as is hoped, their spread, and the likely ones."""
        expected_min = self.expected_s[self.job[workers]] / 60
        gone_min = (self.now_s - self.begun_s[workers]) / 60
        sd_min = self.scenario.finish_cv * expected_min
        return np.maximum(expected_min - gone_min, OVERDUE_MIN), sd_min, likely_of(expected_min, sd_min, gone_min)

    def _lose_reserved(self) -> None:
        """Let customers go who wait for the end of somebody's job and do not know it."""
        holders = np.flatnonzero(self.next_job >= 0)
        jobs = self.next_job[holders]
        impatient = self.now_s - self.asked_s[jobs] > self.patience_s[jobs]
        self.job_state[jobs[impatient]] = GONE
        self.next_job[holders[impatient]] = -1

    def _step(self, worker: int) -> None:
        job, at_s = int(self.job[worker]), float(self.until_s[worker])
        if self.state[worker] == DRIVING:
            self.driven_km += self._km(worker, job) * DETOUR
            self.xy[worker] = self.job_xy[job]
            self.arrival_s[job], self.job_state[job] = at_s, ARRIVED
            self.state[worker], self.begun_s[worker] = WORKING, at_s
            self.until_s[worker] = at_s + self.true_s[job]
            self.done[worker] += 1
            return
        self.state[worker], self.job[worker] = IDLE, -1
        following = int(self.next_job[worker])
        if following >= 0:
            self.next_job[worker] = -1
            self.send(worker, following, at_s=at_s)

    def _km(self, worker: int, job: int) -> float:
        return float(np.hypot(*(self.job_xy[job] - self.xy[worker])))


@kernel
def likely_of(expected_min: Doubles, sd_min: Doubles, gone_min: Doubles) -> Doubles:
    """Return what is likely to be left of each job."""
    left_min = np.empty(len(expected_min))
    for i in range(len(left_min)):
        left_min[i] = _likely_left_min(expected_min[i], sd_min[i], gone_min[i])
    return left_min


def build(scenario: Scenario) -> City:
    """Return the city at its first second."""
    random = np.random.default_rng(scenario.seed)
    side = SIDE_KM_2000 * np.sqrt(scenario.workers / 2_000)
    spots = random.random((HOT_SPOTS, 2)) * side
    jobs = int(scenario.load * scenario.workers / (JOB_S + DRIVE_GUESS_S) * scenario.hours * 3600)
    asked = np.sort(random.random(jobs)) * scenario.hours * 3600
    places = _places(random, spots, side, jobs)
    expected = random.lognormal(np.log(JOB_S) - JOB_SIGMA**2 / 2, JOB_SIGMA, jobs)
    sigma = np.sqrt(np.log1p(scenario.finish_cv**2))
    true = expected * random.lognormal(-(sigma**2) / 2, sigma, jobs)
    patience = random.exponential(PATIENCE_S, jobs)
    homes = _places(random, spots, side, scenario.workers)
    return City(scenario, places, asked, expected, true, patience, homes)


def _places(random: np.random.Generator, spots: Doubles, side: float, count: int) -> Doubles:
    """Half in a dense core, three of ten around the hot spots, the rest anywhere."""
    scale = side / SIDE_KM_2000
    kind = random.random(count)[:, None]
    core = np.column_stack(
        (random.normal(side * 0.4, 1.8 * scale, count), random.normal(side * 0.55, 5 * scale, count))
    )
    spot = spots[random.integers(0, HOT_SPOTS, count)] + random.normal(0, 1.5 * scale, (count, 2))
    anywhere = random.random((count, 2)) * side
    placed: Doubles = np.clip(np.where(kind < 0.5, core, np.where(kind < 0.8, spot, anywhere)), 0, side)  # noqa: PLR2004 - shares
    return placed
