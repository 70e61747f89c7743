"""Puts a whole city on the public protocol and keeps it alive until it is told to stop."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import structlog

from sim.agents.alarms import Alarms
from sim.agents.customer import Customer
from sim.agents.demand import Demand
from sim.agents.fleet import Fleet
from sim.agents.habits import CustomerHabits, WorkerHabits
from sim.agents.metrics import Tally, metrics_line
from sim.city.plan import draw_city
from sim.client.clock import FixClock
from sim.client.rest import Account, Rest, sign_in
from sim.client.roster import Person, Roster, TokenCache, stable_number

log = structlog.get_logger(__name__)

METRICS_S: Final = 5.0
CACHE_SAVE_S: Final = 10.0
FIRST_NAMES: Final = (
    "Ana", "Beatriz", "Carlos", "Diana", "Eduardo", "Filipa", "Gabriel", "Helena", "Inês", "João", "Katia", "Luís",
    "Marta", "Nuno", "Olga", "Pedro", "Quitéria", "Rui", "Sofia", "Tiago", "Ursula", "Vasco", "Xavier", "Zara",
)  # fmt: skip
LAST_NAMES: Final = (
    "Almeida", "Barros", "Costa", "Dias", "Esteves", "Ferreira", "Gomes", "Henriques", "Lopes", "Martins", "Neves",
    "Oliveira", "Pinto", "Ramos", "Santos", "Teixeira", "Vieira",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CityOptions:
    """What to put on the streets."""

    api_url: str
    admin_email: str
    admin_password: str
    workers: int = 2_000
    customers: int = 160
    bookings_per_min: float = 20.0
    profile: str = "day"
    alarms_per_hour: float = 4.0
    seed: int = 7
    cache_file: Path | None = None
    worker_habits: WorkerHabits = field(default_factory=WorkerHabits)
    customer_habits: CustomerHabits = field(default_factory=CustomerHabits)


async def live(options: CityOptions, stop: asyncio.Event, *, tally: Tally | None = None) -> Tally:
    """Run the city until `stop` is set; return what was counted, which a `tally` from outside shows all the while.

    Raises:
        ClientFailure: the first sign-in, or bringing the people into being, failed.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        rest = Rest(http, options.api_url)
        admin = await sign_in(rest, options.admin_email, options.admin_password)
        config = await rest.get("/v1/config")
        services = (await rest.get("/v1/services", account=admin))["items"]
        tally = tally or Tally()
        city = _City(options, http, rest, admin, config, services, tally)
        await city.run(stop)
        return tally


