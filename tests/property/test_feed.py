"""Whatever happens to the messages on their way, who follows the feed ends up with what the index holds."""

import random
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import WireError
from engine.geo.cell_index import MOVE
from engine.geo.feed import FeedMessage, FeedOrder, Heard, decode, page_of
from engine.geo.fixes import RECORD
from engine.geo.slab import Page

PAGES = 4
HELD_MAX = 12
Records = dict[int, int]
"""Slot to the time of its record: enough to tell two records apart."""


@dataclass
class Index:
    """What Redis holds: each page with its epoch, its number and its records."""

    rng: random.Random
    pages: dict[int, tuple[int, int, Records]] = field(default_factory=dict)

    def write(self, page: int) -> tuple[int, FeedMessage]:
        epoch, seq, records = self.pages.get(page) or (self.rng.getrandbits(64) | 1, 0, {})
        moved = {self.rng.randrange(64): self.rng.getrandbits(40) for _ in range(self.rng.randint(1, 3))}
        self.pages[page] = (epoch, seq + 1, records | moved)
        return page, message(epoch, seq + 1, moved)

    def read(self, page: int) -> Page:
        found = message(*self.pages.get(page, (0, 0, {})))
        return Page(found.epoch, found.seq, found.slots, found.records)


def message(epoch: int, seq: int, moved: Records) -> FeedMessage:
    records = np.zeros(len(moved), RECORD)
    records["ts_ms"] = list(moved.values())
    return FeedMessage(epoch, seq, np.fromiter(moved, np.int64, len(moved)), records)


