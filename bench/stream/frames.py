"""Prebuilt pings: what thousands of phones will send, masked and ready for the line, and what must come of it. Pure."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.vocabulary import FixRefusal
from engine.geo.fixes import FIX, FIX_BYTES, FixArray

STEP_MS: Final = 1_000
"""Time between two fixes of a phone."""
FIRST_SEQ: Final = 100_000
"""Phones count over their lifetime: their numbers are no longer small."""
BAD: Final = (FixRefusal.INVALID, FixRefusal.FUTURE, FixRefusal.JUMP, FixRefusal.DUPLICATE)
"""What a bad fix is refused for, in turn."""

_SMALL: Final = 126
_CENTRE_DEG: Final = (41.15, -8.61)
_SPREAD_DEG: Final = (0.08, 0.1)
_STEP_E7: Final = (1_000, 1_300)
"""About 11 m: a worker in traffic."""
_JUMP_E7: Final = 1_300_000
"""14 km."""
_AHEAD_MS: Final = 40 * 86_400_000

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pings:
    """Everything that a crowd of phones sends, frame by frame; a phone is a row."""

    fixes: FixArray
    """Shape (phones, frames, fixes a frame)."""
    bad: NDArray[np.int8]
    """Of each frame which of `BAD` its first fix breaks; -1: none. Shape (phones, frames)."""

    from_ms: int
    """The time of the first fix."""

    @property
    def phones(self) -> int:
        """How many phones there are."""
        return len(self.fixes)

    @property
    def frames(self) -> int:
        """How many frames each has."""
        return int(self.fixes.shape[1])

    @property
    def fixes_per_frame(self) -> int:
        """How many fixes a frame holds."""
        return int(self.fixes.shape[2])

    def on_the_line(self, random: np.random.Generator) -> list[bytes]:
        """Return of each phone all its websocket frames, one after the other, each of the same length."""
        payload_bytes = self.fixes_per_frame * FIX_BYTES
        length = (b"\xc4" + bytes((payload_bytes,))) if payload_bytes < 256 else b"\xc5" + payload_bytes.to_bytes(2)  # noqa: PLR2004 - MessagePack
        message_bytes = 7 + len(length) + payload_bytes
        head = (
            bytes((0x82, 0x80 | message_bytes)) if message_bytes < _SMALL else b"\x82\xfe" + message_bytes.to_bytes(2)
        )
        lines: Bytes = np.zeros((self.phones, self.frames, len(head) + 4 + message_bytes), np.uint8)
        body = lines[..., len(head) + 4 :]
        lines[..., : len(head)] = np.frombuffer(head, np.uint8)
        body[..., :3] = (0x93, 1, 0xCE)
        seqs = (FIRST_SEQ + np.arange(self.frames)).astype(">u4")
        body[..., 3:7] = seqs.view(np.uint8).reshape(self.frames, 4)
        body[..., 7 : 7 + len(length)] = np.frombuffer(length, np.uint8)
        raw = np.ascontiguousarray(self.fixes).view(np.uint8)
        body[..., 7 + len(length) :] = raw.reshape(self.phones, self.frames, payload_bytes)
        _mask(lines, len(head), random)
        return [row.tobytes() for row in lines]

    def expected(self, sent: NDArray[np.int64]) -> tuple[int, Counter[FixRefusal]]:
        """Return how many fixes are accepted and how many refused for what, where phone i sent `sent[i]` frames."""
        was_sent = np.arange(self.frames) < sent[:, None]
        refused = Counter({reason: int((was_sent & (self.bad == code)).sum()) for code, reason in enumerate(BAD)})
        return int(was_sent.sum()) * self.fixes_per_frame - refused.total(), refused

    def last_places(self, sent: NDArray[np.int64]) -> FixArray:
        """Return the newest good fix of each phone that sent at least one frame: always the last of its frame."""
        heard = np.flatnonzero(sent)
        newest: FixArray = self.fixes[heard, sent[heard] - 1, -1]
        return newest


def pings(
    phones: int, frames: int, fixes_per_frame: int, *, from_ms: int, bad_every: int, random: np.random.Generator
) -> Pings:
    """Let workers stroll through a city; every `bad_every`-th frame of a phone begins with a fix that must be refused.

    `from_ms`: the time of the first fix. `bad_every` 0, or frames of a single fix: no bad ones among the good; with
    single fixes a bad frame holds nothing else.
    """
    count = frames * fixes_per_frame
    fixes = np.zeros((phones, count), FIX)
    fixes["ts_ms"] = from_ms + STEP_MS * np.arange(count)
    for column, centre, spread, step in zip(("lat_e7", "lng_e7"), _CENTRE_DEG, _SPREAD_DEG, _STEP_E7, strict=True):
        first = random.uniform(-spread, spread, (phones, 1)) + centre
        ways = random.choice((-step, step), (phones, 1)) + random.integers(-step // 4, step // 4, (phones, count))
        fixes[column] = first * 10_000_000 + ways.cumsum(axis=1)
    fixes["accuracy_dm"], fixes["speed_cm_s"], fixes["heading_cdeg"], fixes["battery_pct"] = 50, 1_200, 9_000, 87
    shaped = fixes.reshape(phones, frames, fixes_per_frame)
    bad = np.full((phones, frames), -1, np.int8)
    if bad_every and fixes_per_frame > 1:
        at = (np.arange(frames) + np.arange(phones)[:, None]) % bad_every == 0
        at[:, 0] = False
        bad[at] = (np.arange(np.count_nonzero(at)) % len(BAD)).astype(np.int8)
        _spoil(shaped, bad)
    return Pings(shaped, bad, from_ms)


def _spoil(fixes: FixArray, bad: NDArray[np.int8]) -> None:
    for code, reason in enumerate(BAD):
        at = np.nonzero(bad == code)
        first = (*at, np.zeros(len(at[0]), np.int64))
        match reason:
            case FixRefusal.INVALID:
                fixes["lat_e7"][first] = 950_000_000
            case FixRefusal.FUTURE:
                fixes["ts_ms"][first] += _AHEAD_MS
            case FixRefusal.JUMP:
                fixes["lat_e7"][first] += _JUMP_E7
            case _:
                fixes["ts_ms"][first] = fixes["ts_ms"][at[0], at[1] - 1, -1]


def _mask(lines: Bytes, at: int, random: np.random.Generator) -> None:
    """Mask every frame with a key of its own, as RFC 6455 asks of clients."""
    keys = random.integers(0, 256, (*lines.shape[:2], 4), np.uint8)
    lines[..., at : at + 4] = keys
    body = lines[..., at + 4 :]
    for place in range(4):
        body[..., place::4] ^= keys[..., place, None]
