"""Who is sent: the nearest free worker within a cap, or a window planned by the product's own code."""

from typing import Final

import numpy as np

from bench.matcher.city import DRIVE_GUESS_S, DRIVING, IDLE, JOB_S, S_PER_KM, WAITING, WORKING, City, Doubles, Ints
from engine.core.jit import kernel
from engine.matcher.assignment.kernels import IntArray
from engine.matcher.assignment.mode import Pressure, window_ms
from engine.matcher.assignment.window import DEFAULT_RULES, WindowPlan, WindowRules, plan_window
from engine.matcher.assignment.window_seats import Candidates, Seats, Workers

CAP_S: Final = 480.0
"""Nobody is sent who would arrive later than this from now: the honest baseline needs it, see matching figures."""
PROMISE_S: Final = 480.0
"""Nobody is promised who would arrive later than this from now, the wait for the end of a job included."""
CANDIDATES: Final = 24
ASKS_MAX: Final = 6
"""Plans of one window: after a refusal it is planned again without the pair."""
LOAD_WINDOW_S: Final = 900.0
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
            if (job, worker) in city.refused or city.refuses(job, worker):
                continue
            city.send(worker, job)
            idle = np.delete(idle, at)
            break


def window_of(city: City) -> float:
    """Return the seconds to the next plan, by the product's own rule."""
    recent = city.asked_s[: city.arrived] > city.now_s - LOAD_WINDOW_S
    minutes = min(city.now_s, LOAD_WINDOW_S) / 60
    pressure = Pressure(
        bookings_per_min=float(recent.sum()) / max(minutes, 1.0),
        job_min=(JOB_S + DRIVE_GUESS_S) / 60,
        workers=len(city.xy),
        waiting=int((city.job_state == WAITING).sum()),
        free=int((city.state == IDLE).sum()),
    )
    return max(window_ms(pressure, now_in_window_mode=True) / 1_000, 1.0)


def window(city: City, rules: WindowRules = DEFAULT_RULES) -> None:
    """Plan everything that is open with look-ahead and re-matching, ask, and do it."""
    for ask in range(ASKS_MAX):
        last = ask == ASKS_MAX - 1
        jobs = city.waiting()
        holders = _holders(city, rules, with_held=not last)
        if not len(jobs):
            return
        all_jobs = np.concatenate((jobs, _held_jobs(city, holders)))
        seats, workers, candidates, columns = _problem(city, jobs, holders, rules)
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


def _problem(city: City, jobs: Ints, holders: Ints, rules: WindowRules) -> tuple[Seats, Workers, Candidates, Ints]:
    soon = (city.state == WORKING) & (city.next_job < 0)
    soon[soon] = city.expected_left_min(np.flatnonzero(soon))[0] <= rules.look_ahead_min
    columns = np.concatenate((holders, np.flatnonzero((city.state == IDLE) | soon)))
    working = city.state[columns] == WORKING
    left_min, sd_min = np.zeros(len(columns)), np.zeros(len(columns))
    left_min[working], sd_min[working] = city.expected_left_min(columns[working])
    workers = Workers((left_min * 60_000).astype(np.int64), sd_min)
    wait_min = left_min + rules.finish_margin_sd * sd_min
    all_jobs = np.concatenate((jobs, _held_jobs(city, holders)))
    to = city.job_xy[all_jobs]
    barred = _barred(city, all_jobs, columns)
    start, worker, drive_min = near_workers(to, city.place(columns), wait_min, barred, CANDIDATES, PROMISE_S / 60)
    candidates = Candidates(start, worker, drive_min.copy(), drive_min)
    return _seats(city, jobs, holders, wait_min), workers, candidates, columns


def _barred(city: City, jobs: Ints, columns: Ints) -> Ints:
    """Return the refused pairs as rows of (seat, column), by seat."""
    seat = {int(job): at for at, job in enumerate(jobs)}
    column = {int(worker): at for at, worker in enumerate(columns)}
    pairs = sorted((seat[j], column[w]) for j, w in city.refused if j in seat and w in column)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _seats(city: City, jobs: Ints, holders: Ints, wait_min: Doubles) -> Seats:
    fresh, held = len(jobs), len(holders)
    held_jobs = _held_jobs(city, holders)
    driving = city.state[holders] == DRIVING
    drive_min = np.hypot(*(city.job_xy[held_jobs] - city.place(holders)).T) * S_PER_KM / 60
    return Seats(
        job=np.arange(fresh + held, dtype=np.int32),
        unassigned_min=np.full(fresh + held, PROMISE_S / 60),
        eta_cap_min=np.full(fresh + held, PROMISE_S / 60),
        pinned=np.full(fresh + held, -1, np.int32),
        held_by=np.concatenate((np.full(fresh, -1), np.arange(held))).astype(np.int32),
        held_arrival_min=np.concatenate((np.zeros(fresh), drive_min + wait_min[:held])),
        set_out_at_ms=np.concatenate((np.full(fresh, -1), np.where(driving, 0, -1))),
        rematches=np.concatenate((np.zeros(fresh), city.diversions[held_jobs])).astype(np.int32),
    )


@kernel
def near_workers(
    to: Doubles, at: Doubles, wait_min: Doubles, barred: Ints, most: int, promise_min: float
) -> tuple[IntArray, IntArray, Doubles]:
    """Return the `most` workers who arrive first at each job, within the cap: start, worker, drive."""
    start = np.zeros(len(to) + 1, np.int32)
    worker, drive = np.empty(len(to) * most, np.int32), np.empty(len(to) * most)
    best = np.empty(most)
    skip, end = 0, 0
    for i in range(len(to)):
        found = 0
        for w in range(len(at)):
            drive_min = np.hypot(at[w, 0] - to[i, 0], at[w, 1] - to[i, 1]) * S_PER_KM / 60
            there = drive_min + wait_min[w]
            while skip < len(barred) and (barred[skip, 0] < i or (barred[skip, 0] == i and barred[skip, 1] < w)):
                skip += 1
            is_barred = skip < len(barred) and barred[skip, 0] == i and barred[skip, 1] == w
            if (
                drive_min * 60 > CAP_S
                or there > promise_min
                or is_barred
                or (found == most and there >= best[most - 1])
            ):
                continue
            place = found if found < most else most - 1
            found = min(found + 1, most)
            while place > 0 and best[place - 1] > there:
                best[place] = best[place - 1]
                worker[end + place] = worker[end + place - 1]
                place -= 1
            best[place] = there
            worker[end + place] = w
        for place in range(found):
            drive[end + place] = best[place] - wait_min[worker[end + place]]
        end += found
        start[i + 1] = end
    return start, worker[:end].copy(), drive[:end].copy()
