"""Contacts as they are read, page by page, and locked one by one. Rows in, records out."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from apollo.core.ids import ContactKey
from apollo.core.model import Contact, Due, Turn
from apollo.core.reasons import Reason
from apollo.core.states import ContactStatus
from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("contacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactFilter:
    """Which contacts of a batch are wanted; None: all."""

    statuses: Sequence[str] | None = None
    phone_number: str | None = None
    updated_since: datetime | None = None


async def read_page(
    connection: Connection, *, batch_id: uuid.UUID, skip: int = 0, limit: int = 1
) -> list[Record]:
    """Read contacts in upload order, `skip` of them left out."""
    return await _Q["read_page"].rows(connection, batch_id=batch_id, skip=skip, limit=limit)


async def read_page_filtered(
    connection: Connection,
    *,
    batch_id: uuid.UUID,
    after: int,
    wanted: ContactFilter,
    skip: int,
    limit: int,
) -> list[Record]:
    """Read the contacts behind a position that the filters let through, in upload order."""
    return await _Q["read_page_filtered"].rows(
        connection,
        batch_id=batch_id,
        after=after,
        skip=skip,
        limit=limit,
        **asdict(wanted),
    )


async def count_filtered(
    connection: Connection,
    *,
    batch_id: uuid.UUID,
    wanted: ContactFilter,
) -> int:
    """Count the contacts of a batch that the filters let through."""
    found = await _Q["count_filtered"].value(
        connection,
        batch_id=batch_id,
        **asdict(wanted),
    )
    return int(found)


async def read_stretch(
    connection: Connection,
    *,
    batch_id: uuid.UUID,
    wanted: ContactFilter,
    after: int,
    length: int,
) -> list[Record]:
    """Read those wanted among the `length` contacts after a position, in upload order."""
    return await _Q["read_stretch"].rows(
        connection, batch_id=batch_id, after=after, length=length, **asdict(wanted)
    )


async def read_last_position(connection: Connection, batch_id: uuid.UUID) -> int:
    """Read a batch's last position; 0 without contacts."""
    last: int = await _Q["read_last_position"].value(connection, batch_id=batch_id)
    return last


async def lock_contact(connection: Connection, key: ContactKey) -> Contact | None:
    """Lock a contact; its campaign, batch and open call are locked before it."""
    r = await _Q["lock_contact"].row(connection, batch_id=key.batch_id, position=key.position)
    if r is None:
        return None
    return Contact(
        key=key,
        status=ContactStatus(r["status"]),
        updated_at=r["updated_at"],
        wait_reason=r["wait_reason"] and Reason(r["wait_reason"]),
        attempts=r["attempts"],
        tries=r["tries"],
        retry_count=r["retry_count"],
        follow_up_count=r["follow_up_count"],
        carrier_failures=r["carrier_failures"],
        promises=r["promises"],
        is_withdrawn=r["is_withdrawn"],
        is_reached=r["is_reached"],
        last_attempted_at=r["last_attempted_at"],
        due=None if r["turn"] is None else Due(Turn(r["turn"]), r["due_at"]),
    )


async def withdraw_contact(connection: Connection, key: ContactKey, now: datetime) -> None:
    """Take a contact out: who waits is skipped, a call goes on and none follows.

    The caller holds the campaign, the batch, its open call and the contact.
    """
    place = {"batch_id": key.batch_id, "position": key.position}
    await _Q["withdraw_contact"].run(connection, **place, now=now)
    await _Q["drop_due_contact"].run(connection, **place)
    await _Q["pass_skipped"].run(connection, **place)


async def change_variables(
    connection: Connection, key: ContactKey, call_variables: Mapping[str, Any]
) -> None:
    """Replace what the agent is told about a contact."""
    await _Q["change_variables"].run(
        connection,
        batch_id=key.batch_id,
        position=key.position,
        call_variables=dict(call_variables),
    )
