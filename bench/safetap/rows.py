"""The rows: how late an alarm is acknowledged, shown and acted on, and whether any was lost or doubled.

Who runs where: the gateway shares one core with those who flood it, so that it never gets what it asks for; so does the
naive process, which takes alarms in the flooded gateway's place. SafeTap's door, Postgres, Redis and the phones that
call share the other core. On a machine with more cores each of them would have one; with two, this is the worst place
for an alarm that is still a place of its own, and the phones' own work counts against us.
"""

import asyncio
import base64
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import aiohttp
import orjson
import psycopg

from bench.escalation import escalation_rows
from bench.report import Row, less_is_better, more_is_better
from bench.safetap.alarms import Calls, call
from bench.safetap.naive import naive_delays
from bench.safetap.processes import called_in_between, door, flooded, forging
from bench.stream.product import Product, product
from bench.stream.rig import Rig

WORKERS: Final = 2_200
IDLE_PER_S: Final = 40
SATURATED_PER_S: Final = 100
IDLE_PEOPLE: Final = 200
SATURATED_PEOPLE: Final = 1_280
"""Each alarm of somebody new opens an incident and sets its ladder going: the dear ones come first."""
CROWD_PER_S: Final = 260
CROWD_S: Final = 10.0
"""As much as the core that the door shares with Postgres takes at all: half of these alarms are of somebody new."""
CALLERS: Final = 20
"""Workers who flood their own sockets; nobody else's calls are theirs."""
DOWN_PER_S: Final = 100
FORGED_PER_S: Final = 5_000
FORGERS: Final = 5_600
"""Connections; each sends by the clock, whatever it has heard."""
VERIFIED_PER_S: Final = 40
NOWHERE: Final = "postgresql://nobody@127.0.0.1:1/nothing"
WAIT_S_MAX: Final = 15.0
SEEN_S_MAX: Final = 3.0
"""How long a desk is watched for what it has not seen yet."""
Say = Callable[[str], None]
TARGET: Final = "the target"
MEANT: Final = "what the forger is to send"
NAIVE: Final = "the flooded process itself"

LATENESS_MS: Final = """
SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY late)
  FROM (SELECT extract(epoch FROM min(s.at) - min(t.at)) * 1000 AS late
          FROM incident_event t JOIN incident_event s USING (incident_id)
         WHERE t.kind = 'triggered' AND s.kind = 'step' GROUP BY incident_id) every
"""
THERE: Final = "SELECT count(*), count(DISTINCT trigger_id) FROM safetap_trigger WHERE trigger_id = ANY(%s)"


@dataclass(slots=True)
class Seen:
    """What became of every run of calls. Delays in milliseconds, 99th percentiles."""

    idle: Calls
    saturated: Calls
    shown_ms: float
    crowd: Calls
    crowd_shown_ms: float
    own: Calls
    late_ms: float
    beside: Calls
    forged_sent: float
    """A second."""
    forged_answered: float
    """A second."""
    down: Calls = field(default_factory=Calls)
    noticed_ms: float = 0

    @property
    def every(self) -> tuple[Calls, ...]:
        """All the runs."""
        return self.idle, self.saturated, self.crowd, self.own, self.beside, self.down


def safetap_rows(rig: Rig, *, triggers: int, timers: int, say: Say) -> Iterator[Row]:
    """Yield what phones and desks meet: idle, beside a drowning gateway, forged at, without Postgres.

    What waits for its gate, whether each alarm is there in the end, is told to `say` as soon as it is measured.
    """
    with tempfile.TemporaryDirectory(prefix="clenzy-bench-") as folder, product(rig, workers=WORKERS) as under_test:
        naive = naive_delays(rig, under_test, under_test.worker_tokens[:IDLE_PEOPLE])
        say(_told("in the flooded gateway's place", naive))
        seen = _beside_the_gateway(rig, under_test, Path(folder), triggers, say)
        with _without_postgres(under_test) as lonely, door(lonely, rig.client_cpu, name="lonely") as port:
            people = _of_the_crowd(lonely)
            seen.down, seen.noticed_ms = asyncio.run(
                _called_and_seen(port, lonely, people, per_s=DOWN_PER_S, seconds=rig.seconds / 2)
            )
            say(f"{_told('Postgres away', seen.down)}, seen {seen.noticed_ms:.0f} ms")
        with door(under_test, rig.client_cpu):
            gates = {id(calls): _is_settled(under_test, calls.kept) for calls in seen.every}
            rows_found, found = _settled(under_test, kept := {one for calls in seen.every for one in calls.kept})
    yield from _delay_rows(seen, naive, gates)
    yield less_is_better(
        f"alarms lost of {len(kept):,} acknowledged", len(kept) - found, 0, anchor_name=TARGET, unit="", most=0,
        gate=found == len(kept),
    )  # fmt: skip
    yield less_is_better(
        "alarms that are there twice", rows_found - found, 0, anchor_name=TARGET, unit="", most=0,
        gate=rows_found == found,
    )  # fmt: skip
    yield from escalation_rows(timers=timers)


