"""Throws away what nobody asks for any more, slowly, so that small tables stay small.

Owns only when: what is old is said by those who own it, or by the operator. It never touches
contacts or calls.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import structlog

from apollo.errors import Stale, Unavailable
from apollo.ports import Clock
from apollo.storage import call_results, carrier_gates, heartbeats, raw_events
from apollo.storage.database import Database
from apollo.usecases.remember_answers import RememberAnswers

_log = structlog.get_logger("apollo.tidy")

# What is thrown away is a day or a week old: ten minutes more or less do not matter.
EVERY_S: Final = 600.0
# Some ten milliseconds of work: nobody who writes events waits for a commit of that size.
EVENTS_AT_ONCE: Final = 5_000
# A result that is older than some minutes is refused anyway.
_RESULTS_KEPT_FOR: Final = timedelta(days=1)


class TidyUp:
    """Forgets old answers, heartbeats, quiet gates and the provider's old events."""

    def __init__(self, *, db: Database, clock: Clock, events_kept_for: timedelta) -> None:
        self._db = db
        self._events_kept_for = events_kept_for
        self._answers = RememberAnswers(db=db, clock=clock)

    async def run(self) -> None:
        """Tidy up now and then until cancelled; several workers may do so at once."""
        while True:
            try:
                await self.once()
            except (Unavailable, Stale) as e:
                _log.warning("tidy.later", error=str(e))
            await asyncio.sleep(EVERY_S)

    async def once(self) -> None:
        """Tidy up now. Raises Unavailable."""
        answers = await self._answers.forget_old()
        async with self._db.connection() as connection:
            processes = await heartbeats.forget_old(connection)
            await carrier_gates.forget_gates(connection)
        events = await self._forget(raw_events.forget_old, self._events_kept_for)
        results = await self._forget(call_results.forget_old, _RESULTS_KEPT_FOR)
        if answers or processes or events or results:
            _log.info(
                "tidied", answers=answers, processes=processes, events=events, results=results
            )

    async def _forget(self, forget_old: Callable[..., Awaitable[int]], kept_for: timedelta) -> int:
        total = 0
        while True:
            async with self._db.connection() as connection:
                forgotten = await forget_old(connection, kept_for=kept_for, at_most=EVENTS_AT_ONCE)
            total += forgotten
            if forgotten < EVENTS_AT_ONCE:
                return total
