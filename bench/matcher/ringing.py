"""Phones that send a fix every few seconds and note the moment at which an offer rings: one thread, one selector."""

import selectors
import threading
import time
from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from bench.stream.frames import pings
from bench.stream.phones import connect

PERIOD_S: Final = 5.0
"""Each phone sends a fix this often."""
FRAMES: Final = 60
READ_BYTES: Final = 65_536
OFFER: Final = b"offer_id"
ID: Final = b"booking_id"
UUID_CHARS: Final = 36


class Phones:
    """Signed-in workers; `rang` holds, by booking, which phones rang and when (`time.perf_counter`)."""

    def __init__(self, port: int, tokens: Sequence[str], *, from_ms: int, random: np.random.Generator) -> None:
        sent = pings(len(tokens), FRAMES, 1, from_ms=from_ms, bad_every=0, random=random)
        self._crowd = connect(port, sent.on_the_line(random), FRAMES, tokens)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stops = threading.Event()
        self.rang: dict[str, list[tuple[int, float]]] = {}
        self.places_deg = sent.fixes[:, 0, 0]["lat_e7"] / 1e7, sent.fixes[:, 0, 0]["lng_e7"] / 1e7

    def __enter__(self) -> Self:
        """Begin to send and to listen."""
        self._thread.start()
        return self

    def __exit__(self, *_why: object) -> None:
        """Hang up."""
        self._stops.set()
        self._thread.join()
        self._crowd.close()

    def _run(self) -> None:
        selector = selectors.DefaultSelector()
        for row, each in enumerate(self._crowd.sockets):
            selector.register(each, selectors.EVENT_READ, row)
        count, began = len(self._crowd.sockets), time.perf_counter()
        total = 0
        while not self._stops.is_set():
            due = int((time.perf_counter() - began) / PERIOD_S * count) + count
            while total < min(due, count * FRAMES):
                self._send(total % count, total // count)
                total += 1
                if total % 50 == 0:
                    break
            for key, _ in selector.select(timeout=0.002):
                self._hear(key.data)

    def _send(self, row: int, number: int) -> None:
        size = self._crowd.frame_bytes
        self._crowd.sockets[row].send(self._crowd.lines[row][number * size : (number + 1) * size])

    def _hear(self, row: int) -> None:
        data = self._crowd.sockets[row].recv(READ_BYTES)
        at_s = time.perf_counter()
        offer = data.find(OFFER)
        named = data.find(ID, offer) if offer >= 0 and b"expires_at" in data else -1
        if named < 0:
            return
        # MessagePack: the key, then a string of 36 bytes (0xd9 0x24).
        start = named + len(ID) + 2
        booking_id = data[start : start + UUID_CHARS].decode("ascii", "replace")
        self.rang.setdefault(booking_id, []).append((row, at_s))