def _told(what: str, calls: Calls) -> str:
    return (
        f"{what}: p50 {calls.percentile(50):.1f}, p99 {calls.percentile(99):.1f}, longest {calls.max_ms:.1f} ms,"
        f" {dict(calls.states)}, load {os.getloadavg()[0]:.1f}"
    )


def _beside_the_gateway(rig: Rig, under_test: Product, folder: Path, triggers: int, say: Say) -> "Seen":
    """Run what needs the gateway: an idle one, a drowning one, and forgers beside it."""
    tokens = under_test.worker_tokens
    with door(under_test, rig.client_cpu, name="safetap") as port:
        idle = asyncio.run(call(port, tokens[:IDLE_PEOPLE], per_s=IDLE_PER_S, seconds=rig.seconds))
        say(_told("idle", idle))
        seconds = triggers / SATURATED_PER_S
        people = tokens[IDLE_PEOPLE : IDLE_PEOPLE + SATURATED_PEOPLE]
        with flooded(
            rig, under_test.port, tokens, from_ms=under_test.fix_now_ms(), folder=folder,
            seconds=seconds + CROWD_S + rig.seconds + 60,
        ):  # fmt: skip
            saturated, shown_ms = asyncio.run(
                _called_and_seen(port, under_test, people, per_s=SATURATED_PER_S, seconds=seconds)
            )
            say(f"{_told('gateway at 100 % CPU', saturated)}, seen {shown_ms:.1f} ms")
            late_ms = _lateness_ms(under_test)
            crowd, crowd_shown_ms = asyncio.run(
                _called_and_seen(port, under_test, _of_the_crowd(under_test), per_s=CROWD_PER_S, seconds=CROWD_S)
            )
            say(f"{_told('and a crowd', crowd)}, seen {crowd_shown_ms:.1f} ms")
            own = called_in_between(rig, under_test, tokens[-CALLERS:], folder=folder)
            say(_told("own socket", own))
        with forging(rig, port, per_s=FORGED_PER_S, connections=FORGERS, seconds=rig.seconds) as forged:
            beside = asyncio.run(call(port, tokens[:IDLE_PEOPLE], per_s=VERIFIED_PER_S, seconds=rig.seconds))
        say(f"{_told('beside forgers', beside)}, sent and answered {forged}")
    return Seen(idle, saturated, shown_ms, crowd, crowd_shown_ms, own, late_ms, beside, forged[0], forged[1])


def _of_the_crowd(under_test: Product) -> Sequence[str]:
    return under_test.worker_tokens[IDLE_PEOPLE + SATURATED_PEOPLE : -CALLERS]


def _delay_rows(seen: "Seen", naive: Calls, gates: dict[int, bool]) -> list[Row]:
    def row(name: str, ours_ms: float, most: float | None, calls: Calls) -> Row:
        is_right = gates[id(calls)] and not (+calls.states).keys() - {"committed", "spooled"}
        return less_is_better(
            name, ours_ms, naive.percentile(99), anchor_name=NAIVE, unit="ms", most=most, gate=is_right
        )

    saturated, crowd, own, beside, down = seen.saturated, seen.crowd, seen.own, seen.beside, seen.down
    crowded = f"a crowd of {CROWD_PER_S} a second besides"
    return [
        row("alarm -> durable, idle, p99", seen.idle.percentile(99), 15, seen.idle),
        row("alarm -> durable, gateway at 100 % CPU, p99", saturated.percentile(99), 50, saturated),
        row(f"the same, longest of {len(saturated.sent):,}", saturated.max_ms, 250, saturated),
        row("alarm -> first console, gateway at 100 % CPU, p99", seen.shown_ms, 100, saturated),
        row(f"{crowded}: durable, p99", crowd.percentile(99), None, crowd),
        row(f"{crowded}: longest of {len(crowd.sent):,}", crowd.max_ms, 250, crowd),
        row(f"{crowded}: first console, p99", seen.crowd_shown_ms, None, crowd),
        row("through the flooded worker's own socket, p99", own.percentile(99), 250, own),
        row(f"verified beside {FORGED_PER_S:,}/s forged, p99", beside.percentile(99), 100, beside),
        more_is_better("forged alarms sent a second", seen.forged_sent, FORGED_PER_S, anchor_name=MEANT, unit="1/s"),
        more_is_better(
            "forged alarms answered a second", seen.forged_answered, FORGED_PER_S, anchor_name=MEANT, unit="1/s"
        ),
        row("Postgres away: acknowledged, p99", down.percentile(99), 300, down),
        row("Postgres away: shown at the desk, p99", seen.noticed_ms, 2_000, down),
        row("lateness of the first step, gateway at 100 % CPU, p99", seen.late_ms, 250, saturated),
    ]


async def _called_and_seen(
    port: int, under_test: Product, tokens: Sequence[str], *, per_s: float, seconds: float
) -> tuple[Calls, float]:
    """Call, and watch a desk; return the calls, and the 99th percentile of the first sight of each person in ms."""
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


def _is_settled(under_test: Product, kept: Collection[UUID]) -> bool:
    """Return whether each acknowledged alarm is there, and once."""
    return _settled(under_test, kept) == (len(kept), len(kept))


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
