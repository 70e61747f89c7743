"""What one client was told, and whether that is what the outbox says. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What a client can be told."""

    SNAPSHOT = "snapshot"
    """`recovered=false`: the number is the place of the snapshot."""
    RECOVERED = "recovered"
    """`recovered=true`: everything up to the number was sent before."""
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that arrived; of an event also its own number, from its body."""

    kind: Kind
    offset: int
    event: int | None = None


@dataclass
class History:
    """Everything that arrived at one client, over all of its connections."""

    name: str
    topic: str
    entries: list[Entry] = field(default_factory=list)
    connects: int = 0
    useless_offsets: int = 0
    """Snapshots that came although an offset was brought."""

    @property
    def newest(self) -> int:
        return self.entries[-1].offset if self.entries else -1


@dataclass
class Verdict:
    """What the checker found."""

    events: int = 0
    snapshots: int = 0
    recoveries: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return self.lost + self.doubled + self.wrong


def check(histories: Sequence[History], outbox: Mapping[str, Sequence[tuple[int, int]]]) -> Verdict:
    """Compare with the outbox: by topic `(seq, event)` in order of `seq`."""
    verdict = Verdict()
    for history in histories:
        _check_one(history, outbox.get(history.topic, ()), verdict)
    return verdict


def _check_one(history: History, rows: Sequence[tuple[int, int]], verdict: Verdict) -> None:
    has: int | None = None
    event_of = dict(rows)
    for entry in history.entries:
        where = f"{history.name} at {entry.offset}"
        if entry.kind is Kind.SNAPSHOT:
            verdict.snapshots += 1
        elif has is None:
            verdict.wrong.append(f"{where}: {entry.kind.value} before any snapshot")
        else:
            last = entry.offset - 1 if entry.kind is Kind.EVENT else entry.offset
            verdict.lost += [f"{where}: {seq} never came" for seq, _ in rows if has < seq <= last]
            verdict.recoveries += entry.kind is Kind.RECOVERED
        if entry.kind is Kind.EVENT:
            verdict.events += 1
            if has is not None and entry.offset <= has:
                verdict.doubled.append(f"{where}: had {has} already")
            if event_of.get(entry.offset) != entry.event:
                verdict.wrong.append(f"{where}: brought {entry.event}, not {event_of.get(entry.offset)}")
        has = entry.offset
    end = rows[-1][0] if rows else 0
    if has is None or has < end:
        verdict.lost.append(f"{history.name}: ends at {has}, its topic at {end}")
