"""What the city's people saw, counted, and one line of it every few seconds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.client.latency import LatencyLog
from sim.client.worker_socket import SocketCounts


@dataclass(slots=True)
class Tally:
    """Counts since the start; `acks` since the last line."""

    acks: LatencyLog = field(default_factory=lambda: LatencyLog(samples_max=20_000))
    acks_total: int = 0
    """Pings acknowledged."""
    enrolled: int = 0
    """People who had to be enrolled, because the cache did not know them."""
    offers: Counter[str] = field(default_factory=Counter)
    """Offers by what became of them: received, accepted, declined, ignored, late."""
    bookings: Counter[str] = field(default_factory=Counter)
    """Bookings by what customers saw of them: made, refused, and every state that one ended in."""
    states: Counter[str] = field(default_factory=Counter)
    """Bookings of our customers that stand in each state now."""
    fixes_refused: Counter[str] = field(default_factory=Counter)
    commands_refused: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    """Silent triggers by the door that committed them, and `pressed`."""
    positions: int = 0
    """Live positions that customers received."""


def metrics_line(
    tally: Tally, counts: Sequence[SocketCounts], *, live: int, elapsed_s: float, fixes_before: int
) -> dict[str, Any]:
    """Return the figures of the last `elapsed_s` seconds, and empty what is counted per line."""
    acks = tally.acks.summary()
    tally.acks.clear()
    fixes = sum(count.fixes_acknowledged for count in counts)
    return {
        "workers_live": live,
        "workers": len(counts),
        "fixes_per_s": round((fixes - fixes_before) / elapsed_s, 1),
        "ack_p50_ms": acks["p50_ms"],
        "ack_p99_ms": acks["p99_ms"],
        "reconnects": sum(max(0, count.connects - 1) for count in counts),
        "fixes_dropped": sum(count.fixes_dropped for count in counts),
        "fixes_refused": dict(tally.fixes_refused),
        "commands_refused": dict(tally.commands_refused),
        "frames_refused": dict(sum((count.refusals for count in counts), Counter())),
        "offers": dict(tally.offers),
        "bookings": dict(tally.bookings),
        "states": {state: number for state, number in tally.states.items() if number},
        "positions": tally.positions,
        "alarms": dict(tally.alarms),
    }
