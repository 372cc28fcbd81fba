"""The one place where RotaryRouter reads the time: it is its own process, so its own clock."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, aware, UTC, with microseconds."""
    return datetime.now(UTC)  # noqa: TID251 - this is RotaryRouter's clock port
