"""Calls as they are shown: never a released one, since it was never made. Records out."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apollo.core.ids import ContactKey
from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("call_records")


async def read_calls_of_contacts(
    connection: Connection, *, batch_id: uuid.UUID, positions: Sequence[int]
) -> list[Record]:
    """Read every call to these contacts, by position and then oldest first."""
    return await _Q["read_calls_of_contacts"].rows(
        connection, batch_id=batch_id, positions=positions
    )


async def read_last_calls_of_contacts(
    connection: Connection, *, batch_id: uuid.UUID, positions: Sequence[int]
) -> list[Record]:
    """Read the newest call to each of these contacts that has one."""
    return await _Q["read_last_calls_of_contacts"].rows(
        connection, batch_id=batch_id, positions=positions
    )


async def read_call(
    connection: Connection, *, organization_id: str, call_id: uuid.UUID
) -> Record | None:
    """Read one call with its contact's variables merged over the campaign's."""
    return await _Q["read_call"].row(connection, organization_id=organization_id, call_id=call_id)


async def read_calls_to_number(
    connection: Connection,
    *,
    organization_id: str,
    phone_number: str,
    batch_id: uuid.UUID | None,
    **page: Any,
) -> list[Record]:
    """Read the calls to a `+E.164` number, newest first."""
    return await _Q["read_calls_to_number"].rows(
        connection,
        organization_id=organization_id,
        phone_number=phone_number,
        batch_id=batch_id,
        **page,
    )


async def read_calls_of_batch(
    connection: Connection, *, organization_id: str, batch_id: uuid.UUID, **page: Any
) -> list[Record]:
    """Read the calls of a batch, in upload order and then by attempt."""
    return await _Q["read_calls_of_batch"].rows(
        connection, organization_id=organization_id, batch_id=batch_id, **page
    )


async def lock_open_call(connection: Connection, key: ContactKey) -> uuid.UUID | None:
    """Lock the call a contact is on, if it is on one."""
    call_id: uuid.UUID | None = await _Q["lock_open_call"].value(
        connection, batch_id=key.batch_id, position=key.position
    )
    return call_id


async def promise_follow_up(connection: Connection, call_id: uuid.UUID, at: datetime) -> None:
    """Leave word on an open call that the person is to be called again."""
    await _Q["promise_follow_up"].run(connection, call_id=call_id, at=at)


async def has_answered_call(connection: Connection, key: ContactKey) -> bool:
    """Tell whether this contact was ever reached."""
    return bool(
        await _Q["has_answered_call"].value(
            connection, batch_id=key.batch_id, position=key.position
        )
    )


async def read_attempts(connection: Connection, key: ContactKey) -> list[Record]:
    """Read every attempt at a contact, oldest first, those that were never sent among them."""
    return await _Q["read_attempts"].rows(connection, batch_id=key.batch_id, position=key.position)
