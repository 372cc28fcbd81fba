"""Takes one contact out of a live batch, or changes what its agent is told.

Must never end a call: one that goes on ends by itself, and what was asked for holds from then on.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from apollo.core.ids import ContactKey
from apollo.core.model import Contact
from apollo.core.states import FINAL_CONTACT, LIVE_BATCH, ContactStatus
from apollo.errors import Invalid, NotAllowedNow, NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import batches, call_records, contacts
from apollo.storage.calls import complete_batches
from apollo.storage.database import Connection, Database, Record
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View
from apollo.usecases.check_contacts import fault_of_variables
from apollo.usecases.create_batches import (
    wake,
)
from apollo.usecases.read_batches import find_batch
from apollo.usecases.schedule_follow_ups import contact_key, show_contact


class ChangeContacts:
    """Skips contacts and changes their variables."""

    def __init__(self, *, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus

    async def skip(self, principal: Principal, batch_id: str, contact_id: str) -> View:
        """Have a contact never called again in its batch; returns it, with its calls in progress.

        One that was skipped already is returned as it is. Raises NotFound, NotAllowedNow.
        """
        async with self._db.transaction() as connection:
            found = await find_batch(connection, principal, batch_id)
            key = contact_key(found, contact_id)
            campaign = await batches.lock_campaign(connection, found["campaign_id"])
            batch = await batches.lock_batch(connection, found["id"])
            call_id = await call_records.lock_open_call(connection, key)
            contact = await _locked(connection, key)
            is_out = contact.is_withdrawn or contact.status is ContactStatus.SKIPPED
            if not is_out:
                _check_may_be_skipped(batch, contact)
                now = campaign["read_at"]
                await contacts.withdraw_contact(connection, key, now)
                detail = {"contact_id": contact_id, "was": contact.status.value}
                await _record(connection, principal, batch, "contact_skipped", detail, now)
                await complete_batches(connection, [key.batch_id], now)
            shown = await show_contact(connection, key, campaign)
        await wake(self._bus, WakeUp(batch["campaign_id"], Why.BATCH_CHANGED, key.batch_id))
        return {
            **shown,
            "message": _message(is_out=is_out, is_on_call=call_id is not None),
            "calls_in_progress": int(call_id is not None),
        }

    async def change(
        self, principal: Principal, batch_id: str, contact_id: str, variables: Mapping[str, Any]
    ) -> View:
        """Replace what the agent is told from the contact's next call on; returns the contact.

        Raises NotFound, Invalid, NotAllowedNow.
        """
        variables = dict(variables)
        if fault := fault_of_variables(variables, msgspec.json.encode(variables)):
            raise Invalid.field("call_variables", fault)
        async with self._db.transaction() as connection:
            found = await find_batch(connection, principal, batch_id)
            key = contact_key(found, contact_id)
            campaign = await batches.lock_campaign(connection, found["campaign_id"])
            batch = await batches.lock_batch(connection, found["id"])
            contact = await _locked(connection, key)
            if contact.status in FINAL_CONTACT or batch["status"] not in LIVE_BATCH:
                msg = f"the contact is {contact.status} in a batch that is {batch['status']}"
                raise NotAllowedNow(f"{msg}; what was said to it stays as it was")
            await contacts.change_variables(connection, key, variables)
            detail = {"contact_id": contact_id, "variables": sorted(variables)}
            await _record(
                connection, principal, batch, "contact_changed", detail, campaign["read_at"]
            )
            return await show_contact(connection, key, campaign)


async def _locked(connection: Connection, key: ContactKey) -> Contact:
    contact = await contacts.lock_contact(connection, key)
    if contact is None:
        raise NotFound("Contact not found")
    return contact


def _check_may_be_skipped(batch: Record, contact: Contact) -> None:
    if contact.status in FINAL_CONTACT:
        msg = f"the contact is {contact.status}, and is not called again: nothing is left to skip"
        raise NotAllowedNow(msg)
    if batch["status"] not in LIVE_BATCH:
        msg = f"the batch is {batch['status']}: nobody of it is called any more"
        raise NotAllowedNow(msg)


def _message(*, is_out: bool, is_on_call: bool) -> str:
    said = "Contact is already skipped" if is_out else "Contact skipped successfully"
    if is_on_call:
        return f"{said}; its call in progress goes on, and no other follows"
    return said


async def _record(
    connection: Connection,
    principal: Principal,
    batch: Record,
    action: str,
    detail: Mapping[str, Any],
    now: Any,
) -> None:
    await batches.record_action(
        connection,
        organization_id=principal.organization_id,
        campaign_id=batch["campaign_id"],
        batch_id=batch["id"],
        actor=principal.token_name,
        action=action,
        detail=detail,
        now=now,
    )
