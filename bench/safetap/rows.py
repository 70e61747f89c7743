"""The rows: how late an alarm is acknowledged, shown and acted on, and whether any was lost or doubled."""

import asyncio
import base64
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import aiohttp
import orjson
import psycopg

from bench.report import Row, less_is_better, more_is_better
from bench.safetap.alarms import Calls, call
from bench.safetap.naive import naive_delays
from bench.safetap.processes import door, flooded, forging
from bench.stream.product import Product, product
from bench.stream.rig import Rig

WORKERS: Final = 1_500
IDLE_PER_S: Final = 40
SATURATED_PER_S: Final = 260
SATURATED_TIMES: Final = 2.5
"""As often the length of a measurement: more than 5,000 alarms."""
DOWN_PER_S: Final = 100
FORGED_PER_S: Final = 5_000
FORGERS: Final = 700
VERIFIED_PER_S: Final = 40
NOWHERE: Final = "postgresql://nobody@127.0.0.1:1/nothing"
WAIT_S_MAX: Final = 15.0
SEEN_S_MAX: Final = 3.0
"""How long a desk is watched for what it has not seen yet."""
TARGET: Final = "the target"
NAIVE: Final = "the flooded process itself"

LATENESS_MS: Final = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY late)
  FROM (SELECT extract(epoch FROM min(s.at) - min(t.at)) * 1000 AS late
          FROM incident_event t JOIN incident_event s USING (incident_id)
         WHERE t.kind = 'triggered' AND s.kind = 'step' GROUP BY incident_id) every
"""
THERE: Final = "SELECT count(*), count(DISTINCT trigger_id) FROM safetap_trigger WHERE trigger_id = ANY(%s)"


def safetap_rows(rig: Rig) -> list[Row]:
    """Return what phones and desks meet: idle, beside a drowning gateway, forged at, without Postgres."""
    with tempfile.TemporaryDirectory(prefix="clenzy-bench-") as folder, product(rig, workers=WORKERS) as under_test:
        naive = naive_delays(rig, under_test)
        tokens = under_test.worker_tokens
        with door(under_test, rig.client_cpu) as port:
            idle = asyncio.run(call(port, tokens[:200], per_s=IDLE_PER_S, seconds=rig.seconds))
            with flooded(
                rig, under_test.port, tokens, from_ms=under_test.fix_now_ms(), folder=Path(folder),
                seconds=SATURATED_TIMES * rig.seconds + 30,
            ):  # fmt: skip
                saturated, shown_ms = asyncio.run(_called_and_seen(port, under_test, SATURATED_TIMES * rig.seconds))
            late_ms = _lateness_ms(under_test)
            with forging(rig, port, per_s=FORGED_PER_S, connections=FORGERS, seconds=rig.seconds) as answered:
                beside = asyncio.run(call(port, tokens[:200], per_s=VERIFIED_PER_S, seconds=rig.seconds))
        with _without_postgres(under_test) as lonely, door(lonely, rig.client_cpu, name="lonely") as port:
            down, noticed_ms = asyncio.run(_called_and_seen(port, lonely, rig.seconds / 2, per_s=DOWN_PER_S, first=700))
        kept = idle.kept | saturated.kept | beside.kept | down.kept
        with door(under_test, rig.client_cpu):
            rows_found, found = _settled(under_test, kept)
    return [
        _delay("alarm -> durable, idle, p99", idle.percentile(99), naive, most=15),
        _delay("alarm -> durable, gateway at 100 % CPU, p99", saturated.percentile(99), naive, most=50),
        _delay(f"the same, longest of {len(saturated.sent):,}", saturated.max_ms, naive, most=250),
        _delay("alarm -> first console, gateway at 100 % CPU, p99", shown_ms, naive, most=100),
        _delay(f"verified beside {FORGED_PER_S:,}/s forged, p99", beside.percentile(99), naive, most=100),
        more_is_better("forged alarms answered a second", answered[0], FORGED_PER_S, anchor_name="offered", unit="1/s"),
        _delay("Postgres away: acknowledged, p99", down.percentile(99), naive, most=300),
        _delay("Postgres away: shown at the desk, p99", noticed_ms, naive, most=2_000),
        _delay("lateness of the first step, p99", late_ms, naive, most=250),
        less_is_better(
            f"alarms lost of {len(kept):,} acknowledged", len(kept) - found, 0, anchor_name=TARGET, unit="", most=0,
            gate=found == len(kept),
        ),
        less_is_better(
            "alarms that are there twice", rows_found - found, 0, anchor_name=TARGET, unit="", most=0,
            gate=rows_found == found,
        ),
    ]  # fmt: skip


def _delay(name: str, ours_ms: float, naive: Calls, *, most: float) -> Row:
    return less_is_better(name, ours_ms, naive.percentile(99), anchor_name=NAIVE, unit="ms", most=most)


async def _called_and_seen(
    port: int, under_test: Product, seconds: float, *, per_s: float = SATURATED_PER_S, first: int = 0
) -> tuple[Calls, float]:
    """Call, and watch a desk; return the calls, and the 99th percentile of the first sight of each person in ms."""
    tokens = under_test.worker_tokens[200 + first :]
    seen: dict[str, float] = {}
    async with aiohttp.ClientSession() as client, client.ws_connect(f"http://127.0.0.1:{port}/v1/safetap/live") as desk:
        await desk.send_json({"token": under_test.desk_token})
        await desk.receive(timeout=WAIT_S_MAX)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(desk, seen))
            calls = await call(port, tokens, per_s=per_s, seconds=seconds)
            people: dict[str, float] = {}
            for token, due in zip(_cycle(tokens), calls.sent.values(), strict=False):
                people.setdefault(_person(token), due)
            if people.keys() - seen.keys():
                await asyncio.sleep(SEEN_S_MAX)
            watching.cancel()
    never_s = WAIT_S_MAX
    delays = sorted((seen[person] - due if person in seen else never_s) * 1e3 for person, due in people.items())
    return calls, delays[int(0.99 * (len(delays) - 1))]


async def _watch(desk: aiohttp.ClientWebSocketResponse, seen: dict[str, float]) -> None:
    async for message in desk:
        now = time.perf_counter()
        told = orjson.loads(message.data)
        for incident in [told["incident"]] if told["type"] == "incident" else told.get("incidents", []):
            seen.setdefault(incident["person"]["person_id"], now)


def _cycle(tokens: Sequence[str]) -> Iterator[str]:
    while True:
        yield from tokens


def _person(token: str) -> str:
    claims: dict[str, str] = orjson.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims["sub"]


@contextmanager
def _without_postgres(under_test: Product) -> Iterator[Product]:
    """The same installation's disk, of which no process finds the database."""
    yield Product(
        **{
            **{name: getattr(under_test, name) for name in Product.__slots__},
            "environment": {**under_test.environment, "DATABASE_URL": NOWHERE},
        }
    )


def _settled(under_test: Product, kept: Collection[UUID]) -> tuple[int, int]:
    """Return how many rows the acknowledged alarms have, and how many of them there are, once all of them are there."""
    until = time.perf_counter() + WAIT_S_MAX
    while True:
        with psycopg.connect(under_test.database_url) as connection:
            row = connection.execute(THERE, (list(kept),)).fetchone()
        assert row is not None
        if row[1] == len(kept) or time.perf_counter() > until:
            return int(row[0]), int(row[1])
        time.sleep(0.2)


def _lateness_ms(under_test: Product) -> float:
    with psycopg.connect(under_test.database_url) as connection:
        row = connection.execute(LATENESS_MS).fetchone()
    assert row is not None
    return float(row[0])
