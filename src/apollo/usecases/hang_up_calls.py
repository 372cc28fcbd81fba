"""Ends every open call of one organisation, or of all: the second half of the big red button.

It runs after the stop is committed, asks the provider to end what it knows, and says what came of
each. It writes no outcome: the ends arrive as events like any other. It never starts a call.
"""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from apollo.core import ids
from apollo.errors import DriverError
from apollo.ports import Clock, HangUpAnswer, TelephonyDriver
from apollo.storage import lifecycle as storage
from apollo.storage import overdue
from apollo.storage.database import Database
from apollo.storage.lifecycle import CallToHangUp
from apollo.usecases.authenticate import organization_id_of

_log = structlog.get_logger("apollo.hang_up")

# Requests at once: each takes tens of milliseconds, so 1 000 calls are over in seconds, and the
# provider still has room for the workers' own look-ups.
_AT_ONCE: Final = 16
# A claim that read the flag just before it was set commits within milliseconds of it: what is not
# there after this long was never claimed.
_CLAIMS_SEEN_AFTER_S: Final = 1.0
# Two seconds until a claimed call must have left, and fifteen until its request has an answer.
_PLACING_WITHIN_S: Final = 18.0
_LOOK_AGAIN_S: Final = 0.25

# Called with (settled, known so far) after each call.
OnProgress = Callable[[int, int], None]


@dataclass(slots=True)
class HungUp:
    """What became of the calls that were open."""

    organization_id: str | None
    hung_up: int = 0
    # Over before they were asked to end.
    gone: int = 0
    # The provider would not, by what it said.
    failed: Counter[str] = field(default_factory=Counter)
    # The provider says it has no such call, which does not prove that it is over: the worker goes
    # on looking for it.
    not_found: int = 0


class HangUpCalls:
    """Hangs up open calls."""

    def __init__(self, *, db: Database, driver: TelephonyDriver, clock: Clock) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock

    async def run(
        self,
        organization: str | None = None,
        *,
        actor: str = "operator",
        on_progress: OnProgress | None = None,
    ) -> HungUp:
        """Hang up the open calls of one organisation, or all (None), and record it.

        Dialling must have been stopped before. Takes a second at least, 18 when a request for a
        call stays unanswered. Raises Invalid, Unavailable.
        """
        organization_id = None if organization is None else organization_id_of(organization)
        task = _Task(self._db, self._driver, organization_id, on_progress or _no_progress)
        began = self._clock.monotonic()
        try:
            while True:
                waits_for_answers = await task.hang_up_known()
                waited = self._clock.monotonic() - began
                if waited > _PLACING_WITHIN_S:
                    break
                if waited > _CLAIMS_SEEN_AFTER_S and not waits_for_answers:
                    break
                await asyncio.sleep(_LOOK_AGAIN_S)
            await task.hang_up_unnamed()
        finally:
            await self._write_down(task.words, actor)
        return task.hung_up()

    async def _write_down(self, words: "_Words", actor: str) -> None:
        async with self._db.transaction() as connection:
            for organization_id, counts in sorted(words.items()):
                await storage.record_organization_action(
                    connection,
                    organization_id,
                    actor=actor,
                    action="calls_hung_up",
                    detail=dict(counts),
                )


# What became of the calls, in a word, by organisation.
_Words = dict[str, Counter[str]]
_HUNG_UP: Final = "hung_up"
_GONE: Final = "gone"
_NOT_FOUND: Final = "not_found"
_WORD_OF: Final = {
    HangUpAnswer.ENDED: _HUNG_UP,
    HangUpAnswer.GONE: _GONE,
    HangUpAnswer.NOT_KNOWN: _NOT_FOUND,
}


class _Task:
    """One run: what was settled already, so that no call is asked for twice."""

    def __init__(
        self,
        db: Database,
        driver: TelephonyDriver,
        organization_id: str | None,
        on_progress: OnProgress,
    ) -> None:
        self._db = db
        self._driver = driver
        self._organization_id = organization_id
        self._on_progress = on_progress
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._taken: set[uuid.UUID] = set()
        self._settled = 0
        self.words: _Words = defaultdict(Counter)

    def hung_up(self) -> HungUp:
        counts = sum(self.words.values(), Counter[str]())
        report = HungUp(self._organization_id)
        report.hung_up, report.gone = counts.pop(_HUNG_UP, 0), counts.pop(_GONE, 0)
        report.not_found, report.failed = counts.pop(_NOT_FOUND, 0), counts
        return report

    async def hang_up_known(self) -> bool:
        """Hang up what the provider has named; tells whether some requests have no answer yet."""
        calls = await self._open_calls()
        await self._hang_up([(c, c.provider_call_id) for c in calls if c.provider_call_id])
        return any(call.is_placing for call in calls)

    async def hang_up_unnamed(self) -> None:
        """Find the others in the provider's live list, by number and caller id."""
        left = await self._open_calls()
        if not left:
            return
        try:
            live = await self._driver.list_live()
        except DriverError as e:
            _log.warning("live_list.failed", error=str(e))
            for call in left:
                self._settle(call, e.cause)
            return
        async with self._db.connection() as connection:
            known = await overdue.read_known_provider_ids(
                connection, {one.provider_call_id for one in live}
            )
        sids = {
            (one.to, one.from_number): one.provider_call_id
            for one in live
            if one.provider_call_id not in known
        }
        found = [(c, sids.get((c.phone_number, c.from_number)) or c.provider_call_id) for c in left]
        await self._hang_up([(call, sid) for call, sid in found if sid])
        for call, sid in found:
            if not sid:
                self._settle(call, _NOT_FOUND)

    async def _open_calls(self) -> list[CallToHangUp]:
        async with self._db.connection() as connection:
            calls = await storage.read_calls_to_hang_up(
                connection, self._driver.provider, self._organization_id
            )
        return [call for call in calls if call.id not in self._taken]

    async def _hang_up(self, calls: Sequence[tuple[CallToHangUp, str]]) -> None:
        self._taken.update(call.id for call, _ in calls)
        await asyncio.gather(*(self._hang_up_one(call, sid) for call, sid in calls))

    async def _hang_up_one(self, call: CallToHangUp, provider_call_id: str) -> None:
        async with self._slots:
            try:
                said = await self._driver.hang_up(provider_call_id, was_answered=call.was_answered)
            except DriverError as e:
                _log.warning(
                    "call.not_hung_up", execution_id=ids.execution_id(call.id), error=str(e)
                )
                self._settle(call, e.cause)
            else:
                self._settle(call, _WORD_OF[said])

    def _settle(self, call: CallToHangUp, word: str) -> None:
        self._taken.add(call.id)
        self._settled += 1
        self.words[call.organization_id][word] += 1
        self._on_progress(self._settled, len(self._taken))


def _no_progress(_settled: int, _known: int) -> None:
    return None
