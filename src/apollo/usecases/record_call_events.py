"""A set of events becomes moved calls, moved contacts, counters and wake-ups, in one transaction.

Webhooks, answers to our own requests, polls and call-detail records all come through here, so that
there is one way in which a call moves. Repeats are harmless: the core ranks them.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from apollo.core import ids
from apollo.core.endings import is_wrong_person
from apollo.core.events import (
    AnswererKnown,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallVanished,
    Effect,
    Evidence,
    NumberRefused,
    QuarantineOver,
    RequestNotPlaced,
)
from apollo.core.ids import ContactKey
from apollo.core.lifecycle import set_back, step
from apollo.core.model import Call, CallSetting, Contact, Deadlines
from apollo.core.states import (
    FINAL_CONTACT,
    OPEN_CALL,
    CallState,
    Off,
)
from apollo.errors import Stale
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import calls as storage
from apollo.storage import carrier_gates as gates_storage
from apollo.storage.calls import LockedCall, Moves, StoredEvent
from apollo.storage.database import Connection, Database
from apollo.usecases.carrier_gates import CarrierGates
from apollo.usecases.what_moved import count, log_move, rescheduled, unfinished_again

_log = structlog.get_logger("apollo.calls")
# Deadlocks and lost races resolve themselves; more tries than this would hide a defect.
_TRIES: Final = 8


class Webhook(msgspec.Struct, frozen=True):
    """The raw form in which an event came, kept for the record."""

    content_hash: uuid.UUID
    provider_call_id: str
    call_status: str
    body: bytes
    received_at: datetime
    is_child_leg: bool = False


class Arrival(msgspec.Struct, frozen=True):
    """An event on its way in: for which call, and as what it came."""

    execution_id: uuid.UUID | None
    event: CallEvent | None
    provider_call_id: str | None = None
    webhook: Webhook | None = None

    @property
    def shown_id(self) -> str | None:
        """The call's public id, for a log; None when only the provider named it."""
        return None if self.execution_id is None else ids.execution_id(self.execution_id)


@dataclass(slots=True)
class Recorded:
    """What a set of arrivals led to; `offs` are in the order of the arrivals."""

    offs: list[Off | None] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    # Campaigns that may have something to dial now.
    freed: set[uuid.UUID] = field(default_factory=set)
    completed: list[uuid.UUID] = field(default_factory=list)
    # Calls whose state changed, before and after.
    moved: list[tuple[LockedCall, LockedCall]] = field(default_factory=list)


class RecordCallEvents:
    """Applies events to calls."""

    def __init__(
        self,
        *,
        db: Database,
        deadlines: Deadlines,
        wakes_by_notify: bool,
        bus: Bus | None = None,
        log_moves_at: int = logging.INFO,
    ) -> None:
        """Who records the past in bulk tells of it once, and has the moves logged for DEBUG."""
        self._db = db
        self._log_moves_at = log_moves_at
        self._deadlines = deadlines
        # On the PostgreSQL bus a wake-up is part of the commit, which saves a second one; any other
        # bus is told after it.
        self.wakes_by_notify = wakes_by_notify
        self._bus = bus

    async def apply(self, connection: Connection, arrivals: Sequence[Arrival]) -> Recorded:
        """Apply events within the caller's transaction, who tells the bus after its commit."""
        return await _Pass(connection, self._deadlines, self.wakes_by_notify).run(arrivals)

    async def record(self, arrivals: Sequence[Arrival]) -> Recorded:
        """Apply events, in order, all or none. Raises Unavailable when the database is away."""
        for attempt in range(_TRIES):
            try:
                async with self._db.transaction() as connection:
                    recorded = await self.apply(connection, arrivals)
            except Stale:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.002 * 2**attempt)
            else:
                if self._bus is not None and recorded.freed:
                    await self._bus.wake([WakeUp(one, Why.CALL_ENDED) for one in recorded.freed])
                # Only now it is true, and nobody waits for a lock while it is written.
                for before, after in recorded.moved:
                    log_move(self._log_moves_at, before, after)
                return recorded
        raise AssertionError("unreachable")


