"""Throws away what nobody asks for any more, slowly, so that small tables stay small.

Owns only when: what is old is said by those who own it. It never touches contacts or calls.
"""

import asyncio
from typing import Final

import structlog

from apollo.errors import Stale, Unavailable
from apollo.ports import Clock
from apollo.storage import heartbeats
from apollo.storage.database import Database
from apollo.usecases.remember_answers import RememberAnswers

_log = structlog.get_logger("apollo.tidy")

# What is thrown away is a day or a week old: ten minutes more or less do not matter.
EVERY_S: Final = 600.0


class TidyUp:
    """Forgets old answers and old heartbeats."""

    def __init__(self, *, db: Database, clock: Clock) -> None:
        self._db = db
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
        if answers or processes:
            _log.info("tidied", answers=answers, processes=processes)
