"""Idempotency keys: who holds one, and the first answer that was given under it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from apollo.storage.database import Connection, load_queries

_Q = load_queries("idempotency")


@dataclass(frozen=True, slots=True)
class Key:
    """What a key is unique within: the organisation and the path."""

    organization_id: str
    path: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key: `status_code` and `answer` once there is a first answer."""

    body_hash: bytes | None
    status_code: int | None
    answer: bytes | None


async def reserve(
    connection: Connection,
    key: Key,
    *,
    body_hash: bytes | None,
    lease: timedelta,
    kept_for: timedelta,
) -> datetime | None:
    """Reserve a key; gives the end of the lease, which is the proof of holding it, or None."""
    row = await _Q["reserve_key"].row(
        connection, **_name(key), body_hash=body_hash, lease=lease, kept_for=kept_for
    )
    return None if row is None else row["lease_until"]


async def read(connection: Connection, key: Key) -> KeyRecord | None:
    """Read what is known of a key."""
    row = await _Q["read_key"].row(connection, **_name(key))
    return None if row is None else KeyRecord(**row)


async def extend(
    connection: Connection, key: Key, *, lease_until: datetime, lease: timedelta
) -> datetime | None:
    """Go on holding a key; None when somebody else took it over."""
    row = await _Q["extend_lease"].row(
        connection, **_name(key), lease_until=lease_until, lease=lease
    )
    return None if row is None else row["lease_until"]


async def store(
    connection: Connection,
    key: Key,
    *,
    lease_until: datetime,
    body_hash: bytes,
    status_code: int,
    answer: bytes,
) -> bool:
    """Write the first answer down; False when somebody else took the key over."""
    changed = await _Q["store_answer"].run(
        connection,
        **_name(key),
        lease_until=lease_until,
        body_hash=body_hash,
        status_code=status_code,
        answer=answer,
    )
    return changed == 1


async def forget(connection: Connection, key: Key, *, lease_until: datetime) -> None:
    """Give a key back without an answer."""
    await _Q["forget_key"].run(connection, **_name(key), lease_until=lease_until)


async def forget_old(connection: Connection, *, kept_for: timedelta) -> int:
    """Remove keys older than `kept_for`; gives how many."""
    return await _Q["forget_old_keys"].run(connection, kept_for=kept_for)


def _name(key: Key) -> dict[str, str]:
    return {"organization_id": key.organization_id, "path": key.path, "key": key.key}
