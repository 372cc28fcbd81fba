"""The gates that the carrier's failures shut, as the database keeps them for every process."""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from apollo.core.carrier import Gate, InRow, Scope, ScopeKind, ShutGate
from apollo.core.sip import Family
from apollo.storage.database import Connection, Record, load_queries

_Q: Final = load_queries("carrier_gates")


async def lock_gates(connection: Connection, scopes: Collection[Scope]) -> dict[Scope, Gate]:
    """Lock the gates of these scopes; those of which nothing is known are left out."""
    rows = await _Q["lock_gates"].rows(
        connection,
        providers=[scope.provider for scope in scopes],
        kinds=[scope.kind.value for scope in scopes],
        scope_ids=[scope.id for scope in scopes],
    )
    return {Scope(r["provider"], ScopeKind(r["kind"]), r["scope_id"]): _gate(r) for r in rows}


def _gate(r: Record) -> Gate:
    return Gate(
        family=r["family"] and Family(r["family"]),
        row=tuple(map(InRow, r["row_calls"], r["row_numbers"])),
        failed=r["failed"],
        carried=r["carried"],
        since=r["since"],
        failed_at=r["failed_at"],
        sip_status=r["sip_status"],
        carried_at=r["carried_at"],
        shut_at=r["shut_at"],
        probe_at=r["probe_at"],
    )


async def count_under_way(
    connection: Connection, campaigns: Mapping[Scope, uuid.UUID]
) -> dict[tuple[ScopeKind, uuid.UUID], int]:
    """Count each scope's open calls of which nothing is known yet; given are their campaigns."""
    rows = await _Q["count_under_way"].rows(
        connection,
        kinds=[scope.kind.value for scope in campaigns],
        scope_ids=[scope.id for scope in campaigns],
        campaign_ids=list(campaigns.values()),
    )
    return {(ScopeKind(r["kind"]), r["scope_id"]): r["under_way"] for r in rows}


async def write_gates(
    connection: Connection, gates: Mapping[Scope, Gate], campaigns: Mapping[Scope, uuid.UUID]
) -> None:
    """Write gates as they are now; given are the campaigns of their scopes."""
    await _Q["write_gates"].run(
        connection,
        providers=[scope.provider for scope in gates],
        kinds=[scope.kind.value for scope in gates],
        scope_ids=[scope.id for scope in gates],
        campaign_ids=[campaigns[scope] for scope in gates],
        families=[gate.family for gate in gates.values()],
        # An array of arrays would have to be a rectangle.
        rows=[" ".join(str(one.call_id) for one in gate.row) for gate in gates.values()],
        failed=[gate.failed for gate in gates.values()],
        carried=[gate.carried for gate in gates.values()],
        sinces=[gate.since for gate in gates.values()],
        failed_ats=[gate.failed_at for gate in gates.values()],
        sip_statuses=[gate.sip_status for gate in gates.values()],
        carried_ats=[gate.carried_at for gate in gates.values()],
        shut_ats=[gate.shut_at for gate in gates.values()],
        probe_ats=[gate.probe_at for gate in gates.values()],
    )


async def read_shut_gates(
    connection: Connection, campaign_id: uuid.UUID, provider: str
) -> list[ShutGate]:
    """Read the gates of a campaign and its batches that are shut."""
    rows = await _Q["read_shut_gates"].rows(connection, campaign_id=campaign_id, provider=provider)
    return [
        ShutGate(
            Scope(provider, ScopeKind(r["kind"]), r["scope_id"]),
            r["shut_at"],
            r["probe_at"],
            r["sip_status"],
        )
        for r in rows
    ]


async def note_probes(connection: Connection, probes: Mapping[Scope, datetime]) -> None:
    """Note that a probe of each of these scopes leaves, and when the next one may."""
    await _Q["note_probes"].run(
        connection,
        providers=[scope.provider for scope in probes],
        kinds=[scope.kind.value for scope in probes],
        scope_ids=[scope.id for scope in probes],
        probe_ats=list(probes.values()),
    )


async def note_set_back(
    connection: Connection, contacts: Mapping[tuple[uuid.UUID, int | None], int]
) -> None:
    """Note how many contacts of each batch, and of each SIP code, Apollo has set back."""
    await _Q["note_set_back"].run(
        connection,
        batch_ids=[batch_id for batch_id, _ in contacts],
        contacts=list(contacts.values()),
        sip_statuses=[sip_status for _, sip_status in contacts],
    )


async def forget_gates(connection: Connection) -> None:
    """Forget gates that have been open and quiet for a day."""
    await _Q["forget_gates"].run(connection)


async def set_back_batch(connection: Connection, batch_id: uuid.UUID) -> int:
    """Have a batch's contacts called again whose numbers were judged bad; gives how many."""
    return int(await _Q["set_back_batch"].value(connection, batch_id=batch_id))


async def read_clock(connection: Connection) -> datetime:
    """Read the database's clock."""
    now: datetime = await _Q["read_clock"].value(connection)
    return now
