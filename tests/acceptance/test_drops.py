"""Forced drops, killed gateways and relays, a Redis that comes back empty: every durable event once, in order.

`make drops` is the long run of the same program.
"""

import asyncpg
import pytest

from tests.acceptance.drops.history import Entry, History, Kind, check
from tests.acceptance.drops.run import Plan, describe, run
from tests.conftest import TokenKeys

OUTBOX = {"user:a": [(2, 10), (5, 11), (6, 12)]}
SNAPSHOT, RECOVERED, EVENT = Kind.SNAPSHOT, Kind.RECOVERED, Kind.EVENT


def history(*entries: Entry) -> History:
    return History("a", "user:a", list(entries))


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(SNAPSHOT, 0), Entry(EVENT, 2, 10), Entry(EVENT, 5, 11), Entry(EVENT, 6, 12)],
        [Entry(SNAPSHOT, 0), Entry(EVENT, 2, 10), Entry(SNAPSHOT, 6)],
        [Entry(SNAPSHOT, 3), Entry(EVENT, 5, 11), Entry(EVENT, 6, 12), Entry(RECOVERED, 9)],
    ],
)
def test_the_checker_accepts_what_is_whole_or_says_that_it_is_not(entries: list[Entry]) -> None:
    assert check([history(*entries)], OUTBOX).faults == []


@pytest.mark.parametrize(
    ("entries", "lost", "doubled", "wrong"),
    [
        ([Entry(SNAPSHOT, 0), Entry(EVENT, 2, 10), Entry(EVENT, 6, 12)], 1, 0, 0),
        ([Entry(SNAPSHOT, 0), Entry(EVENT, 2, 10), Entry(RECOVERED, 6)], 2, 0, 0),
        ([Entry(SNAPSHOT, 2), Entry(EVENT, 5, 11)], 1, 0, 0),
        ([Entry(SNAPSHOT, 2), Entry(EVENT, 5, 11), Entry(EVENT, 5, 11), Entry(EVENT, 6, 12)], 0, 1, 0),
        ([Entry(SNAPSHOT, 2), Entry(EVENT, 5, 12), Entry(EVENT, 6, 12)], 0, 0, 1),
        ([Entry(EVENT, 6, 12)], 0, 0, 1),
        ([], 1, 0, 0),
    ],
)
def test_the_checker_finds_each_kind_of_fault(entries: list[Entry], lost: int, doubled: int, wrong: int) -> None:
    verdict = check([history(*entries)], OUTBOX)
    assert (len(verdict.lost), len(verdict.doubled), len(verdict.wrong)) == (lost, doubled, wrong)


@pytest.mark.acceptance
@pytest.mark.timeout(180)
async def test_no_drop_costs_or_doubles_an_event(
    pool: asyncpg.Pool, database_url: str, token_keys: TokenKeys, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = Plan(
        drops=300,
        clients=40,
        mean_life_s=0.4,
        events_per_s=60,
        gateway_kills=1,
        relay_kills=1,
        redis_restarts=1,
        seed=20,
        seconds_max=40,
    )
    outcome = await run(plan, pool, database_url, token_keys, tmp_path_factory.mktemp("drops"))
    figures = describe(outcome)
    assert outcome.verdict.faults == [], figures
    assert outcome.drops >= plan.drops
    assert outcome.verdict.recoveries > plan.drops // 4, figures
    assert outcome.verdict.events > 100, figures
