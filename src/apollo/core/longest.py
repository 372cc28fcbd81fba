"""The longest waits of the last minute, kept at the cost of a comparison each.

Times are the monotonic seconds handed in. Must never grow: what is short is not kept.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

_MINUTE_S: Final = 60.0
# Shorter ones are never looked for, and thousands of them come in a minute.
_KEPT_FROM_S: Final = 0.1
# Enough to find the third longest, whatever comes.
_KEPT_MAX: Final = 100


class Took(NamedTuple):
    """How long something took, in seconds, and each of its parts if they were timed."""

    seconds: float
    parts: tuple[float, ...] = ()

    def named(self, *names: str) -> dict[str, float] | None:
        """Give the seconds of each part under its name; None when it was timed in other parts."""
        if len(names) != len(self.parts):
            return None
        return {name: round(part, 4) for name, part in zip(names, self.parts, strict=True)}


class Longest:
    """Remembers the long ones of the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Took]] = deque(maxlen=_KEPT_MAX)

    def note(self, now: float, seconds: float, parts: Sequence[float] = ()) -> None:
        """Note how long something took that ended now."""
        if seconds >= _KEPT_FROM_S:
            self._seen.append((now, Took(seconds, tuple(parts))))

    def of_the_minute(self, now: float, *, nth: int = 1) -> float:
        """Give the longest, or the nth longest: one alone may be an accident."""
        return self.took(now, nth=nth).seconds

    def took(self, now: float, *, nth: int = 1) -> Took:
        """Give the same with its parts; 0 seconds and no parts when there were not as many."""
        recent = sorted((took for at, took in self._seen if at > now - _MINUTE_S), reverse=True)
        return recent[nth - 1] if len(recent) >= nth else Took(0.0)
