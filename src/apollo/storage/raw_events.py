"""The provider's events as they came. They are written with what they led to, by `calls`."""

from datetime import timedelta
from typing import Final

from apollo.storage.database import Connection, load_queries

_Q: Final = load_queries("raw_events")


async def forget_old(connection: Connection, *, kept_for: timedelta, at_most: int) -> int:
    """Remove events that are older than that, so many at most; gives how many."""
    return await _Q["forget_old"].run(connection, kept_for=kept_for, at_most=at_most)
