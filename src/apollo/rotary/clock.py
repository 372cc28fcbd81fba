"""The one place where RotaryRouter reads the time.

It is its own process, so it has its own clock. Nothing else belongs here.
"""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, aware, UTC, with microseconds."""
    return datetime.now(UTC)  # noqa: TID251 - this is RotaryRouter's clock port
