"""Lists contacts that are held because nobody knows what became of their call, and releases them.

A release is an operator's decision: it is recorded with who and why, and the contact is then
retried as any other. It must never release what is not held, nor touch the call's own record: late
evidence still corrects that.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from apollo.core import ids
from apollo.core.held import release_held
from apollo.core.model import Contact
from apollo.core.states import BatchStatus
from apollo.errors import Invalid, NotAllowedNow, NotFound
from apollo.storage import batches, held
from apollo.storage import calls as calls_storage
from apollo.storage.calls import LockedCall, Moves
from apollo.storage.database import Connection, Database
from apollo.storage.held import CallHome, HeldCall
from apollo.usecases.authenticate import organization_id_of

__all__ = ["HeldCall", "ReleaseHeld", "Released"]

# More than a person can decide about at one sitting; the rest follows when these are gone.
_LISTED_MAX: Final = 1_000
_REASON_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Released:
    """A contact that will be called again."""

    execution_id: str
    contact_id: str
    batch_id: str
    # Whether its batch had been completed and goes on now.
    reopened: bool


class ReleaseHeld:
    """Lists and releases."""

    def __init__(self, *, db: Database) -> None:
        self._db = db

    async def list_held(self, organization: str | None = None) -> list[HeldCall]:
        """List the calls of unknown outcome whose contacts are held, the oldest first."""
        wanted = None if organization is None else organization_id_of(organization)
        async with self._db.connection() as connection:
            return await held.list_held(connection, wanted, _LISTED_MAX)

    async def count_looked_for(self, organization: str | None = None) -> int:
        """Count the open calls of which nobody knows whether they were placed."""
        wanted = None if organization is None else organization_id_of(organization)
        async with self._db.connection() as connection:
            return await held.count_unknown(connection, wanted)

    async def release(self, shown_id: str, *, reason: str, actor: str) -> Released:
        """Have the contact of a held call called again, as a normal retry that is due now.

        Takes the call's id or the contact's. Raises NotFound, Invalid, NotAllowedNow.
        """
        why = reason.strip()
        if not 1 <= len(why) <= _REASON_CHARS_MAX:
            raise Invalid.field("reason", f"say why, in 1 to {_REASON_CHARS_MAX} characters")
        async with self._db.transaction() as connection:
            home = await _find(connection, shown_id)
            campaign = await batches.lock_campaign(connection, home.campaign_id)
            batch = await batches.lock_batch(connection, home.batch_id)
            if campaign["cancelled_at"] is not None or campaign["deleted_at"] is not None:
                raise NotAllowedNow("the campaign is closed for good; nobody is called again")
            locked = (await calls_storage.lock_calls(connection, [home.id]))[home.id]
            contact = await _check_last(connection, locked)
            now = locked.read_at
            if batch["ends_at"] is not None and batch["ends_at"] <= now:
                raise NotAllowedNow(
                    "the batch's ends_at has passed; put the contact into a new batch"
                )
            released = release_held(
                locked.call, contact, BatchStatus(batch["status"]), locked.retry, now
            )
            await calls_storage.write_moves(connection, Moves(contacts=[released]), notifies=False)
            reopened = batch["status"] == BatchStatus.COMPLETED
            if reopened:
                await calls_storage.reopen_batch(connection, home.batch_id, now)
            shown = Released(
                execution_id=ids.execution_id(home.id),
                contact_id=ids.contact_id(contact.key),
                batch_id=ids.batch_id(home.batch_id),
                reopened=reopened,
            )
            detail = {"execution_id": shown.execution_id, "contact_id": shown.contact_id}
            await batches.record_action(
                connection,
                organization_id=home.organization_id,
                campaign_id=home.campaign_id,
                batch_id=home.batch_id,
                actor=actor,
                action="contact_released",
                detail=detail | {"reason": why, "reopened": reopened},
                now=now,
            )
            await calls_storage.notify_campaigns(connection, [home.campaign_id])
        return shown


async def _find(connection: Connection, shown_id: str) -> CallHome:
    call_id: uuid.UUID | None = ids.parse_id("exec", shown_id)
    contact = ids.parse_contact_id(shown_id)
    if call_id is None and contact is not None:
        call_id = await held.find_last_call(connection, contact)
    home = None if call_id is None else await held.find_call(connection, call_id)
    if home is None:
        raise NotFound(
            f"There is no call {shown_id}; give an id that `apollo calls unresolved` lists"
        )
    return home


async def _check_last(connection: Connection, locked: LockedCall) -> Contact:
    """A contact is held by its last call only."""
    last = await held.find_last_call(connection, locked.contact.key)
    if last != locked.call.id:
        raise NotAllowedNow("the contact was called again since; there is nothing to release")
    return locked.contact
