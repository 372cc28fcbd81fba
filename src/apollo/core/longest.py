"""The longest waits of the last minute, kept at the cost of a comparison each.

Times are the monotonic seconds handed in. Must never grow: what is short is not kept.
"""

from collections import deque
from typing import Final

_MINUTE_S: Final = 60.0
# Shorter ones are never looked for, and thousands of them come in a minute.
_KEPT_FROM_S: Final = 0.1
# Enough to find the third longest, whatever comes.
_KEPT_MAX: Final = 100


class Longest:
    """Remembers the long ones of the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=_KEPT_MAX)

    def note(self, now: float, seconds: float) -> None:
        """Note how long something took that ended now."""
        if seconds >= _KEPT_FROM_S:
            self._seen.append((now, seconds))

    def of_the_minute(self, now: float, *, nth: int = 1) -> float:
        """Give the longest, or the nth longest: one alone may be an accident."""
        recent = sorted((s for at, s in self._seen if at > now - _MINUTE_S), reverse=True)
        return recent[nth - 1] if len(recent) >= nth else 0.0
