"""Open calls of which somebody ought to ask, and when to look at them again."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apollo.core.absence import OtherCall
from apollo.core.states import CallState
from apollo.storage.database import Connection, Record, load_queries

_Q: Final = load_queries("calls")


@dataclass(frozen=True, slots=True)
class OverdueCall:
    """An open call past its deadline; `read_at` is the database's clock."""

    id: uuid.UUID
    state: CallState
    version: int
    provider: str
    phone_number: str
    from_number: str
    provider_call_id: str | None
    requested_at: datetime
    was_answered: bool
    read_at: datetime


async def take_overdue(
    connection: Connection,
    provider: str,
    *,
    turn: timedelta,
    abandoned_after: timedelta,
    at_most: int,
) -> list[OverdueCall]:
    """Take calls past their deadline; nobody else looks at them for one `turn`.

    Those of other providers come as well when they were due `abandoned_after` ago.
    """
    rows = await _Q["take_overdue"].rows(
        connection, provider=provider, turn=turn, abandoned_after=abandoned_after, at_most=at_most
    )
    return [_overdue(r) for r in rows]


async def read_silent(
    connection: Connection, provider: str, *, silence: timedelta, at_most: int
) -> list[OverdueCall]:
    """Read named calls of which nothing was ever told, or all if nothing was of any."""
    rows = await _Q["read_silent"].rows(
        connection, provider=provider, silence=silence, at_most=at_most
    )
    return [_overdue(r) for r in rows]


def _overdue(r: Record) -> OverdueCall:
    return OverdueCall(
        id=r["id"],
        state=CallState(r["state"]),
        version=r["version"],
        provider=r["provider"],
        phone_number=r["phone_number"],
        from_number=r["from_number"],
        provider_call_id=r["provider_call_id"],
        requested_at=r["requested_at"],
        was_answered=r["answered_at"] is not None,
        read_at=r["read_at"],
    )


async def read_existing_between(
    connection: Connection, provider: str, since: datetime, until: datetime, *, at_most: int
) -> list[OtherCall]:
    """Read calls asked for in a stretch of time that certainly existed, the latest first."""
    rows = await _Q["read_existing_between"].rows(
        connection, provider=provider, since=since, until=until, at_most=at_most
    )
    return [
        OtherCall(r["provider_call_id"], r["requested_at"], r["ended_at"], bool(r["has_rung"]))
        for r in rows
    ]


async def set_deadlines(connection: Connection, again: Mapping[OverdueCall, datetime]) -> None:
    """Set when to look at these calls again, but for those that have moved since."""
    ids, versions = [c.id for c in again], [c.version for c in again]
    await _Q["set_deadlines"].run(
        connection, ids=ids, versions=versions, deadline_ats=list(again.values())
    )


async def read_known_provider_ids(
    connection: Connection, provider_call_ids: Collection[str]
) -> set[str]:
    """Tell which of these provider calls belong to a call of ours already."""
    rows = await _Q["read_known_provider_ids"].rows(
        connection, provider_call_ids=list(provider_call_ids)
    )
    return {r["provider_call_id"] for r in rows}
