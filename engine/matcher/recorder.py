"""Makes the records of a matcher's decisions, so that each goes into the transaction of what was decided."""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

from prometheus_client import Histogram

from engine.core.clock import Clock
from engine.core.database import Connection, Pool
from engine.matcher.cost_policy import CostPolicy
from engine.matcher.decision import Decision
from engine.matcher.decision_account import record_of
from engine.matcher.decision_record import encode
from engine.matcher.plan import Share
from engine.matcher.record_store import KeptRecord, PolicyLedger, keep_window
from engine.matcher.window_record import encode_window

S_PER_NS: Final = 1e-9

RECORD_SECONDS = Histogram(
    "clenzy_dispatch_record_seconds",
    "Making the record of one decision, without writing it.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
)
RECORD_BYTES = Histogram(
    "clenzy_dispatch_record_bytes", "Bytes of a decision's record.", buckets=(512, 1024, 2048, 4096, 8192, 16384)
)


class Recorder:
    """Of one matcher. A decision that is not saved leaves nothing behind."""

    def __init__(self, *, clock: Clock, worker_id: Callable[[int], UUID]) -> None:
        self._clock = clock
        self._worker_id = worker_id
        self._policies = PolicyLedger()

    async def begin(self, conn: Connection, policy: CostPolicy, *, now_ms: int) -> None:
        """Store the policy of the decisions that follow, unless it is there."""
        await self._policies.note(conn, policy, now_ms=now_ms)

    def made(self, decision: Decision, *, window_id: UUID | None) -> KeptRecord:
        """Return what is kept of a decision."""
        began_ns = self._clock.steady_ns()
        record = record_of(decision, worker_id=self._worker_id)
        body = encode(record)
        RECORD_SECONDS.observe((self._clock.steady_ns() - began_ns) * S_PER_NS)
        RECORD_BYTES.observe(len(body))
        return KeptRecord(body, record.worker_ids, self._policies.policy_hash, window_id)

    async def keep_window(self, pool: Pool, window_id: UUID, share: Share) -> None:
        """Store the problem that several decisions share, beside their transactions: none of them waits for it."""
        assert share.problem is not None
        assert share.plan is not None
        body = await asyncio.to_thread(encode_window, share.problem, share.plan)
        if body is not None:
            async with pool.acquire() as conn:
                await keep_window(conn, window_id, body, now_ms=self._clock.now_ms())
