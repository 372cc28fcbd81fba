"""How much a provider's look-ups can be relied on when they are all that is left of some calls.

After a restore the calls that the database lacks are read from the provider. Whether it still has
all of them nobody knows; but of calls that the database does know, it can be counted how many the
provider still shows. It decides nothing about single calls.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from apollo.core.absence import OtherCall, Place, must_be_known


@dataclass(frozen=True, slots=True)
class Known:
    """Of so many calls of ours that a place has to know, it knows so many."""

    of: int
    known: int

    @property
    def is_blind(self) -> bool:
        """Whether there is something to know, and it knows half of it at most."""
        return self.of > 0 and self.known * 2 <= self.of


@dataclass(frozen=True, slots=True)
class Certainty:
    """What each place knows of the calls before those that are lost."""

    live_list: Known
    records: Known

    @property
    def is_measured(self) -> bool:
        """Whether there was any call to measure by."""
        return self.live_list.of + self.records.of > 0

    @property
    def is_blind(self) -> bool:
        """Whether the look-ups prove nothing: no place that can be measured knows enough."""
        measured = [place for place in (self.live_list, self.records) if place.of]
        return bool(measured) and all(place.is_blind for place in measured)

    def likely_missing(self, found: int) -> int:
        """Return how many more calls than those `found` were likely made, by the records."""
        known, of = self.records.known, self.records.of
        return round(found * (of - known) / known) if known else 0


def measure(
    before: Sequence[OtherCall], listed: Collection[str], recorded: Collection[str], now: datetime
) -> Certainty:
    """Count what the places know of calls of ours; `before` are such that certainly existed."""

    def known(place: Place, shown: Collection[str]) -> Known:
        wanted = [x for x in before if must_be_known(place, x, now)]
        return Known(len(wanted), sum(x.provider_call_id in shown for x in wanted))

    return Certainty(known(Place.LIVE_LIST, listed), known(Place.RECORDS, recorded))
