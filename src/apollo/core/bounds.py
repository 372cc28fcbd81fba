"""Values that others send, kept within what PostgreSQL and Python can hold.

Providers, agents and clients are read through these functions wherever their values come in. What
is merely odd becomes None, so that one silly field never costs the event around it; only an
instant raises, because a client can correct it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

# Final answers of SIP are 200 to 699, provisional ones begin at 100. The column is a smallint.
SIP_STATUSES: Final = range(100, 700)
# Three years: no call is longer, and the column is an integer.
DURATIONS_S: Final = range(10**8)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
# Reasons and ids are a line of text; what is longer was not written by a telephone network.
TEXT_CHARS_MAX: Final = 500


def whole(value: object, allowed: range) -> int | None:
    """Return a whole number out of `allowed`, also from digits in a text; None for all else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:  # noqa: PLR2004 - past every range
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and value in allowed else None  # type: ignore[return-value]


def text(value: object, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    """Return a text that PostgreSQL takes: without NUL, at most `chars_max` long; else None."""
    return value.replace("\0", "")[:chars_max] if isinstance(value, str) else None


def instant(at: datetime) -> datetime:
    """Return an aware time in UTC. Raises ValueError outside the years 1 to 9999."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 once converted to UTC") from None


def before(at: datetime, span: timedelta) -> datetime:
    """Return the instant `span` before `at` (UTC), or the first of year 1 where that is later."""
    return at - min(span, at - _FIRST)


def after(at: datetime, span: timedelta) -> datetime:
    """Return the instant `span` after `at` (UTC), or the last of year 9999 where that is sooner."""
    return at + min(span, _LAST - at)
