"""The people of a load run: an event loop of their own, in a thread of its own, beside locust's greenlets.

The client is asyncio and locust is gevent. The two do not mix in one thread, so gevent's patching of the standard
library is switched off (`loadtests.__main__`) and what was measured crosses over in a queue.
"""

import asyncio
import itertools
import random
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import uvloop

from loadtests.measurements import Measurements
from loadtests.people import LoadCustomer, LoadWorker
from sim.client.clock import FixClock, wall_ms
from sim.client.rest import Account, Rest, sign_in
from sim.client.roster import Person, Roster, TokenCache
from sim.client.worker_socket import WorkerSocket

START_TIMEOUT_S: Final = 30.0
CONNECTING_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class CrowdOptions:
    """Who shall come."""

    api_url: str
    admin_email: str
    admin_password: str
    workers: int
    customers: int
    seed: int = 7


class Crowd:
    """Everybody, ready to act. `start` and `stop` are called from outside the loop's thread."""

    def __init__(self, options: CrowdOptions) -> None:
        self.measurements = Measurements()
        self.workers: list[LoadWorker] = []
        self.customers: list[LoadCustomer] = []
        self.customers_acts = itertools.count()
        self._options = options
        self._rng = random.Random(options.seed)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="crowd", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession

    def start(self) -> None:
        """Sign everybody in and connect them; raises what that raises."""
        self._thread.start()
        self.submit(self._gather()).result(START_TIMEOUT_S)

    def submit(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        """Run `work` on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def stop(self) -> None:
        """Disconnect everybody and end the thread."""
        self.submit(self._leave()).result(START_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_S)
        self._loop.close()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _gather(self) -> None:
        options = self._options
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        rest = Rest(self._http, options.api_url)
        admin = await sign_in(rest, options.admin_email, options.admin_password)
        config = await rest.get("/v1/config")
        services = [service["code"] for service in (await rest.get("/v1/services", account=admin))["items"]]
        # Workers of an earlier run would be far from where they were: each run has people of its own.
        run = f"load-{wall_ms():x}"
        skills = tuple(services)
        people = [Person(f"{run}-w{n}", "worker", f"Load worker {n}", skills, 4.5) for n in range(options.workers)]
        people += [Person(f"{run}-c{n}", "customer", f"Load customer {n}") for n in range(options.customers)]
        gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        roster = Roster(rest, admin, TokenCache(None, server=options.api_url))

        def arrive(person: Person, account: Account) -> None:
            if person.role == "worker":
                self._add_worker(account, config, gate)
            else:
                self._add_customer(account, rest, config, services)

        await roster.bring(people, arrive)
        for worker in self.workers:
            await worker.on_duty.wait()
        for customer in self.customers:
            await customer.phone.connected.wait()

    def _add_worker(self, account: Account, config: dict[str, Any], gate: asyncio.Semaphore) -> None:
        centre = config["region"]["center"]
        worker = LoadWorker(
            measurements=self.measurements,
            spawn=self._spawn,
            clock=FixClock.from_config(config),
            centre=(centre["lat"], centre["lng"]),
            rng=random.Random(self._rng.random()),
        )
        worker.socket = WorkerSocket(
            http=self._http, gateway_url=config["gateway_url"], account=account, listener=worker, gate=gate
        )
        self.workers.append(worker)
        self._spawn(worker.socket.run())

    def _add_customer(self, account: Account, rest: Rest, config: dict[str, Any], services: list[str]) -> None:
        customer = LoadCustomer(
            account,
            http=self._http,
            rest=rest,
            config=config,
            services=services,
            measurements=self.measurements,
            rng=random.Random(self._rng.random()),
        )
        self.customers.append(customer)
        self._spawn(customer.phone.run())

    async def _leave(self) -> None:
        await asyncio.gather(*(self._off_duty(worker) for worker in self.workers))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.close()

    async def _off_duty(self, worker: LoadWorker) -> None:
        if worker.socket.connected.is_set():
            await worker.leave()
