"""When it will be over: calls that are out and still to be made, round by round of retries.

The one forecast, for `/debug` and for previews. It reckons with what the last calls were like, so
it is right on average and wrong for a single call. From few calls there is none: a guess is not
given. Where what it cannot know can only make it later, it says so.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apollo.core.diagnosis.reported import EndedCall
from apollo.core.states import Outcome
from apollo.core.windows import WorkingHours

# Fewer calls than this are no measure of how long a call takes or whether people answer.
_CALLS_MIN: Final = 20
# A forecast over more windows than a year has is no forecast.
_WINDOWS_MAX: Final = 400
_HORIZON: Final = timedelta(days=366)
# With fewer expected in a round of retries it is likelier that nobody is in it.
_LIKELY: Final = 0.7
# Calls out for so much longer than those that ended show that the ended ones were the short ones.
_OUTLASTED: Final = 1.5
# What ends a contact at the first try, besides an answer.
_FINAL_REASONS: Final = frozenset({"declined", "bad_number", "unwanted"})


@dataclass(frozen=True, slots=True)
class Measured:
    """What calls were like: seconds for which each held a slot, ascending; the share retried."""

    holds: tuple[float, ...]
    retry_share: float

    @property
    def hold_s(self) -> float:
        """The mean, in seconds."""
        return max(sum(self.holds) / len(self.holds), 0.001)

    def left_s(self, elapsed_s: float) -> float:
        """How many seconds a call that is out for so long has left, on average."""
        longer = [held - elapsed_s for held in self.holds if held > elapsed_s]
        return sum(longer) / len(longer) if longer else 0.0

    def longest_s(self, calls: float) -> float:
        """How many seconds the longest of so many calls takes, most likely."""
        nth = round(len(self.holds) * calls / (calls + 1))
        return self.holds[min(nth, len(self.holds) - 1)]

    def is_outlasted(self, elapsed: Sequence[float]) -> bool:
        """Whether calls that are out prove that the measured ones were too short a sample."""
        if not elapsed:
            return False
        mean_s = sum(elapsed) / len(elapsed)
        return mean_s > _OUTLASTED * self.hold_s or max(elapsed) > 1.0 + 1.2 * self.holds[-1]


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts that are ready from `first_at` to `last_at`, each with so many retries left."""

    contacts: float
    retries_left: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done: groups that wait, calls that are out, and what bounds the pace."""

    waiting: Sequence[Group]
    # Seconds for which each call has been out, and how many retries its contact has left.
    out: Sequence[tuple[float, int]] = ()
    measured: Measured
    cooldown: timedelta
    hours: WorkingHours
    ring: timedelta
    slots: float
    # The pace over all campaigns, in calls a second; None: as fast as slots allow.
    per_second: float | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When it is over. `not_reached`: contacts left out because the batch's end came first."""

    finish_at: datetime
    not_reached: int = 0


def measure(calls: Sequence[EndedCall]) -> Measured | None:
    """Measure the last calls; None when they are too few."""
    if len(calls) < _CALLS_MIN:
        return None
    held = sorted((call.ended_at - call.requested_at).total_seconds() for call in calls)
    return Measured(tuple(held), sum(leads_to_retry(call) for call in calls) / len(calls))


def leads_to_retry(call: EndedCall) -> bool:
    """Whether a call ended so that another one follows while retries are left."""
    return call.outcome is not Outcome.COMPLETED and call.hangup_reason not in _FINAL_REASONS


