"""Locust's users: each one is a person of the crowd, and a task is something that person does."""

from collections.abc import Coroutine
from typing import Any, ClassVar, Final

import gevent
from locust import User, between, constant, task

from loadtests.crowd import Crowd

POLL_S: Final = 0.01
DRILL_EVERY: Final = 10


class CrowdUser(User):
    """A user whose tasks run on the crowd's own loop; `crowd` is set by whoever starts the run."""

    abstract = True
    crowd: ClassVar[Crowd]

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` and let other greenlets run until it is done."""
        done = self.crowd.submit(work)
        while not done.done():
            gevent.sleep(POLL_S)
        done.result()


class WorkerUser(CrowdUser):
    """Sends a fix twice a second; offers and jobs are taken care of as they come."""

    abstract = True
    wait_time = constant(0.5)
    waiting: ClassVar[list[Any]]

    def on_start(self) -> None:
        """Become one of the crowd's workers."""
        self.person = self.waiting.pop()

    @task
    def ping(self) -> None:
        """Send one fix."""
        self.do(self.person.ping())


class CustomerUser(CrowdUser):
    """Books again and again; one act in ten of all customers is a drill of the alarm.

    In turn and not by chance, the first one at once: however short the run, the alarm is measured.
    """

    abstract = True
    wait_time = between(0.5, 2.0)
    waiting: ClassVar[list[Any]]

    def on_start(self) -> None:
        """Become one of the crowd's customers."""
        self.person = self.waiting.pop()

    @task
    def act(self) -> None:
        """Take a booking from its request to its end, or press the alarm as a drill."""
        is_drill = next(self.crowd.customers_acts) % DRILL_EVERY == 0
        self.do(self.person.drill() if is_drill else self.person.book())
