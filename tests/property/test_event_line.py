"""Whatever is lost, doubled, cut or deleted: a client gets every event once and in order, or is told that it did not.

A model of everything around a session's line: an outbox whose old rows go, a relay that repeats itself, pub/sub that
breaks, readings from Postgres that take their time, a connection that is cut with frames in flight. The reference is
the plain list of the topic's numbers.
"""

from dataclasses import dataclass, field
from unittest import TestCase

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway_ws.fan_out.event_line import EventLine, Told


@dataclass
class Outbox:
    """The numbers of one topic among those of all topics."""

    newest: int = 0
    floor: int = 0
    topic: list[int] = field(default_factory=list)
    published: int = 0

    def between(self, after: int, up_to: int) -> list[int]:
        return [seq for seq in self.topic if after < seq <= up_to]


@dataclass
class Reading:
    """What Postgres answered; None for missed events that are not all there: then the state was read."""

    newest: int
    missed: list[int] | None


class Client:
    """Checks each frame against the outbox when it arrives."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.has: int | None = None

    def take(self, frame: tuple[str, int]) -> None:
        kind, number = frame
        if kind == "snapshot":
            self.has = number
            return
        assert self.has is not None, "nothing comes before the first snapshot"
        expected = self._outbox.between(self.has, number)
        assert expected == ([number] if kind == "event" else []), f"{expected} were lost or doubled before {frame}"
        self.has = number


class Recovering(RuleBasedStateMachine):
    """One topic, one client."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.client = Client(self.outbox)
        self.is_connecting = True
        self.is_subscribed = False
        self.in_flight: list[tuple[str, int]] = []
        self.line = EventLine()
        self.reading: Reading | None = None
        self.is_resuming = False

    # The outbox and its relay

    @rule(other_topics=st.integers(0, 2))
    def commit(self, other_topics: int) -> None:
        self.outbox.newest += other_topics + 1
        self.outbox.topic.append(self.outbox.newest)

    @precondition(lambda self: self.outbox.between(self.outbox.published, self.outbox.newest))
    @rule()
    def publish(self) -> None:
        self.outbox.published = self.outbox.between(self.outbox.published, self.outbox.newest)[0]
        self.hear(self.outbox.published)

    @rule(back=st.integers(1, 3))
    def publish_again(self, back: int) -> None:
        for seq in self.outbox.between(0, self.outbox.published)[-back:]:
            self.hear(seq)

    @rule()
    def tell(self) -> None:
        self.commit(0)
        while self.outbox.between(self.outbox.published, self.outbox.newest):
            self.publish()

    @rule(part=st.sampled_from([0, 0, 0, 0.5, 1]))
    def delete_old(self, part: float) -> None:
        self.outbox.floor = max(self.outbox.floor, int(self.outbox.published * part))

    # Pub/sub

    @rule()
    def break_pubsub(self) -> None:
        self.is_subscribed, self.is_connecting = False, False

    @precondition(lambda self: not self.is_connecting)
    @rule()
    def begin_conversation(self) -> None:
        self.is_connecting = True
        self.line.interrupt()

    @precondition(lambda self: self.is_connecting and not self.is_subscribed)
    @rule()
    def confirm_subscription(self) -> None:
        self.is_subscribed = True

    def hear(self, seq: int) -> None:
        if self.is_subscribed:
            self.send(self.line.hear(Told(seq, "event", {})))

    # Postgres

    @precondition(lambda self: self.reading is None)
    @rule()
    def start_reading(self) -> None:
        self.line.begin(is_heard=self.is_subscribed)
        self.read()

    def read(self) -> None:
        position, newest = self.line.position, self.outbox.newest
        has_all = position is not None and self.outbox.floor <= position <= newest
        self.reading = Reading(newest, self.outbox.between(position or 0, newest) if has_all else None)

    @precondition(lambda self: self.reading is not None)
    @rule()
    def finish_reading(self) -> None:
        assert self.reading is not None
        reading, self.reading = self.reading, None
        if reading.missed is None:
            self.line.start_at(reading.newest)
            self.in_flight.append(("snapshot", reading.newest))
        else:
            self.send(self.line.catch_up([Told(seq, "event", {}) for seq in reading.missed], reading.newest))
            if self.is_resuming:
                assert self.line.position is not None
                self.in_flight.append(("recovered", self.line.position))
        self.is_resuming = False
        self.send(self.line.release())

    # The connection

    @rule(count=st.integers(1, 5))
    def deliver(self, count: int) -> None:
        for frame in self.in_flight[:count]:
            self.client.take(frame)
        del self.in_flight[:count]

    @rule(arrived=st.integers(0, 5))
    def cut_and_come_back(self, arrived: int) -> None:
        self.deliver(arrived)
        self.in_flight = []
        self.line = EventLine()
        self.line.begin(is_heard=self.is_subscribed)
        if self.client.has is not None:
            self.line.start_at(self.client.has)
            self.is_resuming = True
        self.read()

    def send(self, events: list[Told]) -> None:
        assert all(told.seq is not None for told in events)
        self.in_flight += [("event", told.seq or 0) for told in events]

    def teardown(self) -> None:
        """When the weather clears, the client has everything."""
        while self.outbox.between(self.outbox.published, self.outbox.newest):
            self.publish()
        if not self.is_connecting:
            self.begin_conversation()
        self.is_subscribed = True
        if self.reading is not None:
            self.finish_reading()
        self.start_reading()
        self.finish_reading()
        assert not self.line.is_held
        self.commit(0)
        self.publish()
        self.deliver(len(self.in_flight))
        assert self.client.has == self.outbox.newest


Recovering.TestCase.settings = settings(max_examples=400, stateful_step_count=30, deadline=None)
TestRecovering: type[TestCase] = Recovering.TestCase


def test_a_line_that_held_too_much_reads_again() -> None:
    line = EventLine()
    line.begin(is_heard=True)
    line.start_at(0)
    for seq in range(1, 1_000):
        assert line.hear(Told(seq, "event", {})) == []
    assert line.release() == []
    assert line.is_held
    line.begin(is_heard=True)
    missed = [Told(seq, "event", {}) for seq in range(1, 1_000)]
    assert line.catch_up(missed, 999) == missed
    assert line.release() == []
    assert not line.is_held