class _Pass:
    """One transaction over one set of arrivals."""

    def __init__(self, connection: Connection, deadlines: Deadlines, wakes_by_notify: bool) -> None:
        self._connection = connection
        self._deadlines = deadlines
        self._wakes_by_notify = wakes_by_notify
        self._before: dict[uuid.UUID, LockedCall] = {}
        self._now: dict[uuid.UUID, LockedCall] = {}
        # Apart from the calls: late news of an earlier call may come in one set with the newest.
        self._contacts: dict[ContactKey, Contact] = {}
        self._others: dict[uuid.UUID, list[Call]] = {}
        self._gates = CarrierGates()
        # Batches of which somebody was set back: one that was completed, or is just now, goes on.
        self._going_on: dict[uuid.UUID, datetime] = {}
        self._recorded = Recorded()

    async def run(self, arrivals: Sequence[Arrival]) -> Recorded:
        call_ids = await self._find(arrivals)
        await self._read(arrivals, call_ids)
        verdicts = [self._apply(a, call_id) for a, call_id in zip(arrivals, call_ids, strict=True)]
        await self._set_back()
        await self._write(_raw_events(arrivals, call_ids, verdicts))
        return self._recorded

    async def _find(self, arrivals: Sequence[Arrival]) -> list[uuid.UUID | None]:
        """By tag first, by provider id second: the tag is known before our own answer is."""
        untagged = {
            a.provider_call_id
            for a in arrivals
            if a.execution_id is None and a.provider_call_id is not None
        }
        found = await storage.find_by_provider_ids(self._connection, untagged) if untagged else {}
        return [a.execution_id or found.get(a.provider_call_id or "") for a in arrivals]

    async def _read(
        self, arrivals: Sequence[Arrival], call_ids: Sequence[uuid.UUID | None]
    ) -> None:
        wanted = {call_id for call_id in call_ids if call_id is not None}
        if not wanted:
            return
        self._before = await storage.lock_calls(self._connection, wanted)
        self._now = dict(self._before)
        self._contacts = {x.contact.key: x.contact for x in self._before.values()}
        await self._gates.read(self._connection, self._before, [a.event for a in arrivals])
        beside_others = {
            call_id
            for a, call_id in zip(arrivals, call_ids, strict=True)
            if call_id is not None
            and call_id in self._before
            and self._before[call_id].contact.attempts > 1
            and _looks_back(a.event, self._before[call_id].call)
        }
        if beside_others:
            self._others = await storage.find_other_calls(self._connection, beside_others)

    def _apply(self, arrival: Arrival, call_id: uuid.UUID | None) -> str:
        """Apply one event to what was read; gives the verdict that is stored with it."""
        event = arrival.event
        if arrival.webhook is not None and arrival.webhook.is_child_leg:
            return self._off("child_leg")
        locked = self._now.get(call_id) if call_id is not None else None
        if locked is None:
            return self._off("orphan")
        if event is None:
            return self._off("ignored")
        event = _dated(event, locked)
        setting, key = self._setting(locked), locked.contact.key
        was = self._contacts[key]
        set_up = self._gates.judge(locked, event, setting.other_calls)
        done = step(locked.call, was, setting, event, set_up=set_up)
        if done.off is None and not done.is_correction:
            self._gates.note(locked, event, (done.call, done.contact), was)
        call = done.call
        if event.evidence is Evidence.WEBHOOK and call.heard_at is None:
            call = replace(call, heard_at=event.at)
        self._now[call.id] = replace(locked, call=call)
        self._contacts[key] = done.contact
        self._recorded.offs.append(done.off)
        self._recorded.effects.extend(done.effects)
        if done.is_correction:
            return "correction"
        return "applied" if done.off is None else done.off.value

    async def _set_back(self) -> None:
        """Take back what was judged of numbers before their row was seen to be the set-up's."""
        wanted = self._gates.to_set_back
        if not wanted:
            return
        missing = wanted.keys() - self._before.keys()
        found = await storage.lock_calls(self._connection, missing)
        self._before |= found
        self._now |= found
        for locked in found.values():
            self._contacts.setdefault(locked.contact.key, locked.contact)
        self._others |= await storage.find_other_calls(self._connection, wanted)
        back: Counter[tuple[uuid.UUID, int | None]] = Counter()
        for call_id in wanted.keys() & self._now.keys():
            locked = self._now[call_id]
            key = locked.contact.key
            done = set_back(
                locked.call,
                self._contacts[key],
                self._setting(locked),
                wanted[call_id],
                locked.read_at,
            )
            if done is not None:
                self._now[call_id] = replace(locked, call=done[0])
                self._contacts[key] = done[1]
                back[key.batch_id, locked.call.sip_status] += 1
                self._going_on[key.batch_id] = locked.read_at
        if back:
            await gates_storage.note_set_back(self._connection, back)

    def _setting(self, locked: LockedCall) -> CallSetting:
        return CallSetting(
            batch_status=locked.batch_status,
            retry=locked.retry,
            deadlines=self._deadlines,
            follow_ups_max=locked.follow_ups_max,
            other_calls=self._other_calls(locked.call.id),
        )

    def _other_calls(self, call_id: uuid.UUID) -> tuple[Call, ...]:
        """Give the contact's other calls, as this set has moved them so far."""
        others = self._others.get(call_id, ())
        now = (self._now[o.id].call if o.id in self._now else o for o in others)
        return tuple(other for other in now if other.state is not CallState.RELEASED)

    def _off(self, verdict: str) -> str:
        self._recorded.offs.append(Off.REPEAT)
        return verdict

    async def _write(self, events: Sequence[StoredEvent]) -> None:
        changed = [
            (before, replace(after, contact=self._contacts[before.contact.key]))
            for before, after in ((self._before[i], self._now[i]) for i in self._before)
            if before.call != after.call
        ]
        if not changed and not events:
            return
        closed = [
            after
            for before, after in changed
            if before.call.state in OPEN_CALL and after.call.state not in OPEN_CALL
        ]
        moves = Moves(
            calls=[after.call for _, after in changed],
            contacts=list(
                {a.contact.key: a.contact for b, a in changed if a.contact != b.contact}.values()
            ),
            counts=count(changed),
            events=events,
            freed_numbers={after.call.phone_number for after in closed},
            freed_campaigns={after.campaign_id for after in (*closed, *rescheduled(changed))}
            | self._gates.opened,
        )
        self._recorded.freed = await storage.write_moves(
            self._connection, moves, notifies=self._wakes_by_notify
        )
        await self._gates.write(self._connection)
        for batch_id, now in self._going_on.items():
            await storage.reopen_batch(self._connection, batch_id, now)
        await self._mark(changed)
        await self._reopen(changed)
        await self._complete(changed)
        self._recorded.moved = [
            (before, after)
            for before, after in changed
            if before.call.state is not after.call.state
        ]

    async def _mark(self, changed: Sequence[tuple[LockedCall, LockedCall]]) -> None:
        """Remember whose numbers are somebody else's."""
        wrong = [after.call.id for _, after in changed if is_wrong_person(after.call)]
        right = [
            b.call.id for b, a in changed if is_wrong_person(b.call) and a.call.id not in wrong
        ]
        await storage.mark_numbers(self._connection, wrong, right)

    async def _reopen(self, changed: Sequence[tuple[LockedCall, LockedCall]]) -> None:
        """Bring back batches of people who were final, and turned out not to have been reached."""
        for batch_id, now in sorted(unfinished_again(changed).items()):
            reopened = await storage.reopen_batch(self._connection, batch_id, now)
            if reopened is not None:
                why = {"why": "a machine had picked up, so somebody is to be called again"}
                await storage.note_action(
                    self._connection, reopened, batch_id, "batch_reopened", why, now
                )

    async def _complete(self, changed: Sequence[tuple[LockedCall, LockedCall]]) -> None:
        finished = {
            a.contact.key.batch_id
            for b, a in changed
            if a.contact.status in FINAL_CONTACT
            and b.contact.status not in FINAL_CONTACT
            # Claimed, placed and ended while this transaction lasts? Then the sweep completes it.
            and not a.has_fresh_contacts
        }
        if finished:
            now = max(after.read_at for _, after in changed)
            self._recorded.completed = await storage.complete_batches(
                self._connection, finished, now
            )


