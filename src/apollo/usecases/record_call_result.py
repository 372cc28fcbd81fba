"""What the agent adds after a call: transcript, summary, who picked up, and whether to call again.

A result is remembered by its content: what comes again changes nothing, and what comes late changes
nothing that was said since. So no repetition of any of them ever calls anybody.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from apollo.core import ids
from apollo.core.agent_keys import agent_key
from apollo.core.events import AnswererKnown, Effect, Evidence, Reached
from apollo.core.lifecycle import may_follow_up, schedule_follow_up
from apollo.core.model import Call
from apollo.core.states import CLOSED_BATCH, CallState, ContactStatus, Outcome
from apollo.errors import NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import call_results
from apollo.storage import calls as storage
from apollo.storage.calls import LockedCall, Moves
from apollo.storage.database import Connection, Database
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.record_call_events import Arrival, RecordCallEvents
from apollo.usecases.schedule_follow_ups import check_not_long_past, no_follow_up_left

# A call's own key travels in URLs; a day after the call nothing is to be said with it any more.
_KEY_WRITES_FOR: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class CallResult:
    """What may be added to a call; None leaves a field as it is."""

    transcript: str | None = None
    summary: str | None = None
    sentiment: str | None = None
    recording_url: str | None = None
    hangup_by: str | None = None
    hangup_reason: str | None = None
    total_cost: Decimal | None = None
    follow_up_at: datetime | None = None
    reached: Reached | None = None

    def as_fields(self) -> Mapping[str, Any]:
        """Give by name the fields that are only written down."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "reached"}

    def content_hash(self) -> uuid.UUID:
        """Give what two results have in common only if they say the same."""
        said = msgspec.json.encode(self)
        return uuid.UUID(bytes=hashlib.sha256(said).digest()[:16])


@dataclass(frozen=True, slots=True)
class Stored:
    """A result is stored; why the follow-up that it asks for is not promised, if it is not."""

    follow_up_refused: str | None = None
    # What must be done now that this is known.
    effects: Sequence[Effect] = ()


class RecordCallResult:
    """Stores results, says who was reached, and schedules the follow-up that one asks for."""

    def __init__(self, *, db: Database, record: RecordCallEvents, bus: Bus | None = None) -> None:
        self._db = db
        self._record = record
        # Told after the commit, where that is not enough.
        self._bus = bus
        self._keys = ReadAgentCall(db=db)

    async def key_of(self, call_id: uuid.UUID) -> bytes:
        """Give the key of one call, with which its agent may sign. Raises Unavailable."""
        return agent_key(await self._keys.secret(), ids.execution_id(call_id)).encode()

    async def record(
        self,
        call_id: uuid.UUID,
        result: CallResult,
        *,
        sent_at: datetime,
        by_call_key: bool = False,
    ) -> Stored:
        """Store a result that was signed at `sent_at`; the same one again changes nothing.

        A follow-up is taken from a call that is still open when it ends, else scheduled at once if
        the contact was reached by its last call, this one, and its batch was not cancelled and has
        not expired. Raises NotFound for an unknown call, and a day after its end for whoever signed
        with the call's own key; Invalid, storing nothing, for a follow-up long in the past.
        """
        async with self._db.transaction() as connection:
            locked = await self._lock(connection, call_id)
            if locked is None or (by_call_key and _is_long_over(locked)):
                raise NotFound("Call not found, or it is long over and its key has died")
            known = await call_results.remember(connection, call_id, result.content_hash(), sent_at)
            if not known.is_new:
                return Stored()
            if not known.is_newest:
                result = _what_is_missing(result, locked.call)
            before, at = locked.call.follow_up_at, result.follow_up_at
            refusal = _refusal(locked, at) if at != before else None
            effects: Sequence[Effect] = ()
            if result.reached is not None:
                recorded = await self._record.apply(connection, [_said(call_id, result.reached)])
                effects = recorded.effects
                locked = await self._lock(connection, call_id) or locked
            said = result.as_fields()
            if locked.call.outcome not in {None, Outcome.COMPLETED}:
                # Of a call that nobody answered the provider knows better why it ended.
                said = {**said, "hangup_reason": None}
            if refusal is not None:
                said = {**said, "follow_up_at": None}
            await call_results.write(connection, call_id, said, is_newest=known.is_newest)
            if at is not None and at != before and refusal is None:
                await self._follow_up(connection, locked, at, before)
        if self._bus is not None and (at is not None or result.reached is not None):
            await self._bus.wake([WakeUp(locked.campaign_id, Why.FOLLOW_UP_SET)])
        return Stored(follow_up_refused=refusal, effects=effects)

    async def _lock(self, connection: Connection, call_id: uuid.UUID) -> LockedCall | None:
        locked = (await storage.lock_calls(connection, [call_id])).get(call_id)
        return None if locked is None or locked.call.state is CallState.RELEASED else locked

    async def _follow_up(
        self, connection: Connection, locked: LockedCall, at: datetime, before: datetime | None
    ) -> None:
        """Schedule the one follow-up of this call, or move it while it waits."""
        contact, call = locked.contact, locked.call
        waits_for_it = (
            contact.status is ContactStatus.FOLLOWUP_SCHEDULED
            and contact.due is not None
            and contact.due.due_at == before
        )
        is_reached = contact.status is ContactStatus.COMPLETED or waits_for_it
        if not is_reached or locked.batch_status in CLOSED_BATCH:
            return
        others = await storage.find_other_calls(connection, [call.id])
        if any(other.requested_at > call.requested_at for other in others.get(call.id, ())):
            return  # it was called since: what this call asked for is done, or out of date
        scheduled = schedule_follow_up(contact, at, locked.read_at)
        moves = Moves(contacts=[scheduled], freed_campaigns=[locked.campaign_id])
        await storage.write_moves(connection, moves, notifies=self._record.wakes_by_notify)
        batch_id, now = contact.key.batch_id, locked.read_at
        reopened = await storage.reopen_batch(connection, batch_id, now)
        if reopened is not None:
            why = {"why": "a follow-up was scheduled"}
            await storage.note_action(connection, reopened, batch_id, "batch_reopened", why, now)


def _what_is_missing(result: CallResult, call: Call) -> CallResult:
    """Leave out of an older result what was decided by a newer one."""
    return replace(
        result,
        follow_up_at=None if call.follow_up_at is not None else result.follow_up_at,
        reached=None if call.reached_by_agent else result.reached,
    )


def _refusal(locked: LockedCall, at: datetime | None) -> str | None:
    """Say why this follow-up is not promised; None: it may be. Raises Invalid."""
    if at is None:
        return None
    check_not_long_past(at, locked.read_at, field="follow_up_at")
    if may_follow_up(locked.contact, locked.follow_ups_max):
        return None
    return no_follow_up_left(locked.contact, locked.follow_ups_max)


def _said(call_id: uuid.UUID, reached: Reached) -> Arrival:
    # Dated by the database when it is applied.
    at = datetime.min.replace(tzinfo=UTC)
    event = AnswererKnown(at=at, evidence=Evidence.AGENT, reached=reached, by_agent=True)
    return Arrival(call_id, event)


def _is_long_over(locked: LockedCall) -> bool:
    ended_at = locked.call.ended_at
    return ended_at is not None and locked.read_at - ended_at > _KEY_WRITES_FOR
