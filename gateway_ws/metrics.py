"""What Prometheus reads of a gateway. One set a process: module-level, as the client library keeps its registry."""

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from engine.core.vocabulary import FixOutcome, FixRefusal
from engine.geo.ingest import FlushReport

FIXES: Final = Counter("clenzy_gateway_fixes", "Fixes by outcome", ["outcome"])
FRAMES: Final = Counter("clenzy_gateway_frames", "Frames and events received, by type", ["type"])


class FrameTally:
    """Ping frames since the last settling: a counter with a lock takes as long as the rest of a frame's way."""

    def __init__(self) -> None:
        self.frames = 0

    def settle(self) -> None:
        """Add them to the counter."""
        frames, self.frames = self.frames, 0
        FRAMES.labels("Fixes").inc(frames)


FIX_FRAMES: Final = FrameTally()
REFUSED: Final = Counter("clenzy_gateway_refused", "Frames and commands refused, by code", ["code"])
CONNECTIONS: Final = Gauge("clenzy_gateway_connections", "Open sessions", ["kind"])
SOCKETS: Final = Gauge("clenzy_gateway_sockets", "Open sockets, signed in or not")
SESSIONS_OPENING: Final = Gauge("clenzy_gateway_sessions_opening", "Sessions that open right now")
ARRIVALS_SENT_AWAY: Final = Counter(
    "clenzy_gateway_arrivals_sent_away", "Sockets that were told to come again later: too many sessions were opening"
)
RECOVERIES: Final = Counter(
    "clenzy_gateway_recoveries",
    "Sessions that had missed events, on `connect` or in a `gap` of the fan-out: told the `events`, or a `snapshot`",
    ["kind", "after", "with"],
)
CLOSED: Final = Counter("clenzy_gateway_closed", "Connections that the gateway closed, by reason", ["reason"])
FLUSHES: Final = Counter("clenzy_gateway_flushes", "Flushes to Redis, by outcome", ["outcome"])
FLUSH_SECONDS: Final = Histogram(
    "clenzy_gateway_flush_seconds",
    "Duration of a flush",
    buckets=(
        0.0005,
        0.001,
        0.002,
        0.005,
        0.01,
        0.02,
        0.05,
        0.1,
        0.5,
        2,
    ),
)
MOVED: Final = Counter("clenzy_gateway_workers_moved", "Worker records brought to the cell index")
OUTBOX_DROPPED: Final = Counter("clenzy_gateway_outbox_dropped", "Latest-wins frames that a newer one replaced")
TRIGGERS: Final = Counter("clenzy_gateway_triggers", "Silent triggers forwarded, by outcome", ["outcome"])
FANOUT_CONNECTS: Final = Counter("clenzy_gateway_fanout_connects", "Times the fan-out connection was opened")
TRACKER_REQUESTS: Final = Counter("clenzy_gateway_tracker_requests", "Requests of stock phone trackers", ["app"])
TRACKER_SKIPPED: Final = Counter(
    "clenzy_gateway_tracker_skipped", "Parts of their requests that brought no fix, by reason", ["app", "reason"]
)
UNANNOUNCED: Final = Counter("clenzy_gateway_unannounced", "Sessions that could not tell other gateways of themselves")
EVICTED: Final = Counter("clenzy_gateway_evicted", "Sessions closed because their sign-in had ended")
FAULTS: Final = Counter("clenzy_gateway_faults", "Unexpected errors that a task survived", ["task"])

for _outcome in (*FixOutcome, *FixRefusal):
    FIXES.labels(_outcome.value)


class LatencyHistogram(Collector):
    """A histogram that takes a whole flush at once: one `observe` a frame would cost more than the frame."""

    BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds_ns = np.array(self.BOUNDS_S) * 1e9
        self._counts = np.zeros(len(self.BOUNDS_S) + 1, np.int64)
        self._sum_s = 0.0

    def observe(self, latencies_ns: NDArray[np.int64]) -> None:
        """Count every latency."""
        buckets = np.searchsorted(self._bounds_ns, latencies_ns)
        self._counts += np.bincount(buckets, minlength=len(self._counts))
        self._sum_s += float(latencies_ns.sum()) / 1e9

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the cumulative buckets, as Prometheus wants them."""
        bounds = [*(str(bound) for bound in self.BOUNDS_S), "+Inf"]
        cumulated = np.cumsum(self._counts).tolist()
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric([], list(zip(bounds, cumulated, strict=True)), self._sum_s)
        yield family


PING_TO_CELL: Final = LatencyHistogram(
    "clenzy_gateway_ping_to_cell_seconds", "From a ping frame's arrival to Redis' answer, one a frame"
)
REGISTRY.register(PING_TO_CELL)


class IngestMetrics:
    """Counts the ingest's work, for Prometheus and for the console's rate."""

    def __init__(self) -> None:
        self.fixes = 0
        """Fixes judged since the start."""

    def judged(self, taken: Tally[FixOutcome], refused: Tally[FixRefusal]) -> None:
        """Count fixes by outcome."""
        self.fixes += taken.total() + refused.total()
        FIX_FRAMES.settle()
        for outcomes in (taken, refused):
            for outcome, count in outcomes.items():
                FIXES.labels(outcome.value).inc(count)

    def flushed(self, report: FlushReport) -> None:
        """Count one answered batch."""
        FLUSHES.labels("done").inc()
        FLUSH_SECONDS.observe(report.took_ns / 1e9)
        MOVED.inc(report.moved)
        if len(report.frame_latencies_ns):
            PING_TO_CELL.observe(report.frame_latencies_ns)

    def flush_failed(self) -> None:
        """Count one batch without an answer."""
        FLUSHES.labels("failed").inc()
