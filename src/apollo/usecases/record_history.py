"""Writes down what the diagnosis of live batches says, when it changes: the story of `/debug`.

One process does it for all, a worker or an API, so that it goes on while no worker lives; a few
batches at a time, so that it costs the same however many there are. Must never write while nothing
changes.
"""

import asyncio
import uuid
from typing import Final

import structlog

from apollo.core.diagnosis import Diagnosis, Verdict
from apollo.errors import NotFound, Stale, Unavailable
from apollo.ports import Clock
from apollo.storage import debug_history as storage
from apollo.storage.database import Database
from apollo.usecases.explain_batch import ExplainBatch

_log = structlog.get_logger("apollo.history")

_EVERY_S: Final = 5.0
# Some five milliseconds each: a fiftieth of one worker's time. More batches take several rounds.
_AT_MOST: Final = 20
_FIRST: Final = (uuid.UUID(int=0), uuid.UUID(int=0))


class RecordHistory:
    """Records verdicts and the reasons behind them."""

    def __init__(self, *, db: Database, explain: ExplainBatch, clock: Clock | None = None) -> None:
        """Take what is read; `clock` only where another time than the database's is meant."""
        self._clock = clock
        self._db = db
        self._explain = explain
        self._after = _FIRST
        # Batches that were live when last looked at: their end is news too.
        self._live: dict[uuid.UUID, str] = {}

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            try:
                await self.look()
            except (Unavailable, Stale) as e:
                _log.warning("history.not_recorded", error=str(e))
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Look at the next few live batches, unless another worker does."""
        async with self._db.transaction() as connection:
            if not await storage.try_to_be_the_one(connection):
                return
            batches = await storage.live_batches(connection, after=self._after, at_most=_AT_MOST)
            is_round_over = len(batches) < _AT_MOST
            live = {one.batch_id: one.organization_id for one in batches}
            seen = live
            if is_round_over and self._after == _FIRST:
                # All live batches were seen at once: what is missing has ended.
                seen = {**self._live, **live}
            self._live = live
            answers = [
                (batch_id, diagnosis)
                for batch_id, organization_id in seen.items()
                if (diagnosis := await self._diagnose(organization_id, batch_id)) is not None
            ]
            if answers:
                found = [(key, one.verdict.value, _shown_reason(one)) for key, one in answers]
                now = max(one.as_of for _, one in answers)
                if self._clock is not None:
                    now = self._clock.now()
                await storage.note_verdicts(connection, found, now)
        self._after = _FIRST if is_round_over else (batches[-1].campaign_id, batches[-1].batch_id)

    async def _diagnose(self, organization_id: str, batch_id: uuid.UUID) -> Diagnosis | None:
        try:
            return await self._explain.diagnose(organization_id, batch_id)
        except NotFound:
            return None


def _shown_reason(diagnosis: Diagnosis) -> str | None:
    """The first serious reason, else the one that holds contacts back; None while it is healthy.

    Slots that fill and free themselves from second to second are no news.
    """
    if diagnosis.verdict is Verdict.HEALTHY:
        return None
    if diagnosis.verdict is Verdict.WAITING:
        return None if diagnosis.binding is None else diagnosis.binding.value
    return diagnosis.reasons[0].code.value if diagnosis.reasons else None
