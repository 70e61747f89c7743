"""Who is near: the mirror against GEOSEARCH, each answer checked by brute force; idle and while positions stream in."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.fleet import E7, Fleet
from bench.geo_follow import TICK_S, Followed, Load, follow
from bench.geo_updates import KEY, geoadd
from bench.report import Row, less_is_better, more_is_better
from bench.resp import BareConnection, packed
from engine.geo.mirror import Mirror

K: Final = 20
RADIUS_M: Final = 3_000
RECALL_MIN: Final = 0.999
SAME_M: Final = 0.001
"""A worker this much further than the last of the true ones is as good: at a taxi stand many are equally far."""
PINGS_PER_S: Final = 10_000
LOAD_S: Final = 8.0
LOAD_SHARE: Final = 0.3
"""Queries come at this share of what the anchor bears: beyond it there would only be a queue to see."""
GEOSEARCH: Final = f"GEOSEARCH {RADIUS_M // 1000} km ASC COUNT {K}, no client library"
TILE38_PER_S: Final = 2_072
TILE38: Final = "Tile38 NEARBY, quoted: 2,072/s on 2 such cores, not run"
MOVE_BATCH: Final = 500
MOVES_PER_S: Final = 1_800_000
_SPIN_S: Final = 0.001
_EARTH_M: Final = 6_371_008.8

Place = tuple[float, float]
Ask = Callable[[Place], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Truth:
    """By brute force: how many are near a place, and how far the last of them is."""

    count: int
    farthest_m: float
    distances_m: NDArray[np.float64]


def truth(fleet: Fleet, place: Place) -> Truth:
    """Return the truth about a place in the last round: every distance, by the haversine."""
    lats, lngs = np.radians(fleet.lats_e7[-1] / E7), np.radians(fleet.lngs_e7[-1] / E7)
    lat, lng = math.radians(place[0]), math.radians(place[1])
    share = np.sin((lats - lat) / 2) ** 2 + math.cos(lat) * np.cos(lats) * np.sin((lngs - lng) / 2) ** 2
    distances_m = 2 * _EARTH_M * np.arcsin(np.sqrt(share))
    nearest_m = np.sort(distances_m[distances_m <= RADIUS_M])[:K]
    return Truth(len(nearest_m), float(nearest_m[-1]) if len(nearest_m) else 0.0, distances_m)


def recall(truths: Sequence[Truth], answers: Sequence[Sequence[int]]) -> float:
    """Return the share of the true neighbours that the answers hold, each worker counted once."""
    found = sum(
        sum(1 for slot in {*answer} if each.distances_m[slot] <= each.farthest_m + SAME_M)
        for each, answer in zip(truths, answers, strict=True)
    )
    return found / sum(each.count for each in truths)


def query_rows(url: str, fleet: Fleet, mirror: Mirror, random: np.random.Generator) -> list[Row]:
    """Return the rows of queries. Mirror and Redis hold the fleet's last round."""
    places = fleet.asked_from(200, random)
    truths = [truth(fleet, place) for place in places]
    with BareConnection(url) as bare:

        def ask(place: Place) -> Sequence[int]:
            near = mirror.nearest(*place, k=K, radius_m=RADIUS_M)
            return near.slots[: near.found]  # type: ignore[return-value] # an array is one in all that is asked here

        def search(place: Place) -> Sequence[int]:
            return bare.ask(_geosearch(place))  # type: ignore[no-any-return]

        ours, our_answers = _timed(ask, places, repeat=51)
        anchor, anchor_answers = _timed(search, places, repeat=3)
        our_recall = recall(truths, our_answers)
        anchor_recall = recall(truths, [[int(slot) for slot in answer] for answer in anchor_answers])
        asked = fleet.asked_from(max(1, round(LOAD_S * LOAD_SHARE * anchor)), random)
        anchor_ms = _under_load(search, lambda at: _add(bare, fleet, at), fleet.workers, asked)
    followed = follow(url, fleet, Load(PINGS_PER_S, LOAD_S, asked, K, RADIUS_M))
    return [
        *_rates(ours, anchor, our_recall, anchor_recall),
        _batch_row(mirror, places, our_answers),
        _move_row(fleet),
        *_latencies(followed, anchor_ms, LOAD_SHARE * anchor),
    ]


def _rates(ours: float, anchor: float, our_recall: float, anchor_recall: float) -> list[Row]:
    is_right, name, unit = our_recall >= RECALL_MIN, f"nearest {K} of a mirror in process", "queries/s"
    return [
        more_is_better(name, ours, anchor, anchor_name=GEOSEARCH, unit=unit, ratio_min=100, gate=is_right),
        more_is_better(name, ours, TILE38_PER_S, anchor_name=TILE38, unit=unit, ratio_min=30, gate=is_right),
        more_is_better(
            "recall against brute force", our_recall, anchor_recall, anchor_name=GEOSEARCH, unit="", gate=is_right
        ),
    ]


