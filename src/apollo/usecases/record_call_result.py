"""What the agent adds after a call: transcript, summary, who hung up, and whether to call again."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from apollo.core.lifecycle import may_follow_up, schedule_follow_up
from apollo.core.states import CLOSED_BATCH, CallState, ContactStatus, Outcome
from apollo.errors import NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import calls as storage
from apollo.storage.calls import LockedCall, Moves
from apollo.storage.database import Connection, Database
from apollo.usecases.schedule_follow_ups import check_not_long_past, no_follow_up_left


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

    def as_fields(self) -> Mapping[str, Any]:
        """Give the fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class Stored:
    """A result is stored; why the follow-up that it asks for is not promised, if it is not."""

    follow_up_refused: str | None = None


class RecordCallResult:
    """Stores results, and schedules the follow-up that one asks for."""

    def __init__(self, *, db: Database, wakes_by_notify: bool, bus: Bus | None = None) -> None:
        self._db = db
        self._wakes_by_notify = wakes_by_notify
        # Told after the commit, where that is not enough.
        self._bus = bus

    async def record(self, call_id: uuid.UUID, result: CallResult) -> Stored:
        """Store a result. The same result twice changes nothing.

        A follow-up is taken from a call that is still open when it ends, else scheduled at once if
        the contact was reached and its batch was not cancelled and has not expired. Raises NotFound
        for an unknown call, and Invalid, storing nothing, for a follow-up long in the past.
        """
        async with self._db.transaction() as connection:
            locked = (await storage.lock_calls(connection, [call_id])).get(call_id)
            if locked is None or locked.call.state is CallState.RELEASED:
                raise NotFound("Call not found")
            at = result.follow_up_at
            is_new = at is not None and at != locked.call.follow_up_at
            refusal = None
            if at is not None and is_new:
                check_not_long_past(at, locked.read_at, field="follow_up_at")
                if not may_follow_up(locked.contact, locked.follow_ups_max):
                    refusal = no_follow_up_left(locked.contact, locked.follow_ups_max)
                    is_new = False
            said = result.as_fields()
            if locked.call.outcome not in {None, Outcome.COMPLETED}:
                # Of a call that nobody answered the provider knows better why it ended.
                said = {**said, "hangup_reason": None}
            if refusal is not None:
                said = {**said, "follow_up_at": None}
            await storage.write_result(connection, call_id, said)
            if at is not None and is_new:
                await self._follow_up(connection, locked, at)
        if self._bus is not None and is_new:
            await self._bus.wake([WakeUp(locked.campaign_id, Why.FOLLOW_UP_SET)])
        return Stored(follow_up_refused=refusal)

    async def _follow_up(self, connection: Connection, locked: LockedCall, at: datetime) -> None:
        contact = locked.contact
        is_reached = contact.status is ContactStatus.COMPLETED
        if not is_reached or locked.batch_status in CLOSED_BATCH:
            return
        scheduled = schedule_follow_up(contact, at, locked.read_at)
        moves = Moves(contacts=[scheduled], freed_campaigns=[locked.campaign_id])
        await storage.write_moves(connection, moves, notifies=self._wakes_by_notify)
        batch_id, now = contact.key.batch_id, locked.read_at
        reopened = await storage.reopen_batch(connection, batch_id, now)
        if reopened is not None:
            why = {"why": "a follow-up was scheduled"}
            await storage.note_action(connection, reopened, batch_id, "batch_reopened", why, now)
