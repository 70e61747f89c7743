"""Phones that call for help by the clock, whatever became of the call before: delays count from when a call was due."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import aiohttp
import numpy as np
import orjson

PATH = "/v1/safetap"
HUNG_S = 10.0


@dataclass(slots=True)
class Calls:
    """What became of a run of calls."""

    delays_ms: list[float] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    sent: dict[UUID, float] = field(default_factory=dict)
    """Trigger id -> when it was due, `time.perf_counter`."""
    kept: set[UUID] = field(default_factory=set)
    """What was acknowledged as `committed` or `spooled`."""

    def percentile(self, percent: float) -> float:
        """Return a delay in milliseconds."""
        return float(np.percentile(self.delays_ms, percent)) if self.delays_ms else HUNG_S * 1e3

    @property
    def max_ms(self) -> float:
        """The longest."""
        return max(self.delays_ms, default=HUNG_S * 1e3)


async def call(port: int, tokens: Sequence[str], *, per_s: float, seconds: float) -> Calls:
    """Call `per_s` times a second, each time the next person."""
    calls = Calls()
    timeout = aiohttp.ClientTimeout(total=HUNG_S)
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout, connector=connector) as client:
        start = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(per_s * seconds)):
                due = start + number / per_s
                if (early_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early_s)
                tasks.create_task(_one(client, tokens[number % len(tokens)], due, calls))
    return calls


async def _one(client: aiohttp.ClientSession, token: str, due: float, calls: Calls) -> None:
    trigger_id = uuid4()
    calls.sent[trigger_id] = due
    body = orjson.dumps({"trigger_id": trigger_id, "kind": "button"})
    headers = {"Authorization": f"Bearer {token}"}
    state = "lost"
    try:
        async with client.post(PATH, data=body, headers=headers) as answer:
            state = (await answer.json(content_type=None)).get("state", str(answer.status))
    except (aiohttp.ClientError, TimeoutError):
        pass
    calls.delays_ms.append((time.perf_counter() - due) * 1e3)
    calls.states[state] += 1
    if state in {"committed", "spooled"}:
        calls.kept.add(trigger_id)
