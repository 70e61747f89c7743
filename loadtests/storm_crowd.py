"""`python -m loadtests.storm_crowd`: one process full of workers' phones, told what to do on standard input.

Commands, one a line: `connect`, `cut` (all connections at once, without a close; they come back within a second),
`report`, `stop`. Each is answered by one line of JSON on standard output.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import orjson
import uvloop

from sim.client.backoff import Backoff
from sim.client.clock import wall_ms
from sim.client.rest import Account, Rest, Tokens
from sim.client.wire import FIX_DTYPE, UNKNOWN_U16
from sim.client.worker_socket import WorkerSocket

COME_BACK_S: Final = 1.0
CONNECTED_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.02
FIX_EVERY_S: Final = 10.0


class Phone:
    """One worker on the wire, and when they were last welcomed."""

    def __init__(self, rest: Rest, http: aiohttp.ClientSession, gateway_url: str, *, tokens: Tokens, seed: int) -> None:
        self.rng = random.Random(seed)
        self.welcomed_s: list[float] = []
        self.socket = WorkerSocket(
            http=http,
            gateway_url=gateway_url,
            account=Account(rest, tokens),
            listener=self,
            backoff=Backoff(base_s=0.25, cap_s=COME_BACK_S, rng=self.rng),
            first_seq=wall_ms(),
        )

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        """Remember when."""
        del state
        self.welcomed_s.append(time.time())

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        """Nobody works here."""

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:
        """The socket counts."""

    async def drive(self) -> None:
        """Send a fix now and then, also while there is no connection: it must arrive all the same."""
        record = np.zeros(1, FIX_DTYPE)
        record["accuracy_dm"], record["speed_cm_s"], record["heading_cdeg"] = 50, UNKNOWN_U16, UNKNOWN_U16
        record["lat_e7"], record["lng_e7"] = 411_500_000 + self.rng.randint(0, 100_000), -86_100_000
        await asyncio.sleep(self.rng.uniform(0, FIX_EVERY_S))
        while True:
            await asyncio.sleep(FIX_EVERY_S)
            record["ts_ms"] = wall_ms()
            self.socket.post(record.tobytes())


class Crowd:
    """All phones of this process."""

    def __init__(self, api_url: str, gateway_url: str, tokens: list[Tokens]) -> None:
        self._url = gateway_url
        self._tokens = tokens
        self._phones: list[Phone] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._rest = Rest(self._http, api_url)

    async def do(self, command: str) -> dict[str, Any]:
        """Carry out one command and return its answer."""
        match command:
            case "connect":
                return await self._connect()
            case "cut":
                return await self._cut()
            case "report":
                return self._report()
            case _:
                await self._stop()
                return {}

    async def _connect(self) -> dict[str, Any]:
        self._phones = [
            Phone(self._rest, self._http, self._url, tokens=tokens, seed=number)
            for number, tokens in enumerate(self._tokens)
        ]
        began_s = time.time()
        for phone in self._phones:
            self._tasks += [asyncio.create_task(phone.socket.run()), asyncio.create_task(phone.drive())]
        return await self._when_all_are_in(began_s)

    async def _cut(self) -> dict[str, Any]:
        """End every connection as a dead network does, seen from the server: no close frame."""
        for phone in self._phones:
            phone.welcomed_s.clear()
            phone.socket.cut()
        return await self._when_all_are_in(time.time())

    async def _when_all_are_in(self, began_s: float) -> dict[str, Any]:
        deadline_s = time.time() + CONNECTED_TIMEOUT_S
        while time.time() < deadline_s and not all(phone.welcomed_s for phone in self._phones):  # noqa: ASYNC110 - many events
            await asyncio.sleep(POLL_S)
        return {"welcomed_after_s": [phone.welcomed_s[0] - began_s for phone in self._phones if phone.welcomed_s]}

    def _report(self) -> dict[str, Any]:
        """Return what happened since the last report: who came back when, and what became of every fix so far."""
        counts = [phone.socket.counts for phone in self._phones]
        came_back = [at_s for phone in self._phones for at_s in phone.welcomed_s]
        for phone in self._phones:
            phone.welcomed_s.clear()
        return {
            "connected": sum(phone.socket.connected.is_set() for phone in self._phones),
            "came_back_at_s": came_back,
            "posted": sum(each.fixes_posted for each in counts),
            "acknowledged": sum(each.fixes_acknowledged for each in counts),
            "dropped": sum(each.fixes_dropped for each in counts),
            "resent": sum(each.fixes_resent for each in counts),
            "in_refused_frames": sum(each.fixes_in_refused_frames for each in counts),
            "waiting": sum(not phone.socket.is_settled for phone in self._phones),
            "close_codes": dict(sum((Counter(each.close_codes) for each in counts), Counter[int]())),
            "ended": sum(phone.socket.ended is not None for phone in self._phones),
        }

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()


async def main(api_url: str, gateway_url: str, tokens: list[Tokens]) -> None:
    """Serve commands until `stop`."""
    crowd = Crowd(api_url, gateway_url, tokens)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while (command := (await reader.readline()).decode().strip()) not in {"", "stop"}:
        print(orjson.dumps(await crowd.do(command), option=orjson.OPT_NON_STR_KEYS).decode(), flush=True)
    await crowd.do("stop")


def _read(file: str) -> list[Tokens]:
    return [Tokens(**each) for each in orjson.loads(Path(file).read_bytes())]


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], _read(sys.argv[3])))
