"""What may be concluded of a call that the provider does not show any more.

Absence in one place is no proof: a provider whose store of calls is away, or was lost, answers an
empty list and "no such call" for calls that are up, and call-detail records get lost one by one. So
a person is called again only when two places that were asked, each shown to know the calls made
around that time, both lack this one. It must never take an empty answer for such a look.
"""

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apollo.core.events import CallEvent, CallVanished, Evidence, QuarantineOver
from apollo.core.model import Deadlines, OnUnresolved
from apollo.core.states import CallState

# Calls within this of each other are of one time. A store that was lost in between would have to
# come and go within it, and lack none of the nearest calls.
OF_THAT_TIME: Final = timedelta(minutes=5)
# One side is judged by so many calls, the nearest: one of them may have been lost by itself.
NEAREST: Final = 3
# jambonz lists a call for an hour after its end; ten minutes less, for clocks and slow looks.
LISTED_FOR: Final = timedelta(minutes=50)
# A record is written when the call has ended, and buffered up to 20 s; some more for a slow store.
WRITTEN_AFTER: Final = timedelta(seconds=90)


class Place(enum.StrEnum):
    """Where a provider is asked about a call."""

    LIVE_LIST = "live_list"
    RECORDS = "records"


class Look(enum.StrEnum):
    """What a look into one place is worth, for a call that it did not show."""

    SIGHTED = "sighted"  # it knows the calls before and after this one: what it lacks is not there
    BLIND = "blind"  # it lacks most of those before or after it as well: it may have lost this one
    ALONE = "alone"  # no other call of that time could be asked about


@dataclass(frozen=True, slots=True)
class OtherCall:
    """Another call of ours of which the provider itself has told that it existed."""

    provider_call_id: str
    requested_at: datetime
    # None: it is open.
    ended_at: datetime | None
    # Whether it rang or was answered. A call that was refused before it left has no record.
    has_rung: bool


def calls_beside(
    place: Place, requested_at: datetime, others: Iterable[OtherCall], now: datetime
) -> tuple[list[OtherCall], list[OtherCall]]:
    """Return the calls that a place has to know: (before, after), the nearest first.

    `requested_at` is when the missing call was asked for. Before it, in the live list, are those
    that were over by then: nothing was written about them since, so a store that still has them was
    not emptied meanwhile. After it are those asked for later, which shows that the store took what
    was written. A record is written once, so there both sides are in the order of their requests.
    """
    before: list[tuple[timedelta, OtherCall]] = []
    after: list[tuple[timedelta, OtherCall]] = []
    for other in others:
        if not must_be_known(place, other, now):
            continue
        if other.requested_at >= requested_at:
            after.append((other.requested_at - requested_at, other))
        elif place is Place.RECORDS:
            before.append((requested_at - other.requested_at, other))
        elif other.ended_at is not None and other.ended_at <= requested_at:
            before.append((requested_at - other.ended_at, other))
    return _nearest(before), _nearest(after)


def worth(beside: tuple[Sequence[OtherCall], Sequence[OtherCall]], known: Collection[str]) -> Look:
    """Judge a look by the calls it must know; `known` are the provider's ids that it showed.

    It has to know most of them on both sides. A side without any call makes it `ALONE`: of the only
    call of a small installation nobody can say what its absence means.
    """
    if not all(beside):
        return Look.ALONE
    for side in beside:
        shown = sum(other.provider_call_id in known for other in side)
        if shown * 2 <= len(side):
            return Look.BLIND
    return Look.SIGHTED


def worth_of_list(others: Iterable[OtherCall], listed: Collection[str], now: datetime) -> Look:
    """Judge what the live list is worth for calls that nobody can name, as after a restore.

    It has to know most of the calls that ended last: what was lost with a store was lost with all
    that ended before. A call that is up would not do, as above.
    """
    ended = [
        other
        for other in others
        if other.ended_at is not None and must_be_known(Place.LIVE_LIST, other, now)
    ]
    ended.sort(key=lambda other: (other.ended_at, other.provider_call_id), reverse=True)
    latest = ended[:NEAREST]
    if not latest:
        return Look.ALONE
    shown = sum(other.provider_call_id in listed for other in latest)
    return Look.SIGHTED if shown * 2 > len(latest) else Look.BLIND


def needs_proof(state: CallState, *, was_answered: bool, policy: OnUnresolved) -> bool:
    """Tell whether it matters if the absence of a call is proven: only where a retry may follow."""
    if state is CallState.UNKNOWN:
        return policy is OnUnresolved.RELEASE
    return not was_answered


def conclude(
    *,
    state: CallState,
    was_answered: bool,
    age: timedelta,
    read_at: datetime,
    deadlines: Deadlines,
    is_proven: bool,
) -> CallEvent | None:
    """Return what follows for a call that was found nowhere; None: it stays open, look again.

    `age` is the time since it was asked for. `is_proven`: the provider said that its session is
    over, or both places are sighted. Only then may the person be called again. Without proof a call
    stays open until it would be over even if somebody had answered it, and is then held.
    """
    if state is CallState.UNKNOWN:
        if age < deadlines.quarantine:
            return None
        may_retry = is_proven and deadlines.on_unresolved is OnUnresolved.RELEASE
        return QuarantineOver(at=read_at, evidence=Evidence.ASSUMED, may_retry=may_retry)
    if not (was_answered or is_proven) and age < longest(deadlines):
        return None
    return CallVanished(at=read_at, evidence=Evidence.ASSUMED, may_retry=is_proven)


def longest(deadlines: Deadlines) -> timedelta:
    """Return how long a call lasts at most: it rings, is answered and talks to its end."""
    return deadlines.ring_timeout + deadlines.time_limit + deadlines.grace


def must_be_known(place: Place, other: OtherCall, now: datetime) -> bool:
    """Tell whether a place that lost nothing has this call by now."""
    if place is Place.LIVE_LIST:
        return other.ended_at is None or now - other.ended_at <= LISTED_FOR
    return other.has_rung and other.ended_at is not None and now - other.ended_at >= WRITTEN_AFTER


def _nearest(side: list[tuple[timedelta, OtherCall]]) -> list[OtherCall]:
    near = [pair for pair in side if pair[0] <= OF_THAT_TIME]
    near.sort(key=lambda pair: (pair[0], pair[1].provider_call_id))
    return [other for _, other in near[:NEAREST]]
