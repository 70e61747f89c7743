"""A trail as a player reads it: pages that join without a seam, steps, gaps, and a record of each look."""

from itertools import chain
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from config.limits import REPLAY_FIXES_MAX, TRAIL_GAP_MS
from tests.integration.api.conftest import Api, Cast, Person
from tests.integration.api.test_trails import asked, audit, begin_ms, walk

__all__ = ["begin_ms"]
STEP_MS = 5_000


def path(worker_id: UUID) -> str:
    return f"/v1/workers/{worker_id}/trail/replay"


async def played(api: Api, dispatcher: Person, worker: Person, query: dict[str, str]) -> list[list[dict[str, Any]]]:
    """Return every page, as a player would ask for them."""
    pages = []
    while True:
        said = await api.get(path(worker.person_id), by=dispatcher, query=query)
        assert said.status == 200, said.body
        pages.append(said.body["items"])
        if said.body["next_cursor"] is None:
            return pages
        query |= {"cursor": said.body["next_cursor"]}


async def test_pages_join_without_a_seam_and_times_count_from_the_beginning(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms + at * STEP_MS for at in range(25)])
    pages = await played(api, dispatcher, worker, asked(begin_ms, limit="10"))
    assert [len(page) for page in pages] == [10, 10, 5]
    fixes = [*chain(*pages)]
    assert [fix["t_ms"] for fix in fixes] == [at * STEP_MS for at in range(25)]
    assert fixes[0] == {
        "t_ms": 0, "lat": 41.15, "lng": -8.61, "accuracy_m": 5.5, "speed_mps": None, "heading_deg": 0.0,
        "is_gap": False,
    }  # fmt: skip
    rows = await audit(pool)
    assert [row["actor_id"] for row in rows] == [dispatcher.person_id] * 3


@pytest.mark.parametrize("limit", [1, 4, 100])
async def test_a_step_shows_the_newest_fix_of_each_however_the_pages_fall(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int, limit: int
) -> None:
    await walk(pool, 0, [begin_ms + at * 1_000 for at in range(30)])
    pages = await played(api, dispatcher, worker, asked(begin_ms, limit=str(limit), step_ms="6000"))
    assert [fix["t_ms"] for fix in chain(*pages)] == [5_000, 11_000, 17_000, 23_000, 29_000]


async def test_a_silence_is_a_gap(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms, begin_ms + 1_000, begin_ms + 1_001 + TRAIL_GAP_MS])
    for limit in ("1", "2", "100"):
        pages = await played(api, dispatcher, worker, asked(begin_ms, limit=limit))
        assert [fix["is_gap"] for fix in chain(*pages)] == [False, False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": "0"},
        {"limit": str(REPLAY_FIXES_MAX + 1)},
        {"step_ms": "0"},
        {"step_ms": "60001"},
        {"cursor": "moonshine"},
        {"reason": ""},
    ],
)
async def test_what_is_asked_wrongly_is_refused_and_nothing_is_shown(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int, wrong: dict[str, str]
) -> None:
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms) | wrong)
    assert (said.status, said.body["code"]) == (422, "invalid_input")
    assert await audit(pool) == []


async def test_another_organisations_worker_does_not_exist(
    api: Api, dispatcher: Person, cast: Cast, begin_ms: int
) -> None:
    del cast
    said = await api.get(path(uuid4()), by=dispatcher, query=asked(begin_ms))
    assert (said.status, said.body["code"]) == (404, "not_found")
