"""Promises another call to somebody who was reached, as an operator asks for it.

Must never promise one to a person who was never reached, nor in a batch that is closed for good.
"""

from datetime import datetime, timedelta
from typing import Final

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.core.lifecycle import may_follow_up, schedule_follow_up
from apollo.core.model import Contact
from apollo.core.states import CLOSED_BATCH, BatchStatus, ContactStatus
from apollo.core.windows import local_start
from apollo.errors import Invalid, NotAllowedNow, NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import batches, call_records, contacts
from apollo.storage.calls import Moves, reopen_batch, write_moves
from apollo.storage.database import Connection, Database, Record
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View, explanation, view_of_contact
from apollo.usecases.create_batches import (
    wake,
)
from apollo.usecases.read_batches import find_batch

# An earlier time is a mistake: a clock, a zone, a zero date. A little past is a slow client.
PAST_MAX: Final = timedelta(days=1)
# Final in a way that leaves room for a promise, or promised already and only moved.
_MAY_BE_PROMISED: Final = frozenset(
    {
        ContactStatus.COMPLETED,
        ContactStatus.FOLLOWUP_SCHEDULED,
        ContactStatus.MAX_RETRIES_REACHED,
        ContactStatus.BUSY,
        ContactStatus.NO_ANSWER,
        ContactStatus.FAILED,
    }
)


class ScheduleFollowUps:
    """Schedules follow-ups."""

    def __init__(self, *, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus

    async def schedule(
        self, principal: Principal, batch_id: str, contact_id: str, at: str | datetime
    ) -> View:
        """Have a contact called again at a time; returns the contact, explained.

        A time that has passed, by a day at most, is now.

        Somebody on a call at the moment is promised it when the call ends. A completed batch is
        reopened. Raises NotFound, Invalid, NotAllowedNow.
        """
        async with self._db.transaction() as connection:
            found = await find_batch(connection, principal, batch_id)
            key = contact_key(found, contact_id)
            campaign = await batches.lock_campaign(connection, found["campaign_id"])
            batch = await batches.lock_batch(connection, found["id"])
            now = campaign["read_at"]
            asked_at = local_start(at, campaign["timezone"], field="at")
            check_not_long_past(asked_at, now, field="at")
            due_at = max(asked_at, now)
            _check_open(campaign, batch, due_at, now)
            call_id = await call_records.lock_open_call(connection, key)
            contact = await contacts.lock_contact(connection, key)
            if contact is None:
                raise NotFound("Contact not found")
            if not may_follow_up(contact, campaign["max_follow_ups"]):
                raise NotAllowedNow(no_follow_up_left(contact, campaign["max_follow_ups"]))
            if call_id is not None:
                await call_records.promise_follow_up(connection, call_id, due_at)
            else:
                await _check_reached(connection, contact)
                promised = schedule_follow_up(contact, due_at, now)
                await write_moves(connection, Moves(contacts=[promised]), notifies=False)
                await self._reopen(connection, principal, campaign, batch, now)
            await batches.record_action(
                connection,
                organization_id=principal.organization_id,
                campaign_id=campaign["id"],
                batch_id=key.batch_id,
                actor=principal.token_name,
                action="follow_up_scheduled",
                detail={"contact_id": contact_id, "at": due_at},
                now=now,
            )
            shown = await show_contact(connection, key, campaign)
        await wake(self._bus, WakeUp(campaign["id"], Why.FOLLOW_UP_SET, key.batch_id))
        return shown

    async def _reopen(
        self,
        connection: Connection,
        principal: Principal,
        campaign: Record,
        batch: Record,
        now: datetime,
    ) -> None:
        if batch["status"] != BatchStatus.COMPLETED:
            return
        await reopen_batch(connection, batch["id"], now)
        await batches.record_action(
            connection,
            organization_id=principal.organization_id,
            campaign_id=campaign["id"],
            batch_id=batch["id"],
            actor=principal.token_name,
            action="batch_reopened",
            detail={"because": "follow_up_scheduled"},
            now=now,
        )


def check_not_long_past(at: datetime, now: datetime, *, field: str) -> None:
    """Refuse a time that nobody can have meant; `now` is the database's clock. Raises Invalid."""
    if at < now - PAST_MAX:
        msg = f"{at:%Y-%m-%dT%H:%M:%SZ} passed more than a day ago; give a time that is to come"
        raise Invalid.field(field, msg)


def no_follow_up_left(contact: Contact, follow_ups_max: int) -> str:
    """Say why no other follow-up is promised, and what would change that."""
    if contact.is_withdrawn:
        return "the contact was taken out of the batch; to call it after all, put it into a new one"
    had = f"{contact.promises} follow-up{'' if contact.promises == 1 else 's'}"
    limit = f"the campaign's max_follow_ups is {follow_ups_max}"
    return (
        f"the contact was promised {had} already, and {limit}; raise it, or call it in a new batch"
    )


def contact_key(batch: Record, contact_id: str) -> ContactKey:
    """Read a contact's public id. Raises NotFound, also for a contact of another batch."""
    key = ids.parse_contact_id(contact_id)
    if key is None or key.batch_id != batch["id"]:
        raise NotFound("Contact not found")
    return key


def _check_open(campaign: Record, batch: Record, due_at: datetime, now: datetime) -> None:
    if batch["status"] in CLOSED_BATCH:
        msg = f"the batch is {batch['status']} for good; put the contact into a new batch"
        raise NotAllowedNow(msg)
    if campaign["cancelled_at"] is not None or campaign["deleted_at"] is not None:
        raise NotAllowedNow("the campaign is closed for good; nobody is called again")
    ends_at = batch["ends_at"]
    if ends_at is not None and ends_at <= now:
        raise NotAllowedNow("the batch's ends_at has passed; put the contact into a new batch")
    if ends_at is not None and ends_at <= due_at:
        raise Invalid.field("at", "the batch ends before that; choose an earlier time")


async def _check_reached(connection: Connection, contact: Contact) -> None:
    # A follow-up that nobody took leaves its contact unreached again; the earlier call counts.
    if contact.status in _MAY_BE_PROMISED and (
        contact.is_reached or await call_records.has_answered_call(connection, contact.key)
    ):
        return
    msg = f"the contact is {contact.status} and was never reached, so there is nothing to follow up"
    raise NotAllowedNow(f"{msg}; it is called by the campaign's own retries, or in a new batch")


async def show_contact(connection: Connection, key: ContactKey, campaign: Record) -> View:
    """Show one contact, with what holds it back."""
    rows = await contacts.read_page(
        connection, batch_id=key.batch_id, skip=key.position - 1, limit=1
    )
    calls = await call_records.read_last_calls_of_contacts(
        connection, batch_id=key.batch_id, positions=[key.position]
    )
    shown = view_of_contact(rows[0], batch_id=key.batch_id, campaign_id=campaign["id"], calls=calls)
    return shown | explanation(rows[0], None)
