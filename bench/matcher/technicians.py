"""Technicians (Pillac 2013): skills, tools, spare parts, time windows, and half of the requests come during the day.

A plan is a list of visits for each technician; a visit is fixed when its technician must set out for it, which is as
late as the window allows. Greedy puts one request after the other where it costs the least drive. The window puts all
that are known in at once, round by round, each round an exact assignment of requests to technicians; a request that
finds no place may push one out that finds another.

The files hold no windows and no service times: these are Solomon's of the same name where that file is at hand, else
the whole day and Solomon's service time of the class.
"""

import gzip
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import numpy as np

from engine.matcher.assignment.sparse import CostRows, assign

DAY: Final = {"C": (1_236.0, 90.0), "R": (230.0, 10.0)}
"""Solomon's horizon and service time of the classes."""
NOT_SERVED: Final = 10_000.0
FIRST_CUSTOMER: Final = 25
"""Node 26 is Solomon's customer 1."""
SLACK: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Request:
    """A visit that somebody wants. Parts count one each."""

    number: int
    xy: tuple[float, float]
    opens: float
    closes: float
    service: float
    skill: int
    tools: frozenset[int]
    parts: Counter[int]
    released: float


@dataclass(slots=True)
class Technician:
    """Who can go, and what was fixed and planned so far."""

    home: tuple[float, float]
    skills: frozenset[int]
    tools: frozenset[int]
    parts: Counter[int]
    horizon: float
    fixed: list[tuple[Request, float, float]] = field(default_factory=list)
    """Visits with the times of setting out and of arrival."""
    planned: list[Request] = field(default_factory=list)

    def fits(self, request: Request) -> bool:
        """Whether skill and tools are there."""
        return request.skill in self.skills and request.tools <= self.tools

    def length(self, plan: Sequence[Request], now: float) -> float:
        """Return the drive of this plan and home; infinity when it breaks a window, the day's end or the stock."""
        spare = Counter(self.parts)
        for each in (*(visit for visit, *_ in self.fixed), *plan):
            spare.subtract(each.parts)
        if min(spare.values(), default=0) < 0:
            return math.inf
        at, free = self.position()
        at_time, driven = max(free, now), 0.0
        for each in plan:
            drive = math.dist(at, each.xy)
            arrival = max(at_time + drive, each.opens)
            if arrival > each.closes + SLACK:
                return math.inf
            at, at_time, driven = each.xy, arrival + each.service, driven + drive
        home = math.dist(at, self.home)
        return driven + home if at_time + home <= self.horizon + SLACK else math.inf

    def position(self) -> tuple[tuple[float, float], float]:
        """Return where and when the technician is free of what is fixed."""
        if not self.fixed:
            return self.home, 0.0
        last, _, arrival = self.fixed[-1]
        return last.xy, arrival + last.service

    def fix_until(self, now: float, later: float) -> None:
        """Fix every visit for which this technician must set out before `later`; the plan was made at `now`."""
        while self.planned:
            first = self.planned[0]
            at, free = self.position()
            drive = math.dist(at, first.xy)
            leaves = max(free, now, first.opens - drive)
            if leaves >= later:
                return
            self.fixed.append((first, leaves, leaves + drive))
            del self.planned[0]

    def best_place(self, request: Request, now: float) -> tuple[float, int]:
        """Return what the request adds to the drive at its best place in the plan, and that place."""
        if not self.fits(request):
            return math.inf, 0
        before = self.length(self.planned, now)
        places = range(len(self.planned) + 1)
        added = [self.length((*self.planned[:at], request, *self.planned[at:]), now) - before for at in places]
        best = min(places, key=added.__getitem__)
        return added[best], best


Planner = Callable[[list[Technician], list[Request], float], list[Request]]
"""Puts open requests into the plans and returns those that found no place."""


def run_day(team: list[Technician], requests: Sequence[Request], planner: Planner) -> int:
    """Let the day pass; return how many were served. A request is shown to the planner when it is released."""
    times = sorted({each.released for each in requests})
    waiting: list[Request] = []
    for now, later in zip(times, [*times[1:], math.inf], strict=True):
        waiting = [each for each in waiting if each.closes >= now]
        waiting = planner(team, [*waiting, *(each for each in requests if each.released == now)], now)
        for technician in team:
            technician.fix_until(now, later)
    return sum(len(technician.fixed) for technician in team)


def greedy(team: list[Technician], requests: list[Request], now: float) -> list[Request]:
    """Put each request in turn where it adds the least drive."""
    left = []
    for request in requests:
        cost, place, at = min((*technician.best_place(request, now), i) for i, technician in enumerate(team))
        if math.isinf(cost):
            left.append(request)
        else:
            team[at].planned.insert(place, request)
    return left


def window(team: list[Technician], requests: list[Request], now: float) -> list[Request]:
    """Put all in together, round by round; then let those without a place push others to new ones."""
    left = _rounds(team, requests, now)
    return [request for request in left if not _push_in(team, request, now)]


