"""How the diagnosis may conclude: what a sample of results proves, and whom it may blame.

Every rule about calls, webhooks and processes weighs its evidence here and nowhere else, so that
none can leave the discipline: whose results they are (scope), how many (quorum), whether the newest
agree (freshness), and for whom no comparison exists. Must never know what is counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import sqrt
from statistics import NormalDist
from typing import Final, NamedTuple

# Fewer results than this speak, and are never certain.
QUORUM: Final = 3
# One-sided, one in twenty: three of three are surely more than half, and three good ones in a row
# surely fewer.
_SURE_Z: Final = 1.645
# A finding that speaks \"so far\" is right more often than not: five of six such shares are real.
_LIKELY_Z: Final = 1.0
_MOST: Final = 0.5
# Where earlier results were good, the newest have to differ for more than an accident of one in a
# hundred: six in a row. A poor list has three in a row now and then.
_TURNED_Z: Final = 2.326
# What is over is told for so long, with its times, and then forgotten.
NEWS_FOR: Final = timedelta(minutes=5)
# More results are never looked at.
_TAIL_MAX: Final = 200


class Claim(StrEnum):
    """What a sample proves."""

    CLEAR = "clear"  # nothing against it
    SO_FAR = "so_far"  # a few results say so, and the next ones decide
    HOLDS = "holds"  # enough results say so, and the newest agree
    OVER = "over"  # it held, and the newest results contradict it


class Kind(StrEnum):
    """Whose results a sample holds, from narrow to wide."""

    NUMBER = "number"
    CALLER_ID = "caller_id"
    BATCH = "batch"
    CAMPAIGN = "campaign"
    AGENT = "agent"
    ORGANISATION = "organisation"
    CONNECTION = "connection"
    PROCESS = "process"
    INSTALLATION = "installation"


class Scope(NamedTuple):
    """Whose results a sample holds; `name` as a person knows it."""

    kind: Kind
    name: str


class Result(NamedTuple):
    """One thing that was tried: when its result was known, and whether it is a hit."""

    at: datetime
    is_hit: bool


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many. A share alone proves nothing: three of four is no trend."""

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
        return self._bound(-z) if self.of else 0.0

    def at_most(self, z: float) -> float:
        """Wilson's upper bound: the true share is below it, at `z` standard errors."""
        return self._bound(z) if self.of else 1.0

    def _bound(self, z: float) -> float:
        spread = z * sqrt(self.value * (1 - self.value) / self.of + z * z / (4 * self.of**2))
        return (self.value + z * z / (2 * self.of) + spread) / (1 + z * z / self.of)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Results of one scope, newest first. Those of two scopes are compared and never added up."""

    scope: Scope
    results: tuple[Result, ...] = ()

    @property
    def share(self) -> Share:
        """Hits of all results."""
        return Share(sum(one.is_hit for one in self.results), len(self.results))

    @property
    def hits(self) -> int:
        """How many results are hits."""
        return self.share.hits

    @property
    def of(self) -> int:
        """How many results there are."""
        return len(self.results)

    @property
    def first_at(self) -> datetime | None:
        """When the first hit was known."""
        return min((one.at for one in self.results if one.is_hit), default=None)

    @property
    def newest_at(self) -> datetime | None:
        """When the newest hit was known."""
        return max((one.at for one in self.results if one.is_hit), default=None)

    @property
    def tested_at(self) -> datetime | None:
        """When anything was last found out, good or bad."""
        return self.results[0].at if self.results else None

    @property
    def good_since(self) -> datetime | None:
        """When the good results at its end began; None when the newest is a hit."""
        good: datetime | None = None
        for one in self.results:
            if one.is_hit:
                break
            good = one.at
        return good

    @property
    def bad_since(self) -> datetime | None:
        """When the present bad stretch began: its oldest hit before a quorum of good ones."""
        since, good = None, 0
        for one in self.results:
            good = 0 if one.is_hit else good + 1
            if one.is_hit:
                since = one.at
            elif since is not None and good >= QUORUM:
                break
        return since

    @property
    def tail(self) -> str:
        """The newest results as letters: B for a hit, G for none."""
        return "".join("B" if one.is_hit else "G" for one in self.results)


class Need(NamedTuple):
    """What a claim needs: a share above this, and so many results before it is certain."""

    above: float = 0.5
    quorum: int = QUORUM


def sample(scope: Scope, results: Iterable[Result]) -> Sample:
    """Make a sample of results, in whatever order they come."""
    ordered = sorted(results, key=lambda one: one.at, reverse=True)
    return Sample(scope=scope, results=tuple(ordered[:_TAIL_MAX]))


def weigh(found: Sample, need: Need, now: datetime) -> Claim:
    """Say what a sample proves now.

    The newest results that suffice decide, however many older ones disagree with them.
    """
    bad = [one.is_hit for one in found.results]
    claim = _decide(bad, need)
    if claim is not Claim.CLEAR:
        return claim
    for nth, one in enumerate(found.results[1:], 1):
        if found.results[nth - 1].at <= now - NEWS_FOR:
            break
        if one.is_hit and _decide(bad[nth:], need) is Claim.HOLDS:
            return Claim.OVER
    return Claim.CLEAR


def _decide(bad: Sequence[bool], need: Need) -> Claim:
    """Say what results prove, newest first: the fewest of the newest that are sure decide."""
    every, hits = Share(sum(bad), len(bad)), 0
    if not every.hits:
        return Claim.CLEAR
    for of, is_hit in enumerate(bad, 1):
        hits += is_hit
        if of < need.quorum:
            continue
        newest, older = Share(hits, of), Share(every.hits - hits, every.of - of)
        if newest.at_least(_TURNED_Z if older.of else _SURE_Z) > need.above:
            return Claim.HOLDS
        if newest.at_most(_SURE_Z) < max(need.above, older.value / 2):
            return Claim.CLEAR
    # One among others is an accident, whatever share of them it is. So are a few among many while
    # their share could still be a usual one.
    is_most = every.value > _MOST or every.at_least(_LIKELY_Z) > need.above
    is_told = every.hits == every.of or (every.hits > 1 and is_most)
    return Claim.SO_FAR if is_told and every.value > need.above else Claim.CLEAR


class Blame(NamedTuple):
    """Whom failures belong to: the scope, its own results, and those of the rest if there are."""

    own: Sample
    # None where there is nothing to compare with.
    rest: Sample | None
    # Whether the rest is good, so that the fault surely lies within.
    is_narrow: bool
    # Whether others surely fail as well, so that the fault is nobody's own.
    is_shared: bool = False


def blame(nested: Sequence[tuple[Sample, Sample]], need: Need, now: datetime) -> Blame | None:
    """Give the narrowest scope that fails and whose rest does not; None when none fails.

    `nested` holds scopes from narrow to wide, each with the results outside of it. Where the rest
    fails as well it is nobody's own; where there is no rest, nobody can tell.
    """
    found: Blame | None = None
    is_shared = False
    for own, rest in nested:
        is_shared |= weigh(rest, need, now) is Claim.HOLDS
        if weigh(own, need, now) not in {Claim.SO_FAR, Claim.HOLDS}:
            continue
        is_narrow = rest.of > 0 and weigh(rest, need, now) in {Claim.CLEAR, Claim.OVER}
        found = Blame(own, rest if rest.of else None, is_narrow, is_shared and not is_narrow)
        if is_narrow:
            return found
    return found
