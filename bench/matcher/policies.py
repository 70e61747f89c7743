"""Who is sent: the nearest free worker within a cap, or a window planned by the product's own code."""

from dataclasses import replace
from typing import Final
from uuid import UUID

import numpy as np

from bench.matcher.city import DRIVING, IDLE, S_PER_KM, WAITING, WORKING, City, Doubles, Ints
from engine.core.ids import BookingId, OrgId
from engine.core.jit import kernel
from engine.core.units import MS_PER_MIN, MS_PER_S
from engine.matcher.assignment.kernels import IntArray
from engine.matcher.assignment.window import DEFAULT_RULES, WindowPlan, WindowRules, plan_window
from engine.matcher.assignment.window_seats import Candidates, Seats, Workers
from engine.matcher.cost_policy import CostWeights
from engine.matcher.pressure import Demand, Staff
from engine.matcher.urgency import seats_of

CAP_S: Final = 480.0
"""Nobody is sent whose drive is longer: the service's cap. The honest baseline needs it, see matching figures."""
WEIGHTS: Final = CostWeights(eta_cap_min=CAP_S / 60)
CANDIDATES: Final = 24
ASKS_MAX: Final = 6
"""Plans of one window: after a refusal it is planned again without the pair."""
STEP_MIN_S: Final = 1.0
"""While nothing is collected the city is looked at as often as the baseline looks."""
ORG: Final = OrgId(UUID(int=1))
NOW: Final = 0


def nearest_first(city: City) -> None:
    """Give each waiting job, oldest first, the nearest idle worker within the cap."""
    idle = np.flatnonzero(city.state == IDLE)
    waiting = city.waiting()
    if not len(idle) or not len(waiting):
        return
    apart = city.job_xy[waiting][:, None] - city.xy[idle]
    reachable = np.hypot(apart[..., 0], apart[..., 1]).min(axis=1) * S_PER_KM <= CAP_S
    for job in waiting[reachable].tolist():
        if not len(idle):
            return
        drive_s = np.hypot(*(city.xy[idle] - city.job_xy[job]).T) * S_PER_KM
        for at in np.argsort(drive_s, kind="stable").tolist():
            if drive_s[at] > CAP_S or city.not_before_s[job] > city.now_s:
                break
            worker = int(idle[at])
            if worker in city.refused.get(job, ()) or city.refuses(job, worker):
                continue
            city.send(worker, job)
            idle = np.delete(idle, at)
            break


class Windows:
    """The product's dispatch: how long to collect, and whom to send, decided by its own functions."""

    def __init__(self, rules: WindowRules = DEFAULT_RULES) -> None:
        self._rules = rules
        self._demand = Demand()
        self._told = 0

    def step_s(self, city: City) -> float:
        """Return the seconds to the next plan."""
        for job in range(self._told, city.arrived):
            asked_ms, work_min = round(city.asked_s[job] * MS_PER_S), city.expected_s[job] / 60
            self._demand.came(BookingId(UUID(int=job)), ORG, at_ms=asked_ms, job_min=work_min, now_ms=asked_ms)
        self._told = city.arrived
        staff = Staff(len(city.xy), int((city.state == IDLE).sum()))
        waiting = int((city.job_state == WAITING).sum())
        span_ms = self._demand.window_ms(ORG, staff, waiting=waiting, now_ms=round(city.now_s * MS_PER_S))
        return max(span_ms / MS_PER_S, STEP_MIN_S)

    def plan(self, city: City) -> None:
        """Plan everything that is open with look-ahead and re-matching, ask, and do it."""
        rules, is_short = self._rules, self._demand.is_short(ORG)
        for ask in range(ASKS_MAX):
            last = ask == ASKS_MAX - 1
            jobs = city.waiting()
            if not len(jobs):
                return
            holders = _holders(city, rules, with_held=not last)
            all_jobs = np.concatenate((jobs, _held_jobs(city, holders)))
            seats, workers, candidates, columns = _problem(city, jobs, holders, rules, is_short=is_short)
            plan = plan_window(seats, candidates, workers, now_ms=NOW, rules=rules)
            changed = np.flatnonzero((plan.worker >= 0) & (plan.worker != seats.held_by))
            changes = list(zip(all_jobs[changed].tolist(), columns[plan.worker[changed]].tolist(), strict=True))
            refused = {pair for pair in changes if city.refuses(*pair)}
            if last or not refused:
                _release(city, plan, seats, all_jobs, columns)
                _send(city, [pair for pair in changes if pair not in refused])
                return


def _release(city: City, plan: WindowPlan, seats: Seats, jobs: Ints, columns: Ints) -> None:
    for seat in np.flatnonzero((seats.held_by >= 0) & (plan.worker != seats.held_by)).tolist():
        city.release(int(columns[seats.held_by[seat]]))
        city.job_state[jobs[seat]] = WAITING


def _send(city: City, changes: list[tuple[int, int]]) -> None:
    for job, worker in changes:
        if city.state[worker] == WORKING:
            city.reserve(worker, job)
        else:
            city.send(worker, job)


def _holders(city: City, rules: WindowRules, *, with_held: bool) -> Ints:
    """Return the workers whose promised job may still go to somebody else."""
    recent = city.now_s - city.begun_s <= rules.rematch_within_min * 60
    far = city.until_s - city.now_s > rules.rematch_near_min * 60
    driving = (city.state == DRIVING) & recent & far
    driving[driving] = city.diversions[city.job[driving]] < rules.rematches_max
    if rules.rematches_max == 0:
        driving[:] = False
    reserved = (city.state == WORKING) & (city.next_job >= 0)
    return np.flatnonzero((driving | reserved) & with_held)


