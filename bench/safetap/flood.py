"""A process of its own: phones that send pings as fast as a gateway takes them, until it is ended."""

import argparse
import sys
from pathlib import Path

import numpy as np

from bench.stream.frames import pings
from bench.stream.phones import Pace, connect, drive

FRAMES = 2_000
PHONES = 900
"""So many that no single one sends more than a phone may."""


def main() -> None:
    """Print a line when the flood runs."""
    parser = argparse.ArgumentParser(prog="bench.safetap.flood")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--from-ms", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--per-s", type=float, default=0, help="frames by the clock; 0: as fast as they are acked")
    options = parser.parse_args()
    random = np.random.default_rng(7)
    tokens = options.tokens.read_text().split()[:PHONES] if options.tokens else None
    sent = pings(PHONES, FRAMES, 1, from_ms=options.from_ms, bad_every=0, random=random)
    crowd = connect(options.port, sent.on_the_line(random), FRAMES, tokens)
    print("running", flush=True)
    pace = Pace(frames_per_s=options.per_s) if options.per_s else Pace(window=6)
    drive(crowd, sent, pace, options.seconds, {})
    sys.exit(0)


if __name__ == "__main__":
    main()
