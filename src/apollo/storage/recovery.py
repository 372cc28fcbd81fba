"""What a restored database lacks: reading how far it knows, and writing the calls it lost.

Owns the recovery flag of the installation. It decides nothing about outcomes.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from apollo.core.ids import ContactKey
from apollo.ports import LiveCall
from apollo.storage.database import Connection, load_queries

_Q: Final = load_queries("recovery")
# Whole batches of millions are read once, by a person who waits for it.
_FIND_WITHIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Reach:
    """Which database this is, and which one was last compared with the provider.

    `identity` changes with every restart of the server, `lineage` only when a dump is restored or a
    replica promoted. `knows_until`: how far it knows; None: nothing was ever dialled from it.
    """

    identity: str
    lineage: str
    knows_until: datetime | None
    compared_lineage: str | None = None

    @property
    def is_restored(self) -> bool:
        """Whether it certainly came out of a dump or a replica since it was last compared."""
        return self.compared_lineage not in {None, self.lineage}


@dataclass(frozen=True, slots=True)
class Recovery:
    """The flag, and what was found when it was set; `since` None: dialling is not held."""

    since: datetime | None
    evidence: dict[str, Any]
    # When the oldest call was asked for that is open here.
    open_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class OurCall:
    """A call of ours that a provider's call may be."""

    id: uuid.UUID
    provider_call_id: str | None
    phone_number: str
    from_number: str
    requested_at: datetime
    is_open: bool
    outcome: str | None
    evidence: str | None


@dataclass(frozen=True, slots=True)
class WaitingContact:
    """Somebody who is still to be called, and from which numbers."""

    key: ContactKey
    phone_number: str
    caller_ids: frozenset[str]


async def read_reach(connection: Connection) -> Reach:
    """Read which database this is, and how far it knows."""
    (row,) = await _Q["read_reach"].rows(connection)
    return Reach(**row)


async def note_compared(connection: Connection, reach: Reach) -> None:
    """Note that this database was compared with the provider."""
    await _Q["note_compared"].run(connection, lineage=reach.lineage)


async def read_recovery(connection: Connection) -> Recovery:
    """Read the flag."""
    row = await _Q["read_recovery"].row(connection)
    if row is None:
        return Recovery(None, {})
    return Recovery(row["recovery_since"], row["recovery_evidence"], row["open_since"])


async def read_caller_ids(connection: Connection) -> set[str]:
    """Read the numbers that campaigns call from."""
    return {row["number"] for row in await _Q["read_caller_ids"].rows(connection)}


async def read_our_calls(
    connection: Connection, provider: str, calls: Collection[LiveCall], since: datetime
) -> list[OurCall]:
    """Read, the oldest first, the calls of ours that these calls of the provider may be."""
    rows = await _Q["read_our_calls"].rows(
        connection,
        provider=provider,
        provider_call_ids=[call.provider_call_id for call in calls],
        phone_numbers=[call.to for call in calls],
        since=since,
    )
    return [OurCall(**row) for row in rows]


async def read_open_calls(connection: Connection, provider: str) -> set[uuid.UUID]:
    """Read which calls at this provider are open."""
    return {row["id"] for row in await _Q["read_open_calls"].rows(connection, provider=provider)}


async def enter_recovery(connection: Connection, evidence: dict[str, Any]) -> bool:
    """Hold all dialling, and note it; False when it was held already."""
    if await _Q["enter_recovery"].value(connection, evidence=evidence) is None:
        return False
    await _Q["note_everywhere"].run(
        connection, actor="apollo", action="recovery_entered", detail=evidence
    )
    return True


async def note_read_in(connection: Connection, evidence: dict[str, Any]) -> None:
    """Keep what was read in; nothing when dialling is not held any more."""
    await _Q["note_read_in"].run(connection, evidence=evidence)


async def trust(connection: Connection, *, actor: str) -> None:
    """Note on an operator's word that the provider hides no call that this database lacks."""
    await note_compared(connection, await read_reach(connection))
    await _Q["note_everywhere"].run(
        connection, actor=actor, action="recovery_confirmed", detail={"calls": 0}
    )


async def leave_recovery(
    connection: Connection, evidence: dict[str, Any], *, actor: str, detail: dict[str, Any]
) -> None:
    """Let dialling go on, note it, and keep what was found."""
    await _Q["leave_recovery"].run(connection, evidence=evidence)
    await _Q["note_everywhere"].run(
        connection, actor=actor, action="recovery_confirmed", detail=detail
    )


async def find_contacts(
    connection: Connection, phone_numbers: Collection[str]
) -> list[WaitingContact]:
    """Find who of unfinished batches is still to be called at one of these numbers."""
    query = _Q["find_contacts"]
    rows = await connection.fetch(query.text, list(phone_numbers), timeout=_FIND_WITHIN_S)
    return [
        WaitingContact(
            ContactKey(row["batch_id"], row["position"]),
            row["phone_number"],
            frozenset(row["caller_ids"]),
        )
        for row in rows
    ]


async def adopt_call(
    connection: Connection, provider: str, contact: ContactKey, call: LiveCall
) -> uuid.UUID | None:
    """Write a provider's call as this contact's; None when it has another call meanwhile."""
    call_id: uuid.UUID | None = await _Q["adopt_call"].value(
        connection,
        batch_id=contact.batch_id,
        position=contact.position,
        provider=provider,
        from_number=call.from_number,
        provider_call_id=call.provider_call_id,
        requested_at=call.attempted_at,
    )
    return call_id
