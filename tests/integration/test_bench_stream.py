"""The load client of the stream benchmark against its own null sink, and the raw socket that it is compared with."""

import os

import numpy as np
import pytest

from bench.stream.frames import pings
from bench.stream.phones import Pace, connect, drive
from bench.stream.servers import started

pytestmark = pytest.mark.integration

PHONES, FRAMES = 20, 6_000
"""More than a fast machine sends before the measuring begins."""


@pytest.mark.parametrize("pace", [Pace(window=4), Pace(frames_per_s=4_000)], ids=["window", "clock"])
def test_a_crowd_sends_what_it_says_and_hears_every_acknowledgement(pace: Pace) -> None:
    random = np.random.default_rng(3)
    sent = pings(PHONES, FRAMES, 10, from_ms=1_750_000_000_000, bad_every=0, random=random)
    lines = sent.on_the_line(random)
    cpu = min(os.sched_getaffinity(0))
    with started("bench.stream.sink", str(len(lines[0]) // FRAMES), cpu=cpu) as sink:
        crowd = connect(sink.port, lines, FRAMES, None)
        driven = drive(crowd, sent, pace, 0.4, {"sink": [sink.pid]})
        crowd.close()
    assert driven.unacknowledged == 0
    assert driven.sent.sum() > 0
    assert driven.frames_per_s > 0
    assert driven.shares["sink"] > 0
    if pace.frames_per_s:
        assert driven.sent.sum() <= 0.4 * pace.frames_per_s + PHONES
        assert np.array_equal(np.count_nonzero(driven.sent_at_s, axis=1), driven.sent)
