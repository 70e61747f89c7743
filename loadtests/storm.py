"""`python -m loadtests.storm`: thousands of phones that all connect, lose their connections and are sent away at once.

Runs against a running installation over the public protocol. With `--drain-pid` it also asks that gateway to stop and
measures how its clients leave: nothing may be lost, and the others must not get all of them in one instant.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import numpy as np
import orjson
import typer
from rich.console import Console

from sim.client.rest import Account, Rest, sign_in
from sim.client.roster import Person, Roster, TokenCache

console = Console()

ANSWER_TIMEOUT_S: Final = 90.0
SETTLE_S: Final = 30.0
DRAIN_S: Final = 60.0


def main(  # noqa: PLR0913, PLR0917 - the options of a command
    admin_email: Annotated[str, typer.Option(help="An admin's e-mail: creates the workers of the run.")],
    password_file: Annotated[Path, typer.Option(help="File that holds the admin's password.")],
    api_url: Annotated[str, typer.Option(help="Where the API answers.")] = "http://127.0.0.1:8080",
    clients: Annotated[int, typer.Option(min=1)] = 5_000,
    processes: Annotated[int, typer.Option(min=1, help="Client processes.")] = 4,
    cache: Annotated[Path | None, typer.Option(help="Keeps the workers' tokens for the next run.")] = None,
    drain_pid: Annotated[int | None, typer.Option(help="A gateway on this machine that shall stop.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
) -> None:
    """Let a crowd connect at once, cut all connections, and let them come back; exits 1 when anything was lost."""
    figures = asyncio.run(
        run_storm(
            api_url, (admin_email, password_file.read_text().strip()), clients, processes, cache=cache, pid=drain_pid
        )
    )
    console.print_json(orjson.dumps(figures).decode())
    if report is not None:
        report.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))
    if figures["lost"]:
        raise typer.Exit(1)


async def run_storm(
    api_url: str,
    admin: tuple[str, str],
    clients: int,
    processes: int,
    *,
    cache: Path | None,
    pid: int | None,
) -> dict[str, Any]:
    """Return the figures of one run."""
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, api_url)
        accounts = await _accounts(rest, await sign_in(rest, *admin), clients, cache)
        gateway_url = (await rest.get("/v1/config"))["gateway_url"]
    with tempfile.TemporaryDirectory(prefix="clenzy-storm-") as folder:
        crowds = [
            await _start(api_url, gateway_url, accounts[number::processes], Path(folder) / f"{number}.json")
            for number in range(processes)
        ]
        try:
            figures: dict[str, Any] = {"clients": clients, "connect": await _storm(crowds, "connect", clients)}
            figures["reconnect"] = await _storm(crowds, "cut", clients)
            if pid is not None:
                figures["drain"] = await _drain(crowds, pid, clients)
            return figures | await _account_for_fixes(crowds, clients)
        finally:
            await asyncio.gather(*(_stop(crowd) for crowd in crowds))


async def _accounts(rest: Rest, admin: Account, clients: int, cache: Path | None) -> list[Account]:
    people = [Person(f"storm-{number}", "worker", f"Storm {number}") for number in range(clients)]
    found: dict[str, Account] = {}
    roster = Roster(rest, admin, TokenCache(cache, server=rest.base_url))
    await roster.bring(people, lambda person, account: found.__setitem__(person.external_ref, account))
    return [found[person.external_ref] for person in people]


async def _start(api_url: str, gateway_url: str, accounts: Sequence[Account], file: Path) -> asyncio.subprocess.Process:
    await asyncio.to_thread(file.write_bytes, orjson.dumps([asdict(account.tokens) for account in accounts]))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtests.storm_crowd", api_url, gateway_url, str(file)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )


async def _ask(crowd: asyncio.subprocess.Process, command: str) -> dict[str, Any]:
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    crowd.stdin.write(f"{command}\n".encode())
    answer: dict[str, Any] = orjson.loads(await asyncio.wait_for(crowd.stdout.readline(), ANSWER_TIMEOUT_S))
    return answer


async def _ask_all(crowds: Sequence[asyncio.subprocess.Process], command: str) -> list[dict[str, Any]]:
    return await asyncio.gather(*(_ask(crowd, command) for crowd in crowds))


async def _storm(crowds: Sequence[asyncio.subprocess.Process], command: str, clients: int) -> dict[str, Any]:
    """Return how long it took until the clients were welcomed, and how many never were."""
    answers = await _ask_all(crowds, command)
    after_s = np.array([each for answer in answers for each in answer["welcomed_after_s"]])
    await _ask_all(crowds, "report")
    return {"never": clients - len(after_s), **_percentiles(after_s)}


async def _drain(crowds: Sequence[asyncio.subprocess.Process], pid: int, clients: int) -> dict[str, Any]:
    """Stop one gateway; return how its clients came back elsewhere."""
    began_s = time.time()
    os.kill(pid, signal.SIGTERM)
    came_back: list[float] = []
    deadline_s = began_s + DRAIN_S
    while time.time() < deadline_s:
        await asyncio.sleep(1)
        answers = await _ask_all(crowds, "report")
        came_back += [at_s for answer in answers for at_s in answer["came_back_at_s"]]
        is_calm = not any(answer["came_back_at_s"] for answer in answers)
        if not _is_alive(pid) and is_calm and sum(answer["connected"] for answer in answers) == clients:
            break
    seconds = Counter(int(at_s - began_s) for at_s in came_back)
    return {
        "moved": len(came_back),
        "last_back_after_s": round(max(came_back, default=began_s) - began_s, 2),
        "reconnects_a_second_max": max(seconds.values(), default=0),
        "connected": sum(answer["connected"] for answer in await _ask_all(crowds, "report")),
    }


async def _account_for_fixes(crowds: Sequence[asyncio.subprocess.Process], clients: int) -> dict[str, Any]:
    """Wait until every fix was acknowledged; return what became of them."""
    deadline_s = time.time() + SETTLE_S
    while True:
        answers = await _ask_all(crowds, "report")
        total = {
            key: sum(answer[key] for answer in answers)
            for key in ("connected", "posted", "acknowledged", "dropped", "in_refused_frames", "resent", "ended")
        }
        # They drive on: what is on its way right now is no loss.
        on_its_way = total["posted"] - total["acknowledged"] - total["dropped"] - total["in_refused_frames"]
        if on_its_way <= clients // 10 or time.time() > deadline_s:
            break
        await asyncio.sleep(0.5)
    lost = total["dropped"] + total["ended"] + (clients - total["connected"])
    return {
        "fixes": total,
        "unacknowledged": on_its_way,
        "lost": lost + (on_its_way if on_its_way > clients // 10 else 0),
    }


async def _stop(crowd: asyncio.subprocess.Process) -> None:
    assert crowd.stdin is not None
    crowd.stdin.write(b"stop\n")
    try:
        await asyncio.wait_for(crowd.wait(), ANSWER_TIMEOUT_S)
    except TimeoutError:
        crowd.kill()


def _percentiles(seconds: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, float]:
    if not len(seconds):
        return {}
    p50, p99, last = np.percentile(seconds, [50, 99, 100])
    return {"p50_s": round(float(p50), 2), "p99_s": round(float(p99), 2), "last_s": round(float(last), 2)}


def _is_alive(pid: int) -> bool:
    """Return whether a process of this machine still runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    typer.run(main)