class World:
    """An index, a follower with its copy, and the messages on their way between them."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.index = Index(self.rng)
        self.order = FeedOrder(held_records_max=HELD_MAX)
        self.copy: dict[int, Records] = {}
        self.on_the_way: list[tuple[int, FeedMessage]] = []
        self.reading: tuple[int, Page | None] | None = None
        self.faults = self.reads = 0
        self.order.subscribed()

    def apply(self, page: int, each: FeedMessage | Page) -> None:
        moved = zip(each.slots.tolist(), each.records["ts_ms"].tolist(), strict=True)
        self.copy.setdefault(page, {}).update(moved)

    def deliver(self, page: int, each: FeedMessage) -> None:
        if self.order.heard(page, each) is Heard.NEXT:
            self.apply(page, each)

    def step_of_a_read(self) -> None:
        """Send a read, let Redis answer it, or take the answer: other things happen in between."""
        if self.order.next_list():
            self.order.listed(list(self.index.pages))
        elif self.reading is None:
            page = self.order.next_read()
            self.reading = None if page is None else (page, None)
        elif self.reading[1] is None:
            page = self.reading[0]
            if self.rng.random() < 0.1:
                self.order.not_read(page)
                self.reading = None
            else:
                self.reading = (page, self.index.read(page))
        else:
            (page, found), self.reading = self.reading, None
            following = self.order.read(page, found)
            if following is not None:
                self.reads += 1
                self.copy[page] = {}
                for each in [found, *following]:
                    self.apply(page, each)

    def calm_down(self) -> None:
        """Everything on its way is lost, and nobody writes any more: the looks alone must find what is missing."""
        self.on_the_way.clear()
        for _ in range(3):
            self.order.pinged()
            self.order.ponged()
            self.order.list_again()
            for page in self.order.pages:
                self.order.look(page)
            for _ in range(500):
                self.step_of_a_read()

    def write_once_more(self) -> None:
        """Let one more message of every page arrive: each shows what was lost before it."""
        self.on_the_way.clear()
        for page in range(PAGES):
            self.deliver(*self.index.write(page))
        for _ in range(100):
            self.step_of_a_read()

    def drift(self) -> list[int]:
        held = {page: records for page, (_, _, records) in self.index.pages.items()}
        return [page for page in held.keys() | self.copy.keys() if held.get(page, {}) != self.copy.get(page, {})]


class Happening:
    """What can happen to a world."""

    def write(self, world: World) -> None:
        world.on_the_way.append(world.index.write(world.rng.randrange(PAGES)))

    def deliver(self, world: World) -> None:
        if world.on_the_way:
            world.deliver(*world.on_the_way.pop(0))

    def drop(self, world: World) -> None:
        if world.on_the_way:
            world.faults += 1
            world.on_the_way.pop(world.rng.randrange(len(world.on_the_way)))

    def duplicate(self, world: World) -> None:
        if world.on_the_way:
            world.faults += 1
            world.on_the_way.append(world.rng.choice(world.on_the_way))

    def reorder(self, world: World) -> None:
        if len(world.on_the_way) > 1:
            world.faults += 1
            world.on_the_way.append(world.on_the_way.pop(0))

    def read(self, world: World) -> None:
        world.step_of_a_read()

    def look(self, world: World) -> None:
        if world.order.pages:
            world.order.look(world.rng.choice(world.order.pages))

    def disconnect(self, world: World) -> None:
        world.order.lost()
        for each in world.on_the_way:
            world.faults += 1
            if world.rng.random() < 0.5:
                world.index.write(each[0])
        world.on_the_way.clear()
        world.order.subscribed()

    def flush(self, world: World) -> None:
        world.index.pages.pop(world.rng.randrange(PAGES), None)

    def put_back(self, world: World) -> None:
        """A replica that was behind takes over, and the same numbers come again with other records."""
        page = world.rng.randrange(PAGES)
        world.on_the_way = [each for each in world.on_the_way if each[0] != page]
        if page in world.index.pages and world.reading is None:
            world.order.pinged()
            world.order.ponged()
            epoch, seq, records = world.index.pages[page]
            world.index.pages[page] = (epoch, max(1, seq - 3), dict(list(records.items())[:-1]))


OFTEN = ("write", "deliver", "read") * 6
RARELY = ("drop", "duplicate", "reorder", "look")


def live_through(world: World, happenings: list[str]) -> None:
    for each in happenings:
        getattr(Happening(), each)(world)


def test_after_ten_thousand_faults_the_copy_has_never_drifted() -> None:
    seed = faults = reads = 0
    while faults < 10_000:
        seed += 1
        world = World(seed)
        rng = random.Random(-seed)
        often = OFTEN * rng.randint(1, 4)
        live_through(world, rng.choices([*often, *RARELY, "disconnect", "flush", "put_back"], k=rng.randint(20, 300)))
        world.calm_down()
        assert world.order.is_whole, f"seed {seed}"
        assert world.drift() == [], f"seed {seed}"
        faults, reads = faults + world.faults, reads + world.reads
    assert reads > 1_000


def test_what_is_missing_shows_at_the_next_message_without_a_look() -> None:
    faults = ["drop", "duplicate", "reorder", "disconnect", "flush"]
    for seed in range(300):
        world = World(seed)
        live_through(world, random.Random(-seed).choices([*OFTEN, *faults], k=100))
        world.write_once_more()
        assert world.order.is_whole, f"seed {seed}"
        assert world.drift() == [], f"seed {seed}"


@given(st.integers(0, 2**32), st.lists(st.sampled_from([*OFTEN, *RARELY, "disconnect", "flush", "put_back"])))
def test_a_follower_ends_up_with_what_the_index_holds(seed: int, happenings: list[str]) -> None:
    world = World(seed)
    live_through(world, happenings)
    world.calm_down()
    assert world.order.is_whole
    assert world.drift() == []


def test_without_faults_a_page_is_read_once() -> None:
    world = World(5)
    for _ in range(2_000):
        live_through(world, ["write", "deliver", "read", "read"])
    assert world.order.is_whole
    assert world.drift() == []
    assert world.reads == PAGES


def test_a_flood_during_a_read_is_not_kept_but_read_again() -> None:
    world = World(1)
    while world.reading is None:
        live_through(world, ["write", "deliver", "read"])
    page = world.reading[0]
    heard = {world.order.heard(*world.index.write(page)) for _ in range(HELD_MAX + 2)}
    assert heard == {Heard.HELD, Heard.FLOOD, Heard.KNOWN}
    assert world.order.read(page, world.index.read(page)) is None
    assert not world.order.is_whole
    world.reading = None
    world.calm_down()
    assert world.drift() == []


def test_a_message_reads_back_as_it_was_written() -> None:
    records = np.zeros(3, RECORD)
    records["ts_ms"], records["lat_e7"] = (1, 2, 3), (-1, 0, 1)
    slots = np.array([7, 8, 2**32 - 1], np.int64)
    moves = np.zeros(3, MOVE)
    moves["slot"], moves["record"] = slots, records.view("V32")
    found = decode(struct.pack("<QQ", 2**64 - 1, 5) + moves.tobytes())
    assert (found.epoch, found.seq, found.slots.tolist()) == (2**64 - 1, 5, slots.tolist())
    assert found.records.tolist() == records.tolist()


@pytest.mark.parametrize("n", [1, 2])
def test_what_is_decoded_is_of_the_kind_that_the_kernels_are_compiled_for(n: int) -> None:
    found = decode(bytes(16) + np.zeros(n, MOVE).tobytes())
    for each in (found.slots, found.records):
        assert each.flags.writeable
        assert each.flags.c_contiguous


@given(st.binary(max_size=120))
def test_whatever_a_payload_holds_only_a_wire_error_comes_of_it(payload: bytes) -> None:
    try:
        assert len(decode(payload).slots) == (len(payload) - 16) // 36
    except WireError:
        assert len(payload) < 16 or (len(payload) - 16) % 36


def test_a_channel_names_its_page() -> None:
    assert page_of(b"geo:feed:12") == 12
    for other in (b"geo:feed:", b"geo:feed:x", b"12", b"fan:12"):
        with pytest.raises(WireError):
            page_of(other)
