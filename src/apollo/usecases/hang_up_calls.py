"""Ends every open call of one organisation, or of all: the second half of the big red button.

It runs after the stop is committed, and goes on until each call is over, or the provider has shown
that it will not end it; a request budget that is used up is waited for. It writes no outcome: the
ends arrive as events like any other. It never starts a call, and may be run again at any time.
"""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from apollo.core import ids
from apollo.errors import DriverError, NotPlaced
from apollo.ports import Clock, HangUpAnswer, LiveCall, TelephonyDriver
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
_ROUND_S: Final = 0.25
# The provider reports an end within milliseconds of the hang-up; where nobody takes its report in,
# its own list is asked.
_REPORTED_WITHIN_S: Final = 2.0
# The list is one request for all calls, but a large one.
_LIST_EVERY_S: Final = 2.0
# What fails is tried again after 1, 2, 4, 5, 5 … s, and for so long in all: an outage shorter than
# this is waited out.
_AGAIN_MAX_S: Final = 5.0
_PATIENCE_S: Final = 60.0
# Of a call that the provider does not show, nothing more can be done here than to look again: its
# store may come back. The worker goes on looking.
_PATIENCE_NOT_FOUND: Final = 0.25
# jambonz lists what is over for an hour: these are up.
_UP: Final = frozenset({"trying", "ringing", "early-media", "in-progress", "queued"})

