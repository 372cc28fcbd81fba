"""What is read to compare the provider's view with ours, and whose turn it is to look."""

import uuid
from dataclasses import dataclass
from typing import Final

from apollo.storage.database import Connection, load_queries

_Q: Final = load_queries("watching")


@dataclass(frozen=True, slots=True)
class OpenCall:
    """An open call that the provider took; `was_heard`: it also reported on it."""

    id: uuid.UUID
    batch_id: uuid.UUID
    provider_call_id: str
    was_heard: bool
    # Placed so long ago that the list must show it, if it is there.
    is_due: bool = True


async def take_turn(connection: Connection, provider: str, patience_s: float) -> bool:
    """Take the turn to look at a provider, if nobody did for so many seconds."""
    taken = await _Q["take_turn"].value(connection, provider=provider, patience_s=patience_s)
    return taken is not None


async def read_open_calls(connection: Connection, provider: str) -> list[OpenCall]:
    """Read open calls that the provider must still have in its list, if they are live."""
    rows = await _Q["open_calls"].rows(connection, provider=provider)
    return [
        OpenCall(r["id"], r["batch_id"], r["provider_call_id"], r["was_heard"], r["is_due"])
        for r in rows
    ]


async def read_routes(connection: Connection) -> list[tuple[str | None, str | None]]:
    """Read how registered agents are reached: (application, call hook) of each."""
    rows = await _Q["routes"].rows(connection)
    return [(r["application_sid"], r["call_hook"]) for r in rows]
