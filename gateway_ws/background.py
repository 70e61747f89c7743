"""Short tasks that must not die with the connection that asked for them, and must not take the process with them."""

import asyncio
from collections.abc import Coroutine

import structlog

from gateway_ws.metrics import FAULTS

log = structlog.get_logger(__name__)


class Background:
    """Tasks owned by the process. Each caller bounds how many it starts."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None], *, name: str) -> None:
        """Run `work`; an unexpected error is logged and counted, and ends this task alone."""
        task = self._tasks.create_task(_survive(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _survive(work: Coroutine[object, object, None], name: str) -> None:
    try:
        await work
    except Exception:
        FAULTS.labels(name).inc()
        log.exception("task.failed", task=name)