HUNG_UP: Final = "hung_up"
GONE: Final = "gone"
NOT_FOUND: Final = "not_found"
STILL_UP: Final = "still_up"
_WHY_NOT_FOUND: Final = "the provider does not show it, which does not prove that it is over"
_WHY_STILL_UP: Final = "the provider accepted the hang-up and still lists the call as up"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: calls that are over of those known, and why it waits, if it does."""

    over: int
    known: int
    waits_for: str = ""
    # Until when, by our clock.
    until: datetime | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class NotEnded:
    """A call that could not be ended: `cause` in a word, `why` as the provider put it."""

    call: CallToHangUp
    cause: str
    why: str


@dataclass(slots=True)
class HungUp:
    """What became of the calls that were open."""

    organization_id: str | None
    hung_up: int = 0
    # Over before they were asked to end.
    gone: int = 0
    # The oldest first.
    not_ended: list[NotEnded] = field(default_factory=list)

    @property
    def not_found(self) -> int:
        """Count the calls that the provider does not show; the worker goes on looking for them."""
        return sum(one.cause == NOT_FOUND for one in self.not_ended)

    @property
    def failed(self) -> Counter[str]:
        """Count the other calls that could not be ended, by cause."""
        return Counter(one.cause for one in self.not_ended if one.cause != NOT_FOUND)


class HangUpCalls:
    """Hangs up open calls."""

    def __init__(
        self,
        *,
        db: Database,
        driver: TelephonyDriver,
        clock: Clock,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock
        self._patience_s = patience_s

    async def run(
        self,
        organization: str | None = None,
        *,
        actor: str = "operator",
        on_progress: OnProgress | None = None,
    ) -> HungUp:
        """Hang up the open calls of one organisation, or all (None), and record it.

        Dialling must have been stopped before. Takes a second at least, and as long as the provider
        has it wait; what was done is recorded even when it is cancelled. Raises Invalid,
        Unavailable.
        """
        organization_id = None if organization is None else organization_id_of(organization)
        run = _Run(
            self._db,
            self._driver,
            self._clock,
            organization_id,
            self._patience_s,
            on_progress or _no_progress,
        )
        try:
            while not await run.round():  # noqa: ASYNC110 - the condition is at the provider
                await asyncio.sleep(_ROUND_S)
        finally:
            await self._write_down(run.words(), actor)
        return run.hung_up()

    async def _write_down(self, words: dict[str, Counter[str]], actor: str) -> None:
        async with self._db.transaction() as connection:
            for organization_id, counts in sorted(words.items()):
                await storage.record_organization_action(
                    connection,
                    organization_id,
                    actor=actor,
                    action="calls_hung_up",
                    detail=dict(counts),
                )


@dataclass(slots=True)
class _Job:
    """One open call and how far it is with it. Times are monotonic seconds."""

    call: CallToHangUp
    # The provider's name for it, as we have it or found it in the list.
    sid: str | None
    # When the provider accepted the hang-up; None as well when it did and the call stayed up.
    accepted_at: float | None = None
    was_accepted: bool = False
    cause: str = ""
    why: str = ""
    failing_since: float | None = None
    tries: int = 0
    next_at: float = 0.0
    # How it ended, or that it was given up.
    word: str = ""
    is_given_up: bool = False

    @property
    def is_open(self) -> bool:
        return not (self.word or self.is_given_up)


class _Run:
    """One run over the calls that are open, round after round."""

    def __init__(
        self,
        db: Database,
        driver: TelephonyDriver,
        clock: Clock,
        organization_id: str | None,
        patience_s: float,
        on_progress: OnProgress,
    ) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock
        self._on_progress = on_progress
        self._organization_id = organization_id
        self._patience_s = patience_s
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._jobs: dict[uuid.UUID, _Job] = {}
        self._began = clock.monotonic()
        # Until then the provider's request budget is used up.
        self._waits_until = 0.0
        self._list_at = 0.0

    async def round(self) -> bool:
        """Do what can be done now; tells whether nothing is left to do."""
        await self._read_calls()
        await self._hang_up_due()
        await self._look_into_list()
        self._on_progress(self._progress())
        since = self._clock.monotonic() - self._began
        return since > _CLAIMS_SEEN_AFTER_S and not any(job.is_open for job in self._jobs.values())

    def _progress(self) -> Progress:
        jobs = self._jobs.values()
        over = sum(bool(job.word) for job in jobs)
        now = self._clock.monotonic()
        if self._waits_until > now:
            until = self._clock.now() + timedelta(seconds=self._waits_until - now)
            return Progress(over, len(jobs), "the provider's request budget is used up", until)
        failing = next((job.why for job in jobs if job.is_open and job.why), "")
        return Progress(over, len(jobs), failing)

    def words(self) -> dict[str, Counter[str]]:
        """Count what became of the calls, in a word, by organisation."""
        words: dict[str, Counter[str]] = defaultdict(Counter)
        for job in self._jobs.values():
            word = job.word or (HUNG_UP if job.accepted_at is not None else job.cause)
            if word:
                words[job.call.organization_id][word] += 1
        return words

    def hung_up(self) -> HungUp:
        words = Counter(job.word for job in self._jobs.values())
        left = [NotEnded(j.call, j.cause, j.why) for j in self._jobs.values() if j.is_given_up]
        return HungUp(self._organization_id, words[HUNG_UP], words[GONE], left)

    async def _read_calls(self) -> None:
        """Take what is open now; what no longer is, is over."""
        async with self._db.connection() as connection:
            calls = await storage.read_calls_to_hang_up(
                connection, self._driver.provider, self._organization_id
            )
        for call in calls:
            job = self._jobs.setdefault(call.id, _Job(call, call.provider_call_id))
            job.call, job.sid = call, call.provider_call_id or job.sid
        still_open = {call.id for call in calls}
        for call_id, job in self._jobs.items():
            if not job.word and call_id not in still_open:
                self._end(job)

    async def _hang_up_due(self) -> None:
        now = self._clock.monotonic()
        due = [
            job
            for job in self._jobs.values()
            if job.is_open and job.sid and job.accepted_at is None and job.next_at <= now
        ]
        await asyncio.gather(*(self._hang_up(job) for job in due))

    async def _hang_up(self, job: _Job) -> None:
        async with self._slots:
            if self._waits_until > self._clock.monotonic() or not job.is_open:
                return
            try:
                said = await self._driver.hang_up(job.sid or "", was_answered=job.call.was_answered)
            except DriverError as e:
                self._failed(e, [job])
            else:
                self._said(job, said)
            self._on_progress(self._progress())

    def _said(self, job: _Job, said: HangUpAnswer) -> None:
        match said:
            case HangUpAnswer.ENDED:
                job.accepted_at, job.was_accepted = self._clock.monotonic(), True
            case HangUpAnswer.GONE:
                self._end(job)
            case HangUpAnswer.NOT_KNOWN:
                self._fail(job, NOT_FOUND, _WHY_NOT_FOUND)

    async def _look_into_list(self) -> None:
        """Ask the provider's list for what no answer settles: all in one request."""
        now = self._clock.monotonic()
        asked = [job for job in self._jobs.values() if self._must_look(job, now)]
        if not asked or max(self._list_at, self._waits_until) > now:
            return
        self._list_at = now + _LIST_EVERY_S
        sids = {job.sid for job in asked}
        numbers = {(j.call.phone_number, j.call.from_number) for j in asked if j.sid is None}
        try:
            live = await self._driver.list_live(
                keep=lambda one: (
                    one.provider_call_id in sids or (one.to, one.from_number) in numbers
                )
            )
        except DriverError as e:
            self._failed(e, [job for job in asked if job.accepted_at is None])
            for job in asked:
                # The provider took the hang-up: without a list that is as good as it gets.
                if job.accepted_at is not None and now - job.accepted_at > self._patience_s:
                    self._end(job)
            return
        await self._match(asked, live)

    def _must_look(self, job: _Job, now: float) -> bool:
        if not job.is_open:
            return False
        if job.accepted_at is not None:
            return now - job.accepted_at > _REPORTED_WITHIN_S
        if job.sid is None:
            # Its request may still be on the wire.
            is_answered = not job.call.is_placing or now - self._began > _PLACING_WITHIN_S
            return is_answered and now - self._began > _CLAIMS_SEEN_AFTER_S and job.next_at <= now
        return job.cause == NOT_FOUND

    async def _match(self, asked: Sequence[_Job], live: Sequence[LiveCall]) -> None:
        """Read from the list which calls are over, which are up, and which have a name."""
        async with self._db.connection() as connection:
            known = await overdue.read_known_provider_ids(
                connection, {one.provider_call_id for one in live}
            )
        named = {one.provider_call_id: one for one in live}
        unnamed = {
            (one.to, one.from_number): one.provider_call_id
            for one in live
            if one.call_status in _UP and one.provider_call_id not in known
        }
        for job in asked:
            found = named.get(job.sid or "")
            if job.sid is None:
                job.sid = unnamed.get((job.call.phone_number, job.call.from_number))
                if job.sid is None:
                    self._fail(job, NOT_FOUND, _WHY_NOT_FOUND)
            elif found is None:
                if job.accepted_at is not None:  # it was ended, and its entry is gone
                    self._end(job)
            elif found.call_status not in _UP:
                self._end(job)
            elif job.accepted_at is not None:
                job.accepted_at = None
                self._fail(job, STILL_UP, _WHY_STILL_UP)

    def _failed(self, error: DriverError, jobs: Sequence[_Job]) -> None:
        """Note a request that failed; what concerns all of them is said to all."""
        now = self._clock.monotonic()
        if isinstance(error, NotPlaced) and error.cause == "rate_limited":
            self._waits_until = max(self._waits_until, now + max(error.retry_after_s, _ROUND_S))
            return
        _log.warning("call.not_hung_up", calls=len(jobs), cause=error.cause, error=str(error))
        if error.cause == "unauthorised":
            # No other request will fare better before somebody has corrected the key.
            for job in self._jobs.values():
                if job.is_open:
                    job.cause, job.why, job.is_given_up = error.cause, str(error), True
            return
        for job in jobs:
            self._fail(job, error.cause, str(error))

    def _fail(self, job: _Job, cause: str, why: str) -> None:
        """Try this call again later, or give it up."""
        now = self._clock.monotonic()
        job.cause, job.why = cause, why
        job.failing_since = now if job.failing_since is None else job.failing_since
        job.next_at = now + min(2.0**job.tries, _AGAIN_MAX_S)
        job.tries += 1
        patience_s = self._patience_s * (_PATIENCE_NOT_FOUND if cause == NOT_FOUND else 1.0)
        job.is_given_up = job.next_at - job.failing_since > patience_s
        if job.is_given_up:
            _log.error("call.given_up", execution_id=ids.execution_id(job.call.id), cause=cause)

    def _end(self, job: _Job) -> None:
        job.word, job.is_given_up = HUNG_UP if job.was_accepted else GONE, False


def _no_progress(_: Progress) -> None:
    return None