def forecast(work: Work, start: datetime) -> Forecast | None:
    """Say when all is done, calls being made from `start` on; None beyond a year.

    Round by round: a round is over when its slots had the time for it, and no sooner than the last
    of it was ready and had its call. Whoever is not reached is ready again after the cooldown.
    """
    measured = work.measured
    left = [measured.left_s(elapsed_s) for elapsed_s, _ in work.out]
    hold = timedelta(seconds=measured.hold_s)
    done = over = start + timedelta(seconds=max(left, default=0.0))
    first_end = start + timedelta(seconds=min(left, default=0.0))
    # Slots are busy for so long with what was counted so far.
    apart_s = 1.0 / work.per_second if work.per_second else 0.0
    calls, busy_s, not_reached = 0.0, sum(left) / work.slots, 0.0
    groups = [group for group in work.waiting if group.contacts > 0]
    tried = defaultdict[int, float](float)
    for _, retries in work.out:
        tried[retries] += 1
    while True:
        if groups:
            begins = _after(work, start, busy_s) if not calls else groups[0].first_at
            calls += sum(group.contacts for group in groups)
            busy_s += sum(group.contacts for group in groups) * measured.hold_s / work.slots
            busy_or_paced_s = max(busy_s, calls * apart_s)
            # The last calls to start end one by one, and the longest of them is the end of all;
            # those who are not reached are spread over them.
            at_once = min(work.slots, sum(group.contacts for group in groups))
            end = _end_of(work, groups, start, busy_or_paced_s, measured.longest_s(at_once))
            mostly = _end_of(work, groups, start, busy_or_paced_s, measured.hold_s)
            if begins is None or end is None or mostly is None:
                return None
            first_end = min(group.first_at for group in groups) + hold
            over, done = max(over, mostly), max(done, end)
            in_time = _share_in_time(work, begins, end)
            for group in groups:
                not_reached += group.contacts * (1.0 - in_time)
                tried[group.retries_left] += group.contacts * in_time
        first_at, last_at = first_end + work.cooldown, over + work.cooldown
        groups = [
            Group(contacts * measured.retry_share, retries - 1, first_at, last_at)
            for retries, contacts in tried.items()
            if retries > 0
        ]
        tried.clear()
        if sum(group.contacts for group in groups) < _LIKELY:
            break
    if work.ends_at is not None and done > work.ends_at:
        return Forecast(max(work.ends_at, start), round(not_reached))
    return Forecast(done)


def _end_of(
    work: Work, groups: Sequence[Group], start: datetime, busy_s: float, last_s: float
) -> datetime | None:
    """When a round ends, its slots busy for so long since `start`, its last call being so long."""
    tail_s = last_s - work.measured.hold_s
    ends = [_after(work, start, busy_s + tail_s)]
    for group in groups:
        alone_s = group.contacts * work.measured.hold_s / work.slots
        ends.append(_after(work, group.first_at, alone_s))
        ends.append(_after(work, group.last_at, last_s))
    found = [end for end in ends if end is not None]
    return max(found) if len(found) == len(ends) else None


def _share_in_time(work: Work, begins: datetime, end: datetime) -> float:
    """Which share of a round is called before the batch ends, from 0 to 1."""
    if work.ends_at is None or end <= work.ends_at:
        return 1.0
    if begins >= work.ends_at:
        return 0.0
    return _open_s(work, begins, work.ends_at) / max(_open_s(work, begins, end), 0.001)


def _open_s(work: Work, start: datetime, end: datetime) -> float:
    """For how many seconds calls can start between two instants."""
    found, at = 0.0, start
    for _ in range(_WINDOWS_MAX):
        window = work.hours.next_window(at)
        if window is None or window.opens_at >= end or at >= end:
            break
        closes_at = min(window.closes_at - work.ring, end)
        found += max((closes_at - max(at, window.opens_at)).total_seconds(), 0.0)
        at = window.closes_at
    return found


def _after(work: Work, start: datetime, seconds: float) -> datetime | None:
    """The instant by which calls could start for so long since `start`; None beyond a year."""
    if seconds > _HORIZON.total_seconds():
        return None
    at, needed = start, seconds
    for _ in range(_WINDOWS_MAX):
        window = work.hours.next_window(at)
        if window is None:
            return None
        begins = max(at, window.opens_at)
        room_s = (window.closes_at - work.ring - begins).total_seconds()
        if needed <= room_s:
            done = begins + timedelta(seconds=needed)
            return done if done - start < _HORIZON else None
        needed -= max(room_s, 0.0)
        at = window.closes_at
    return None
