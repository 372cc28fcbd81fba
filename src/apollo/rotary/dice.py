"""Seeded chance.

What falls depends only on the seed and on the words that name the throw, never on the order in
which throws are made, so that a rehearsal can be repeated under any load.
"""

import struct
from hashlib import blake2b

MOST = 8  # throws at a time: one hash of 64 bytes
WHOLE = 1 << 64  # a throw is 64 bits of the hash

_split = struct.Struct(f">{MOST}Q").unpack


def throws(seed: int, *words: object) -> tuple[float, ...]:
    """MOST numbers in [0, 1) that belong to these words."""
    text = "\x1f".join((str(seed), *map(str, words)))
    return tuple(number / WHOLE for number in _split(blake2b(text.encode()).digest()))


def chance(seed: int, *words: object) -> float:
    """A number in [0, 1) that belongs to these words."""
    return throws(seed, *words)[0]
