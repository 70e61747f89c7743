"""A load run from start to verdict. Imports locust: only after `loadtests.__main__` switched its patching off."""

from typing import Final

import gevent
from locust.env import Environment

from loadtests.crowd import Crowd, CrowdOptions
from loadtests.users import CustomerUser, WorkerUser
from loadtests.verdict import Row

DRAIN_S: Final = 0.1
SPAWN_PER_S: Final = 40
STOP_TIMEOUT_S: Final = 20
"""Bookings that are under way when the time is up may end."""


def run_load(options: CrowdOptions, *, seconds: float) -> tuple[list[Row], list[str]]:
    """Return what was measured, and the distinct failures in words.

    Raises:
        sim.client.errors.ClientFailure: the crowd could not sign in.
    """
    crowd = Crowd(options)
    crowd.start()
    try:
        environment = _environment(crowd)
        draining = gevent.spawn(_drain, crowd, environment)
        runner = environment.create_local_runner()
        runner.start(options.workers + options.customers, spawn_rate=SPAWN_PER_S)
        gevent.sleep(seconds)
        runner.quit()
        gevent.sleep(3 * DRAIN_S)
        draining.kill()
        return _rows(environment), _failures(environment)
    finally:
        crowd.stop()


def _environment(crowd: Crowd) -> Environment:
    classes = [
        type(base.__name__, (base,), {"crowd": crowd, "waiting": list(people), "fixed_count": len(people)})
        for base, people in ((WorkerUser, crowd.workers), (CustomerUser, crowd.customers))
        if people
    ]
    return Environment(user_classes=classes, stop_timeout=STOP_TIMEOUT_S, catch_exceptions=False)


def _drain(crowd: Crowd, environment: Environment) -> None:
    while True:
        for measured in crowd.measurements.drain():
            environment.events.request.fire(  # type: ignore[no-untyped-call]
                request_type="clenzy",
                name=measured.name,
                response_time=measured.duration_ms,
                response_length=0,
                exception=measured.failure,
                context={},
            )
        gevent.sleep(DRAIN_S)


def _rows(environment: Environment) -> list[Row]:
    return [
        Row(
            name=name,
            count=entry.num_requests,
            failures=entry.num_failures,
            p50_ms=entry.get_response_time_percentile(0.5) or 0.0,
            p99_ms=entry.get_response_time_percentile(0.99) or 0.0,
        )
        for (name, _), entry in environment.stats.entries.items()
    ]


def _failures(environment: Environment) -> list[str]:
    return [f"{error.occurrences}x {error.name}: {error.error}" for error in environment.stats.errors.values()]
