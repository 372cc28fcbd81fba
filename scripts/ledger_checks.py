"""What RotaryRouter's ledger says about a run: the invariants that a witness can judge."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

Line = dict[str, Any]
# Before the next fault comes, in a run that makes one every ten seconds.
_FELT_WITHIN: Final = timedelta(seconds=9)
Span = tuple[datetime, datetime]


def placed(lines: Iterable[Line]) -> list[Line]:
    """The lines of requests that became calls."""
    return [line for line in lines if line.get("placed_at")]


def violations(lines: Sequence[Line], *, limit: int, attempts_max: int) -> list[str]:
    """Everything that must not have happened: I1, I2, I3, I6 and I8."""
    calls = placed(lines)
    faults = []
    by_number: dict[str, list[Line]] = defaultdict(list)
    for call in calls:
        by_number[call["to"]].append(call)
    for number, own in by_number.items():
        if most_at_once(own) > 1:
            faults.append(f"I1: {number[-4:]} had two calls at once")
        answered = [at(call["answered_at"]) for call in own if call.get("answered_at")]
        if answered and any(at(call["placed_at"]) > min(answered) for call in own):
            faults.append(f"I3: {number[-4:]} was called after an answered call")
        if len(own) > attempts_max:
            faults.append(f"I8: {number[-4:]} was called {len(own)} times of {attempts_max}")
    tags = Counter((call.get("tag") or {}).get("execution_id") for call in calls)
    faults += [f"I2: {tag} is {count} calls" for tag, count in tags.items() if count > 1]
    if (most := most_at_once(calls)) > limit:
        faults.append(f"I6: {most} calls at once, and {limit} are allowed")
    return faults


def most_at_once(calls: Iterable[Line]) -> int:
    """How many of these calls were up at the same time at most."""
    steps = []
    for call in calls:
        steps.append((at(call["placed_at"]), 1))
        if call.get("ended_at"):
            steps.append((at(call["ended_at"]), -1))
    # Where one ends as the next begins, the end comes first.
    live = most = 0
    for _, step in sorted(steps):
        live += step
        most = max(most, live)
    return most


def longest_silence(calls: Iterable[Line]) -> timedelta:
    """The longest time in which no call was placed, between the first and the last."""
    moments = sorted(at(call["placed_at"]) for call in calls)
    return max((b - a for a, b in pairwise(moments)), default=timedelta())


def silence_at(calls: Iterable[Line], fault: datetime) -> timedelta:
    """The longest time without a new call that a fault brought: begun before it or soon after."""
    moments = sorted(at(call["placed_at"]) for call in calls)
    near = [b - a for a, b in pairwise(moments) if fault <= b and a <= fault + _FELT_WITHIN]
    return max(near, default=timedelta())


def at(text: str) -> datetime:
    """Read an instant of the ledger."""
    return datetime.fromisoformat(text)
