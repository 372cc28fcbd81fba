"""Finds out what became of calls nobody told us about: unknown ones, and those past a deadline.

It asks the provider (live list, then call-detail records) and hands what it learns to
`record_call_events`, as events like any other. It never places a call, and it concludes from
silence only after every look-up has answered.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from apollo.core import ids
from apollo.core.absence import conclude
from apollo.core.events import CallEvent, Evidence, LeaseExpired
from apollo.core.model import Deadlines
from apollo.core.states import CallState
from apollo.errors import DriverError, Stale, Unavailable
from apollo.ports import Clock, HangUpAnswer, LiveCall, TelephonyDriver
from apollo.storage import overdue as storage
from apollo.storage.database import Database
from apollo.storage.overdue import OverdueCall
from apollo.usecases.prove_absence import ProveAbsence
from apollo.usecases.provider_history import observed_later, proven_by
from apollo.usecases.record_call_events import Arrival, RecordCallEvents, Recorded

_log = structlog.get_logger("apollo.reconcile")

# One process looks at a call at a time; if it dies, the next one looks after this.
_TURN: Final = timedelta(seconds=15)
# Each look-up is a request out of the provider's budget: a pass asks for a bounded number.
_AT_MOST: Final = 50
# For more calls than this, one unfiltered list is cheaper than a question for each.
_ONE_BY_ONE_MAX: Final = 3
# An unknown call is looked for after 5, 20 and 60 s, then each minute.
_LOOKS: Final = (timedelta(seconds=20), timedelta(seconds=60))
_LOOK_EVERY: Final = timedelta(seconds=60)
# Call-detail records come late: buffered up to 20 s at the provider, and only after the end.
_RECORDS_AFTER: Final = timedelta(seconds=90)
# Installations without a record store never answer; the live list remembers for an hour, so
# after that there is nothing left to wait for.
_RECORDS_PATIENCE: Final = timedelta(hours=1)
# The account may have been another one once. A worker that is set up for it looks at its calls each
# minute; when none has for so long, nobody will ask any more, and they must not hold their slots.
_ABANDONED_AFTER: Final = timedelta(hours=1)
# What would be concluded from silence is asked again once the events are read.
_AFTER_LAG: Final = timedelta(seconds=20)
# After a hang-up the final webhook may be lost; look again this much later.
_AFTER_HANG_UP: Final = timedelta(seconds=10)
# A record may carry a time slightly before our own request: clocks differ.
_CLOCKS_DIFFER: Final = timedelta(seconds=5)


# A provider reports "trying" within milliseconds, and where several people are called somebody
# rings, answers or hangs up: silence for this long is no accident, and then calls are asked for,
# whatever their deadlines say; so often that those which fall silent a little later wait no longer.
_SILENCE: Final = timedelta(seconds=10)
_POLL_EVERY_S: Final = 5.0
# Records are pages of all calls since the oldest that is asked for: not as often.
_POLL_RECORDS_EVERY_S: Final = 60.0
_POLL_AT_MOST: Final = 1_000


_Question = Callable[[], Awaitable[list[LiveCall]]]


@dataclass(slots=True)
class _Look:
    """What a look-up found: an event, when to look again, or nothing at all."""

    event: CallEvent | None = None
    again_at: datetime | None = None
    # Every place that was asked has no such call, or there is none to ask.
    is_absent: bool = False
    # And the provider says that its session is over.
    is_over: bool = False


class ReconcileCalls:
    """Looks at overdue calls."""

    def __init__(
        self,
        *,
        db: Database,
        driver: TelephonyDriver,
        clock: Clock,
        deadlines: Deadlines,
        record: RecordCallEvents,
        events_lag: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock
        self._deadlines = deadlines
        self._record = record
        # Whether status events wait somewhere unread: silence proves nothing meanwhile.
        self._events_lag = events_lag
        self._prove_absence = ProveAbsence(db=db, driver=driver)
        self._polled_at = -_POLL_EVERY_S
        # The calls whose records were asked for in a silence, and when.
        self._records_asked: dict[str, float] = {}

    async def run(self) -> Recorded:
        """Look at every overdue call once; gives what was learnt."""
        async with self._db.connection() as connection:
            overdue = await storage.take_overdue(
                connection,
                self._driver.provider,
                turn=_TURN,
                abandoned_after=_ABANDONED_AFTER,
                at_most=_AT_MOST,
            )
        if not overdue:
            return Recorded()
        arrivals: list[Arrival] = []
        again: dict[OverdueCall, datetime] = {}
        ours = [c for c in overdue if c.provider == self._driver.provider]
        live = await self._list_live([c for c in ours if _must_search(c)])
        is_lagging = self._events_lag is not None and await self._events_lag()
        looks = {call: await self._look_alone(call, live) for call in overdue}
        absent = [call for call, look in looks.items() if look.is_absent and not look.is_over]
        proven = await self._prove_absence.run(absent, self._deadlines.on_unresolved)
        for call, first_look in looks.items():
            look = first_look
            if look.is_absent and is_lagging:
                look = _Look(again_at=call.read_at + _AFTER_LAG)
            elif look.is_absent:
                look = self._conclude(call, is_proven=look.is_over or call.id in proven)
            _log.info(
                "call.looked_up",
                execution_id=ids.execution_id(call.id),
                state=call.state.value,
                found=type(look.event).__name__ if look.event else None,
            )
            if look.event is not None:
                arrivals.append(Arrival(call.id, look.event))
            if look.again_at is not None:
                again[call] = look.again_at
        recorded = await self._write(arrivals)
        if again:
            async with self._db.connection() as connection:
                await storage.set_deadlines(connection, again)
        return recorded

    async def poll_silent(self) -> Recorded:
        """Ask for what webhooks ought to have told, once they have gone silent."""
        now = self._clock.monotonic()
        if now - self._polled_at < _POLL_EVERY_S:
            return Recorded()
        async with self._db.connection() as connection:
            silent = await storage.read_silent(
                connection, self._driver.provider, silence=_SILENCE, at_most=_POLL_AT_MOST
            )
        if not silent:
            return Recorded()
        self._polled_at = now
        arrivals = await self._ask_for_all(silent)
        if arrivals:
            _log.warning("webhooks.silent", calls=len(silent), found=len(arrivals))
        return await self._write(arrivals)

    async def _ask_for_all(self, calls: Sequence[OverdueCall]) -> list[Arrival]:
        """Ask for calls the provider has named: the live ones, then the records of the others."""
        left = {call.provider_call_id or "": call for call in calls}
        found, _ = await _answers(self._live(left))
        arrivals = _proven(found, left, Evidence.POLL)
        now = self._clock.monotonic()
        asked = {n: at for n, at in self._records_asked.items() if now - at < _POLL_RECORDS_EVERY_S}
        if wanted := {name: call for name, call in left.items() if name not in asked}:
            found, was_answered = await _answers(self._records(wanted))
            asked |= dict.fromkeys(wanted, now) if was_answered else {}
            arrivals += _proven(found, wanted, Evidence.RECORD)
        self._records_asked = asked
        return arrivals

    def _live(self, calls: Mapping[str, OverdueCall]) -> list[_Question]:
        if len(calls) > _ONE_BY_ONE_MAX:
            return [partial(self._driver.list_live, keep=lambda x: x.provider_call_id in calls)]
        return [partial(_as_list, self._driver.read_call, name) for name in calls]

    def _records(self, calls: Mapping[str, OverdueCall]) -> list[_Question]:
        if len(calls) > _ONE_BY_ONE_MAX:
            since = min(call.requested_at for call in calls.values()) - _CLOCKS_DIFFER
            return [partial(self._driver.list_records, since, matching=None)]
        return [partial(_as_list, self._record_of, call, name) for name, call in calls.items()]

    async def _write(self, arrivals: Sequence[Arrival]) -> Recorded:
        """Record what was found; an event that cannot be written must not hold up the others."""
        if not arrivals:
            return Recorded()
        try:
            return await self._record.record(arrivals)
        except (Unavailable, Stale):
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the others must be recorded
            if len(arrivals) == 1:
                _log.exception("event.not_recorded", execution_id=arrivals[0].shown_id)
                return Recorded()
        together = Recorded()
        for arrival in arrivals:
            alone = await self._write([arrival])
            together.offs += alone.offs
            together.effects += alone.effects
            together.freed |= alone.freed
            together.completed += alone.completed
        return together

    async def _look_alone(self, call: OverdueCall, live: "_LiveList") -> _Look:
        """Look at one call; what its data breaks is set aside for a minute, the others go on."""
        try:
            return await self._look(call, live)
        except (Unavailable, Stale):
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the others must be looked at
            _log.exception("call.look_failed", execution_id=ids.execution_id(call.id))
            return _Look(again_at=call.read_at + _LOOK_EVERY)

    async def _look(self, call: OverdueCall, live: "_LiveList") -> _Look:
        if call.state is CallState.PLACING:
            return _Look(LeaseExpired(at=call.read_at, evidence=Evidence.ASSUMED))
        if call.provider != self._driver.provider:
            return _Look(is_absent=True)
        if _must_search(call):
            return await self._search(call, live)
        return await self._ask(call)

    # ------------------------------------------------------------------ a call we cannot name

    async def _list_live(self, calls: Sequence[OverdueCall]) -> "_LiveList":
        """List what may be ours: by exact number for a few, everything for many."""
        if not calls:
            return _LiveList([], is_complete=True)
        try:
            if len(calls) <= _ONE_BY_ONE_MAX:
                found = [x for c in calls for x in await self._driver.list_live(c.phone_number)]
            else:
                wanted = {(c.phone_number, c.from_number) for c in calls}
                found = await self._driver.list_live(keep=lambda x: (x.to, x.from_number) in wanted)
        except DriverError as e:
            _log.warning("live_list.failed", error=str(e))
            return _LiveList([], is_complete=False)
        async with self._db.connection() as connection:
            known = await storage.read_known_provider_ids(
                connection, {x.provider_call_id for x in found}
            )
        return _LiveList([x for x in found if x.provider_call_id not in known], is_complete=True)

    async def _search(self, call: OverdueCall, live: "_LiveList") -> _Look:
        found = live.take(call)
        if found is not None:
            return _Look(proven_by(found, call.read_at, Evidence.POLL))
        age = call.read_at - call.requested_at
        records_answered = False
        if age >= _RECORDS_AFTER:
            try:
                record = await self._find_record(call)
            except DriverError as e:
                _log.warning("records.failed", error=str(e))
            else:
                records_answered = True
                if record is not None:
                    return _Look(proven_by(record, call.read_at, Evidence.RECORD))
        records_answered = records_answered or age >= _RECORDS_PATIENCE
        if age >= self._deadlines.quarantine and records_answered and live.is_complete:
            return _Look(is_absent=True)
        coming = [call.requested_at + after for after in _LOOKS]
        later = [at for at in coming if at > call.read_at]
        return _Look(again_at=later[0] if later else call.read_at + _LOOK_EVERY)

    async def _find_record(self, call: OverdueCall) -> LiveCall | None:
        since = call.requested_at - _CLOCKS_DIFFER
        records = await self._driver.list_records(since, matching=call.phone_number)
        mine = [
            r
            for r in records
            if r.to == call.phone_number and (r.attempted_at is None or r.attempted_at >= since)
        ]
        async with self._db.connection() as connection:
            known = await storage.read_known_provider_ids(
                connection, {r.provider_call_id for r in mine}
            )
        free = [r for r in mine if r.provider_call_id not in known]
        # Newest first; ours is the oldest that nobody else claims.
        return free[-1] if free else None

    # -------------------------------------------------------------------- a call we can name

    async def _ask(self, call: OverdueCall) -> _Look:
        """Past its deadline: ask, hang up what still lives, and conclude from what is gone."""
        provider_call_id = call.provider_call_id or ""
        is_over = False
        try:
            found = await self._driver.read_call(provider_call_id)
            if found is not None:
                event = proven_by(found, call.read_at, Evidence.POLL)
                if event is not None and observed_later(call, event):
                    return _Look(event)
                said = await self._driver.hang_up(provider_call_id, was_answered=call.was_answered)
                if said is HangUpAnswer.ENDED:
                    return _Look(again_at=call.read_at + _AFTER_HANG_UP)
                is_over = said is HangUpAnswer.GONE
        except DriverError as e:
            return self._ask_again(call, e)
        try:
            record = await self._record_of(call, provider_call_id)
        except DriverError as e:
            if call.read_at - call.requested_at < self._patience(call):
                return self._ask_again(call, e)
            # Nobody keeps records here: the call is gone, and must not hold its slot for ever.
            record = None
        if record is not None:
            return _Look(proven_by(record, call.read_at, Evidence.RECORD))
        return _Look(is_absent=True, is_over=is_over)

    # ------------------------------------------------------------------- a call that is nowhere

    def _conclude(self, call: OverdueCall, *, is_proven: bool) -> _Look:
        event = conclude(
            state=call.state,
            was_answered=call.was_answered,
            age=call.read_at - call.requested_at,
            read_at=call.read_at,
            deadlines=self._deadlines,
            is_proven=is_proven,
        )
        return _Look(event) if event else _Look(again_at=call.read_at + _LOOK_EVERY)

    def _ask_again(self, call: OverdueCall, error: DriverError) -> _Look:
        _log.warning("call.not_looked_up", execution_id=ids.execution_id(call.id), error=str(error))
        return _Look(again_at=call.read_at + _LOOK_EVERY)

    def _patience(self, call: OverdueCall) -> timedelta:
        """How long records are asked for before it is taken that nobody keeps any."""
        longest = self._deadlines.time_limit if call.was_answered else timedelta()
        return longest + _RECORDS_PATIENCE

    async def _record_of(self, call: OverdueCall, provider_call_id: str) -> LiveCall | None:
        since = call.requested_at - _CLOCKS_DIFFER
        records = await self._driver.list_records(since, matching=call.phone_number)
        return next((r for r in records if r.provider_call_id == provider_call_id), None)


@dataclass(slots=True)
class _LiveList:
    """Live calls that belong to no call of ours; each is adopted once."""

    calls: list[LiveCall]
    is_complete: bool

    def take(self, call: OverdueCall) -> LiveCall | None:
        """Adopt the live call to this call's number and from its caller id."""
        for found in self.calls:
            if found.to == call.phone_number and found.from_number == call.from_number:
                self.calls.remove(found)
                return found
        return None


async def _as_list(ask: Callable[..., Awaitable[LiveCall | None]], *given: Any) -> list[LiveCall]:
    found = await ask(*given)
    return [] if found is None else [found]


async def _answers(questions: Sequence[_Question]) -> tuple[list[LiveCall], bool]:
    """Put questions, and tell whether any was answered; one that fails spoils no other."""
    found: list[LiveCall] = []
    answered = 0
    for question in questions:
        try:
            found += await question()
            answered += 1
        except DriverError as e:
            _log.warning("silence.not_looked_into", error=str(e))
    return found, answered > 0


def _proven(
    found: Sequence[LiveCall], left: dict[str, OverdueCall], evidence: Evidence
) -> list[Arrival]:
    """Give what is news about these calls, and take those that were found from them."""
    arrivals = []
    for one in found:
        if (call := left.pop(one.provider_call_id, None)) is None:
            continue
        event = proven_by(one, call.read_at, evidence)
        if event is not None and observed_later(call, event):
            arrivals.append(Arrival(call.id, event))
    return arrivals


def _must_search(call: OverdueCall) -> bool:
    """Tell whether the provider's id of this call is not known."""
    return call.state is not CallState.PLACING and call.provider_call_id is None
