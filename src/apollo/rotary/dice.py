"""Seeded chance.

What falls depends only on the seed and on the words that name the throw, never on the order in
which throws are made, so that a rehearsal can be repeated under any load.
"""

from hashlib import blake2b
from random import Random

WHOLE = 1 << 64  # a throw is 64 bits of the hash


def _throw(seed: int, words: tuple[object, ...]) -> int:
    text = "\x1f".join((str(seed), *map(str, words)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def chance(seed: int, *words: object) -> float:
    """A number in [0, 1) that belongs to these words."""
    return _throw(seed, words) / WHOLE


def source(seed: int, *words: object) -> Random:
    """A source of randomness that belongs to these words, for more than one throw."""
    return Random(_throw(seed, words))  # noqa: S311 - a simulation, not cryptography
