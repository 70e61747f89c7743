"""Real bytes made wrong: what a broken phone, a broken network or a curious stranger sends."""

import random
from collections.abc import Sequence

_INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xC0, 0xC1, 0xC4, 0xCF, 0xD9, 0xDD, 0xDF, 0xFF)


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of `seeds` after one to four changes of the sorts that parsers stumble over."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                data[at : at + 1] = bytes([rng.choice(_INTERESTING)])
            case 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randint(1, 8)]
            case 4:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 5:
                data[at:at] = data[: rng.randint(1, 32)]
            case _:
                other = rng.choice(seeds)
                data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data)