def _batch_row(mirror: Mirror, places: Sequence[Place], answers: Sequence[Sequence[int]]) -> Row:
    """Return the row of questions asked together; the answers are those of asking one by one."""
    together, rates = np.array(places), []
    many = mirror.nearest_many(together, k=K, radius_m=RADIUS_M)
    for _ in range(51):
        start = time.perf_counter()
        mirror.nearest_many(together, k=K, radius_m=RADIUS_M)
        rates.append(len(places) / (time.perf_counter() - start))
    is_same = all(list(answer) == many.slots[at, : many.found[at]].tolist() for at, answer in enumerate(answers))
    name = f"the same, {len(places)} questions a call"
    return more_is_better(name, median(rates), TILE38_PER_S, anchor_name=TILE38, unit="queries/s", gate=is_same)


def _move_row(fleet: Fleet) -> Row:
    """Return the row of moves that a mirror takes over, a batch of the index at a time, without H3."""
    mirror, every, rates = Mirror(), np.arange(fleet.workers), []
    records = fleet.records(0, every, has_cells=False)
    for number in range(fleet.rounds):
        records = fleet.records(number, every, has_cells=False)
        for at in range(0, fleet.workers, MOVE_BATCH):
            start = time.perf_counter()
            mirror.moved(every[at : at + MOVE_BATCH], records[at : at + MOVE_BATCH])
            if number:
                rates.append(len(every[at : at + MOVE_BATCH]) / (time.perf_counter() - start))
    places = mirror.places(every)
    is_right = all(np.array_equal(places[name], records[name]) for name in ("ts_ms", "lat_e7", "lng_e7"))
    return more_is_better(
        f"moves into a mirror, {MOVE_BATCH} a batch, without H3",
        median(rates),
        MOVES_PER_S,
        anchor_name="the first version, quoted: 1.8M/s with H3, not run",
        unit="pings/s",
        ratio_min=1,
        gate=is_right,
    )


def _latencies(followed: Followed, anchor_ms: NDArray[np.float64], queries_per_s: float) -> list[Row]:
    name = f"nearest {K} while {PINGS_PER_S:,} pings/s come in by the feed"
    return [
        less_is_better(
            f"{name}, p{percent}",
            *(float(np.percentile(ms, percent)) for ms in (followed.taken_ms, anchor_ms)),
            anchor_name=f"GEOSEARCH beside GEOADD, {queries_per_s:.0f} queries/s",
            unit="ms",
            gate=followed.is_equal,
        )
        for percent in (50, 99)
    ]


def _geosearch(place: Place) -> bytes:
    lat_deg, lng_deg = place
    center = ("FROMLONLAT", lng_deg, lat_deg, "BYRADIUS", RADIUS_M, "m")
    return packed("GEOSEARCH", KEY, *center, "ASC", "COUNT", K)


def _timed(ask: Ask, places: Sequence[Place], *, repeat: int) -> tuple[float, list[Sequence[int]]]:
    """Return queries/s, of the median turn through all places, and the answers."""
    answers = [ask(place) for place in places]
    rates = []
    for _ in range(repeat):
        start = time.perf_counter()
        for place in places:
            ask(place)
        rates.append(len(places) / (time.perf_counter() - start))
    return median(rates), answers


def _under_load(
    ask: Ask, bring: Callable[[NDArray[np.int64]], object], workers: int, places: Sequence[Place]
) -> NDArray[np.float64]:
    """Return how long (ms) each query took from the moment it was due, with a batch of pings every tick.

    Everything has its turn in one thread, as on a process's event loop: a query waits for the batch before it.
    """
    batch = round(PINGS_PER_S * TICK_S)
    ticks = np.arange(0, LOAD_S, TICK_S)
    queries = np.random.default_rng(1).uniform(0, LOAD_S, len(places))
    due = sorted([*((at, False, n) for n, at in enumerate(ticks)), *((at, True, n) for n, at in enumerate(queries))])
    taken_ms = []
    start = time.perf_counter()
    for at, is_query, number in due:
        _wait_until(start + at)
        if is_query:
            ask(places[number])
            taken_ms.append((time.perf_counter() - start - at) * 1000)
        else:
            bring((np.arange(batch) + number * batch) % workers)
    return np.array(taken_ms)


def _wait_until(at: float) -> None:
    """Sleep, but not to the end: how late a sleeper wakes is not what is measured."""
    time.sleep(max(0.0, at - time.perf_counter() - _SPIN_S))
    while time.perf_counter() < at:
        pass


def _add(bare: BareConnection, fleet: Fleet, slots: NDArray[np.int64]) -> None:
    bare.ask(packed("GEOADD", KEY, *geoadd(fleet, fleet.rounds - 1, slots)))