class _City:
    """The parts of a running city and the order in which they start and stop."""

    def __init__(
        self,
        options: CityOptions,
        http: aiohttp.ClientSession,
        rest: Rest,
        admin: Account,
        config: dict[str, Any],
        services: list[dict[str, Any]],
        tally: Tally,
    ) -> None:
        self.options = options
        self.http = http
        self.rest = rest
        self.config = config
        self.services = services
        self.tally = tally
        self.worker_refs: list[str] = []
        self.cache = TokenCache(options.cache_file, server=f"{options.api_url} {options.admin_email}")
        self.roster = Roster(rest, admin, self.cache)
        center = config["region"]["center"]
        self.streets = draw_city(center["lat"], center["lng"], seed=options.seed)
        self.demand = Demand(
            streets=self.streets,
            services=[service["code"] for service in services],
            per_min=options.bookings_per_min,
            profile=options.profile,
            tz=config["region"]["tz"],
            rng=random.Random(options.seed + 1),
        )

    async def run(self, stop: asyncio.Event) -> None:
        log.info("city.starting", junctions=self.streets.junctions, workers=self.options.workers)
        try:
            async with asyncio.TaskGroup() as group:
                everything = group.create_task(self._live())
                await stop.wait()
                everything.cancel()
        finally:
            log.info("city.stopped")

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            fleet = self._fleet(group)
            for work in self._work(group, fleet):
                group.create_task(work)

    def _work(self, group: asyncio.TaskGroup, fleet: Fleet) -> list[Any]:
        alarms = Alarms(
            http=self.http,
            rest=self.rest,
            safetap_url=self.config["safetap_url"],
            fleet=fleet,
            customers=self.demand.customers,
            per_hour=self.options.alarms_per_hour,
            tally=self.tally,
            rng=random.Random(self.options.seed + 2),
        )
        return [
            self._bring(fleet),
            fleet.run(),
            fleet.keep_tokens_fresh(),
            self.demand.run(group),
            alarms.run(group),
            self._report(fleet),
            self._remember(fleet),
        ]

    def _fleet(self, group: asyncio.TaskGroup) -> Fleet:
        return Fleet(
            http=self.http,
            gateway_url=self.config["gateway_url"],
            streets=self.streets,
            size=self.options.workers,
            seed=self.options.seed,
            clock=FixClock.from_config(self.config),
            habits=self.options.worker_habits,
            tally=self.tally,
            durations_min={service["code"]: service["duration_min"] for service in self.services},
            group=group,
        )

    async def _bring(self, fleet: Fleet) -> None:
        started_s = time.monotonic()
        codes = [service["code"] for service in self.services]
        people = [_person("worker", number, codes) for number in range(self.options.workers)]
        people += [_person("customer", number, codes) for number in range(self.options.customers)]
        await self.roster.bring(people, partial(self._arrive, fleet))
        self.tally.enrolled = self.roster.enrolled
        log.info(
            "city.everyone_signed_in", enrolled=self.roster.enrolled, after_s=round(time.monotonic() - started_s, 1)
        )

    def _arrive(self, fleet: Fleet, person: Person, account: Account) -> None:
        if person.role == "worker":
            self.worker_refs.append(person.external_ref)
            fleet.add(account, place=self.cache.places.get(person.external_ref))
            return
        customer = Customer(
            account,
            http=self.http,
            rest=self.rest,
            gateway_url=self.config["gateway_url"],
            habits=self.options.customer_habits,
            tally=self.tally,
            rng=random.Random(stable_number(person.external_ref)),
        )
        self.demand.customers.append(customer)
        if person.external_ref in self.cache.kept:
            fleet.spawn(customer.resume())

    async def _remember(self, fleet: Fleet) -> None:
        """Keep sign-ins and places on disk, the last time when everything stops."""
        try:
            while True:
                await asyncio.sleep(CACHE_SAVE_S)
                await self.cache.save(dict(zip(self.worker_refs, fleet.places(), strict=True)))
        finally:
            await self.cache.save(dict(zip(self.worker_refs, fleet.places(), strict=True)))

    async def _report(self, fleet: Fleet) -> None:
        fixes, at_s = 0, time.monotonic()
        while True:
            await asyncio.sleep(METRICS_S)
            counts = [socket.counts for socket in fleet.sockets]
            now_s = time.monotonic()
            line = metrics_line(self.tally, counts, live=fleet.live, elapsed_s=now_s - at_s, fixes_before=fixes)
            log.info("city.metrics", **line)
            fixes, at_s = sum(count.fixes_acknowledged for count in counts), now_s


def _person(role: str, number: int, services: list[str]) -> Person:
    """Return the person that every start of the city calls `role` `number`."""
    rng = random.Random(stable_number(f"{role} {number}"))
    name = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
    if role == "customer":
        return Person(external_ref=f"sim-customer-{number}", role=role, full_name=name)
    skills = tuple(sorted(rng.sample(services, min(len(services), rng.choice((1, 2, 2, 3))))))
    return Person(
        external_ref=f"sim-worker-{number}",
        role=role,
        full_name=name,
        skills=skills,
        rating=round(rng.triangular(3.4, 5.0, 4.7), 1),
        experience=round(rng.random(), 2),
    )