def _rounds(team: list[Technician], requests: list[Request], now: float) -> list[Request]:
    left = list(requests)
    while left:
        places = [[technician.best_place(request, now) for technician in team] for request in left]
        cost = np.array([[added for added, _ in row] for row in places])
        count = len(left)
        start = np.arange(0, cost.size + 1, len(team), dtype=np.int32)
        worker = np.tile(np.arange(len(team), dtype=np.int32), count)
        chosen = assign(CostRows(start, worker, cost.ravel(), np.full(count, NOT_SERVED), len(team))).worker
        if (chosen < 0).all():
            return left
        for i in np.flatnonzero(chosen >= 0):
            team[chosen[i]].planned.insert(places[i][chosen[i]][1], left[i])
        left = [each for each, technician in zip(left, chosen, strict=True) if technician < 0]
    return []


def _push_in(team: list[Technician], request: Request, now: float) -> bool:
    for technician in team:
        for out in list(technician.planned) if technician.fits(request) else ():
            before = list(technician.planned)
            technician.planned.remove(out)
            cost, place = technician.best_place(request, now)
            if math.isfinite(cost):
                technician.planned.insert(place, request)
                if not greedy(team, [out], now):
                    return True
            technician.planned = before
    return False


def violations(team: Sequence[Technician]) -> list[str]:
    """Return every rule that what was fixed breaks, checked visit by visit from the start."""
    found = []
    for technician in team:
        spare, at, free = Counter(technician.parts), technician.home, 0.0
        for request, leaves, arrival in technician.fixed:
            spare.subtract(request.parts)
            begun = max(arrival, request.opens)
            broken = {
                "skill": request.skill not in technician.skills,
                "tools": not request.tools <= technician.tools,
                "parts": min(spare.values(), default=0) < 0,
                "used before its release": leaves < request.released,
                "two places at once": leaves < free - SLACK or arrival < leaves + math.dist(at, request.xy) - SLACK,
                "window": begun > request.closes + SLACK,
            }
            found += [f"request {request.number}: {rule}" for rule, is_broken in broken.items() if is_broken]
            at, free = request.xy, begun + request.service
        if free + math.dist(at, technician.home) > technician.horizon + SLACK:
            found.append("home after the day's end")
    numbers = Counter(request.number for technician in team for request, *_ in technician.fixed)
    return found + [f"request {number}: twice" for number, times in numbers.items() if times > 1]


def read_team(path: Path) -> list[Technician]:
    """Return the technicians of an instance. A resource with a start is a part, one with only a most a tool."""
    root, places = _tree(path)
    skills = {
        profile.findtext("compatible_vehicle_type"): frozenset(int(each.attrib["id"]) for each in profile.iter("skill"))
        for profile in root.iter("driver_profile")
    }
    team = []
    for vehicle in root.iter("vehicle_profile"):
        stock = {int(each.attrib["id"]): each.findtext("start") for each in vehicle.iter("resource")}
        parts = Counter({number: int(float(start)) for number, start in stock.items() if start})
        tools = frozenset(number for number, start in stock.items() if not start)
        home = places[int(vehicle.findtext("departure_node", ""))]
        team.append(Technician(home, skills[vehicle.attrib["type"]], tools, parts, DAY[path.name[0]][0]))
    return team


def read_requests(path: Path, solomon: Path | None) -> list[Request]:
    """Return the requests of an instance with the release dates beside it and the windows of a Solomon file."""
    root, places = _tree(path)
    released = _numbers(path.with_name(path.name.split(".")[0] + "_release_50.txt"), width=2)
    windows = _numbers(solomon, width=7) if solomon else {}
    horizon, service = DAY[path.name[0]]
    tools = {number for technician in read_team(path) for number in technician.tools}
    found = []
    for each in root.iter("request"):
        node = int(each.attrib["node"])
        needs = Counter({int(r.attrib["id"]): int(float(r.text or 0)) for r in each.iter("resource")})
        *_, opens, closes, takes = windows.get(node - FIRST_CUSTOMER, (0.0, horizon, service))
        parts = Counter({number: count for number, count in needs.items() if number not in tools})
        need = frozenset(needs).intersection(tools)
        skill = int(each.findtext("skill", ""))
        when = max(released.get(node, (0.0,))[0], 0.0)
        found.append(Request(node, places[node], opens, closes, takes, skill, need, parts, when))
    return found


def _tree(path: Path) -> tuple[ET.Element, dict[int, tuple[float, float]]]:
    with gzip.open(path) as file:
        root = ET.parse(file).getroot()  # noqa: S314 - a file of ours, no stranger's
    places = {
        int(node.attrib["id"]): (float(node.findtext("cx", "")), float(node.findtext("cy", "")))
        for node in root.iter("node")
    }
    return root, places


def _numbers(path: Path, *, width: int) -> dict[int, tuple[float, ...]]:
    """Return the rows of `width` numbers, by their first."""
    rows = [line.split() for line in path.read_text().splitlines()]
    numbers = [row for row in rows if len(row) == width and all(_is_number(word) for word in row)]
    return {int(row[0]): tuple(map(float, row[1:])) for row in numbers}


def _is_number(word: str) -> bool:
    return word.removeprefix("-").replace(".", "", 1).isdigit()
