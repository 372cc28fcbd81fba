"""Calls whose outcome nobody knows, and whose contacts therefore wait for a person."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from apollo.core.ids import ContactKey
from apollo.core.states import BatchStatus
from apollo.storage.database import Connection, load_queries

_Q: Final = load_queries("held")


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call that may have been placed; more was never learnt of it."""

    id: uuid.UUID
    organization_id: str
    campaign_id: uuid.UUID
    contact: ContactKey
    attempt: int
    phone_number: str
    from_number: str
    requested_at: datetime
    given_up_at: datetime
    batch_status: BatchStatus


@dataclass(frozen=True, slots=True)
class CallHome:
    """Whose a call is."""

    id: uuid.UUID
    organization_id: str
    campaign_id: uuid.UUID
    batch_id: uuid.UUID


async def list_held(
    connection: Connection, organization_id: str | None, at_most: int
) -> list[HeldCall]:
    """List the calls whose contacts are held, of one organisation or of all."""
    rows = await _Q["held_calls"].rows(connection, organization_id=organization_id, at_most=at_most)
    return [
        HeldCall(
            id=r["id"],
            organization_id=r["organization_id"],
            campaign_id=r["campaign_id"],
            contact=ContactKey(r["batch_id"], r["position"]),
            attempt=r["attempt"],
            phone_number=r["phone_number"],
            from_number=r["from_number"],
            requested_at=r["requested_at"],
            given_up_at=r["ended_at"],
            batch_status=BatchStatus(r["batch_status"]),
        )
        for r in rows
    ]


async def count_unknown(connection: Connection, organization_id: str | None) -> int:
    """Count the open calls of unknown fate, of one organisation or of all."""
    return int(await _Q["count_unknown"].value(connection, organization_id=organization_id))


async def find_last_call(connection: Connection, contact: ContactKey) -> uuid.UUID | None:
    """Find the last call to a contact; None when there was none."""
    found: uuid.UUID | None = await _Q["last_call"].value(
        connection, batch_id=contact.batch_id, position=contact.position
    )
    return found


async def find_call(connection: Connection, call_id: uuid.UUID) -> CallHome | None:
    """Find a call of any organisation."""
    row = await _Q["find_call"].row(connection, call_id=call_id)
    return None if row is None else CallHome(**row)