def _held_jobs(city: City, holders: Ints) -> Ints:
    return np.where(city.state[holders] == DRIVING, city.job[holders], city.next_job[holders])


def _problem(
    city: City, jobs: Ints, holders: Ints, rules: WindowRules, *, is_short: bool
) -> tuple[Seats, Workers, Candidates, Ints]:
    soon = (city.state == WORKING) & (city.next_job < 0)
    soon[soon] = city.left_min(np.flatnonzero(soon))[0] <= rules.look_ahead_min
    columns = np.concatenate((holders, np.flatnonzero((city.state == IDLE) | soon)))
    working = city.state[columns] == WORKING
    left_min, sd_min, likely_min = np.zeros(len(columns)), np.zeros(len(columns)), np.zeros(len(columns))
    left_min[working], sd_min[working], likely_min[working] = city.left_min(columns[working])
    workers = Workers(_ms(left_min), sd_min, _ms(likely_min))
    wait_min = left_min + rules.finish_margin_sd * sd_min
    held_jobs = _held_jobs(city, holders)
    all_jobs = np.concatenate((jobs, held_jobs))
    waited_min = (city.now_s - city.asked_s[all_jobs]) / 60
    open_now = seats_of([WEIGHTS] * len(all_jobs), waited_min, np.zeros(len(all_jobs)), is_short=is_short)
    seats = _with_holders(city, open_now, holders, held_jobs, wait_min)
    start, worker, drive_min = near_workers(
        city.job_xy[all_jobs],
        city.place(columns),
        wait_min,
        _barred(city, all_jobs, columns),
        CANDIDATES,
        seats.eta_cap_min,
    )
    return seats, workers, Candidates(start, worker, drive_min.copy(), drive_min), columns


def _ms(minutes: Doubles) -> Ints:
    return (minutes * MS_PER_MIN).astype(np.int64)


def _barred(city: City, jobs: Ints, columns: Ints) -> Ints:
    """Return the refused pairs as rows of (seat, column), by seat."""
    column = np.full(len(city.xy), -1)
    column[columns] = np.arange(len(columns))
    pairs = [
        (seat, int(column[worker]))
        for seat, job in enumerate(jobs.tolist())
        for worker in city.refused.get(job, ())
        if column[worker] >= 0
    ]
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)


def _with_holders(city: City, seats: Seats, holders: Ints, held_jobs: Ints, wait_min: Doubles) -> Seats:
    """Return the seats, the last of which are held by the workers of the first columns."""
    fresh, held = len(seats.job) - len(holders), len(holders)
    drive_min = np.hypot(*(city.job_xy[held_jobs] - city.place(holders)).T) * S_PER_KM / 60
    return replace(
        seats,
        held_by=np.concatenate((np.full(fresh, -1), np.arange(held))).astype(np.int32),
        held_arrival_min=np.concatenate((np.zeros(fresh), drive_min + wait_min[:held])),
        set_out_at_ms=np.concatenate((np.full(fresh, -1), np.where(city.state[holders] == DRIVING, 0, -1))),
        rematches=np.concatenate((np.zeros(fresh), city.diversions[held_jobs])).astype(np.int32),
    )


@kernel
def near_workers(
    to: Doubles, at: Doubles, wait_min: Doubles, barred: Ints, most: int, arrive_min: Doubles
) -> tuple[IntArray, IntArray, Doubles]:
    """Return the `most` workers who arrive first at each job, within the cap and `arrive_min`: start, worker, drive."""
    start = np.zeros(len(to) + 1, np.int32)
    worker, drive = np.empty(len(to) * most, np.int32), np.empty(len(to) * most)
    best, who = np.empty(most), np.empty(most, np.int32)
    reach_km2 = (CAP_S / S_PER_KM) ** 2
    end = 0
    for i in range(len(to)):
        found = 0
        for w in range(len(at)):
            east_km, north_km = at[w, 0] - to[i, 0], at[w, 1] - to[i, 1]
            km2 = east_km * east_km + north_km * north_km
            if km2 > reach_km2:
                continue
            there = np.sqrt(km2) * S_PER_KM / 60 + wait_min[w]
            if there > arrive_min[i] or (found == most and there >= best[most - 1]) or _is_barred(barred, i, w):
                continue
            found = _insert(best, who, found, there, w)
        worker[end : end + found] = who[:found]
        drive[end : end + found] = best[:found] - wait_min[who[:found]]
        end += found
        start[i + 1] = end
    return start, worker[:end].copy(), drive[:end].copy()


@kernel
def _is_barred(barred: Ints, seat: int, column: int) -> bool:
    """Search the sorted pairs."""
    low, high = 0, len(barred)
    while low < high:
        middle = (low + high) // 2
        is_before = barred[middle, 0] < seat or (barred[middle, 0] == seat and barred[middle, 1] < column)
        low, high = (middle + 1, high) if is_before else (low, middle)
    return bool(low < len(barred) and barred[low, 0] == seat and barred[low, 1] == column)


@kernel
def _insert(best: Doubles, who: IntArray, found: int, there: float, worker: int) -> int:
    """Put a worker in their place among the best; return how many there are now."""
    place = found if found < len(best) else len(best) - 1
    while place > 0 and best[place - 1] > there:
        best[place], who[place] = best[place - 1], who[place - 1]
        place -= 1
    best[place], who[place] = there, worker
    return min(found + 1, len(best))
