"""When it will be over: calls still to be made, at a measured pace, inside the calling hours.

A forecast from few calls is a guess, and a guess is not given: then there is None. It reckons with
the mean, so it is right on average and wrong for a single call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apollo.core.diagnosis.reported import EndedCall
from apollo.core.states import Outcome
from apollo.core.windows import WorkingHours

# Fewer calls than this are no measure of how long a call takes or whether people answer.
_CALLS_MIN: Final = 20
# What ended longer ago was another hour of the day.
_RECENT: Final = timedelta(minutes=10)
# A forecast over more windows than a year has is no forecast.
_WINDOWS_MAX: Final = 400
_HORIZON: Final = timedelta(days=366)
# What ends a contact at the first try, besides an answer.
_FINAL_REASONS: Final = frozenset({"declined", "bad_number", "unwanted"})


@dataclass(frozen=True, slots=True)
class Measured:
    """What calls were like: how long one holds a slot, and how many lead to a retry."""

    hold_s: float
    retry_share: float
    # Calls that ended a second lately; None when nothing much did.
    per_second: float | None


def measure(calls: Sequence[EndedCall], now: datetime) -> Measured | None:
    """Measure the last calls; None when they are too few."""
    if len(calls) < _CALLS_MIN:
        return None
    held = sum((call.ended_at - call.requested_at).total_seconds() for call in calls)
    again = sum(
        call.outcome is not Outcome.COMPLETED and call.hangup_reason not in _FINAL_REASONS
        for call in calls
    )
    recent = [call.ended_at for call in calls if call.ended_at > now - _RECENT]
    took_s = (now - min(recent)).total_seconds() if recent else 0.0
    is_measured = len(recent) >= _CALLS_MIN and took_s > 1.0
    return Measured(
        hold_s=max(held / len(calls), 0.001),
        retry_share=again / len(calls),
        per_second=len(recent) / took_s if is_measured else None,
    )


def calls_needed(contacts: int, *, max_retries: int, retry_share: float) -> float:
    """How many calls so many contacts take, on average."""
    return contacts * sum(retry_share**n for n in range(max_retries + 1))


def longest_wait(
    contacts: int, *, max_retries: int, retry_share: float, cooldown: timedelta
) -> timedelta:
    """How long the last of them waits between its retries: as many as one of them may need."""
    retries = 0
    while retries < max_retries and contacts * retry_share ** (retries + 1) >= 1.0:
        retries += 1
    return cooldown * retries


def finish_at(
    hours: WorkingHours, start: datetime, calls: float, *, per_second: float, ring: timedelta
) -> datetime | None:
    """When so many calls are made, at this pace and inside the hours; None beyond a year."""
    needed = calls / per_second
    if needed > _HORIZON.total_seconds():
        return None
    at = start
    for _ in range(_WINDOWS_MAX):
        window = hours.next_window(at)
        if window is None:
            return None
        begins = max(at, window.opens_at)
        room_s = (window.closes_at - ring - begins).total_seconds()
        if needed <= room_s:
            done = begins + timedelta(seconds=needed)
            return done if done - start < _HORIZON else None
        needed -= max(room_s, 0.0)
        at = window.closes_at
    return None