def _looks_back(event: CallEvent | None, call: Call) -> bool:
    """Tell whether an event may end a call or correct one: then its contact's others matter."""
    if isinstance(event, CallRinging | CallAnswered | AnswererKnown):
        return call.state is CallState.ENDED
    return isinstance(
        event, CallEnded | CallVanished | QuarantineOver | NumberRefused | RequestNotPlaced
    )


def _raw_events(
    arrivals: Sequence[Arrival],
    call_ids: Sequence[uuid.UUID | None],
    verdicts: Sequence[str],
) -> list[StoredEvent]:
    """Give what is stored of each webhook, with what it led to."""
    return [
        StoredEvent(
            content_hash=a.webhook.content_hash,
            execution_id=call_id,
            provider_call_id=a.webhook.provider_call_id,
            call_status=a.webhook.call_status,
            body=a.webhook.body,
            verdict=verdict,
            received_at=a.webhook.received_at,
        )
        for a, call_id, verdict in zip(arrivals, call_ids, verdicts, strict=True)
        if a.webhook is not None
    ]


def _dated(event: CallEvent, locked: LockedCall) -> CallEvent:
    """Date an event by the database's clock: ours and the provider's may be hours off.

    What arrives is dated now; what a look-up found keeps its time as far as it is possible.
    """
    now = locked.read_at
    if event.evidence in {Evidence.POLL, Evidence.RECORD}:
        now = min(max(event.at, locked.call.requested_at), now)
    return replace(event, at=now)
