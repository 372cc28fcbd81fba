"""Shares and how sure one may be of them: the two tests that the rules about calls use.

A share alone proves nothing: three of four is no trend. Must never know what is counted.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share itself; 0 of nothing is 0."""
        return self.hits / self.of if self.of else 0.0

    def __str__(self) -> str:
        """Say it in per cent."""
        return f"{self.value:.0%}"

    def at_least(self, z: float) -> float:
        """Wilson's lower bound: the true share is above it, at `z` standard errors."""
        if not self.of:
            return 0.0
        spread = z * sqrt(self.value * (1 - self.value) / self.of + z * z / (4 * self.of**2))
        return (self.value + z * z / (2 * self.of) - spread) / (1 + z * z / self.of)

    def above(self, other: "Share") -> float:
        """How many standard errors this share lies above another (two-proportion z-test)."""
        both = Share(self.hits + other.hits, self.of + other.of)
        if not self.of or not other.of or both.hits in {0, both.of}:
            return 0.0
        error = sqrt(both.value * (1 - both.value) * (1 / self.of + 1 / other.of))
        return (self.value - other.value) / error


def z_for(chance: float) -> float:
    """The standard errors that chance alone exceeds this seldom, on one side."""
    return NormalDist().inv_cdf(1 - chance)
