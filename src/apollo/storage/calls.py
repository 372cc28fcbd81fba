"""Calls and their contacts as the events move them: read with locks, written in sets."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from apollo.core.events import Evidence, Reached
from apollo.core.ids import ContactKey
from apollo.core.model import Call, Contact, Due, RetryPolicy, RetryStrategy, Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, CallKind, CallState, ContactStatus, Outcome
from apollo.errors import Stale
from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("calls")


class LockedCall(msgspec.Struct, frozen=True):
    """A call with its contact and what surrounds them; this transaction holds their locks."""

    call: Call
    contact: Contact
    campaign_id: uuid.UUID
    batch_status: BatchStatus
    # Somebody of the batch was never called: it cannot be complete.
    has_fresh_contacts: bool
    retry: RetryPolicy
    # That may be promised to one contact.
    follow_ups_max: int
    # The database's clock: the only one that dates what happens to calls.
    read_at: datetime


class StoredEvent(msgspec.Struct, frozen=True):
    """A status webhook on its way into the table of raw events."""

    content_hash: uuid.UUID
    execution_id: uuid.UUID | None
    provider_call_id: str
    call_status: str
    body: bytes
    verdict: str
    received_at: datetime


@dataclass(slots=True)
class Moves:
    """Everything a set of events changes."""

    calls: Sequence[Call] = ()
    contacts: Sequence[Contact] = ()
    # How much the call counters change, by campaign and what is counted.
    counts: Mapping[tuple[uuid.UUID, str], int] = field(default_factory=dict)
    events: Sequence[StoredEvent] = ()
    # Numbers that are on no call any more, and the campaigns that have a slot more.
    freed_numbers: Collection[str] = ()
    freed_campaigns: Collection[uuid.UUID] = ()


def retry_policy(stored: Mapping[str, Any], override: int | None) -> RetryPolicy:
    """Read a campaign's retry policy, with a batch's own number of retries if it has one."""
    return RetryPolicy(
        max_retries=stored["max_retries"] if override is None else override,
        strategy=RetryStrategy(stored["strategy"]),
        cooldown=timedelta(minutes=stored["cooldown_minutes"]),
    )


async def find_by_provider_ids(
    connection: Connection, provider_call_ids: Collection[str]
) -> dict[str, uuid.UUID]:
    """Find the calls behind provider ids."""
    rows = await _Q["find_by_provider_ids"].rows(
        connection, provider_call_ids=list(provider_call_ids)
    )
    return {r["provider_call_id"]: r["id"] for r in rows}


async def lock_calls(
    connection: Connection, call_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, LockedCall]:
    """Lock calls and their contacts, in one order everywhere; unknown ids are left out."""
    rows = await _Q["lock_calls"].rows(connection, call_ids=list(call_ids))
    return {r["id"]: _locked(r) for r in rows}


def _locked(r: Record) -> LockedCall:
    return LockedCall(
        call=_call_of(r),
        contact=_contact_of(r),
        campaign_id=r["campaign_id"],
        batch_status=BatchStatus(r["batch_status"]),
        has_fresh_contacts=r["has_fresh_contacts"],
        retry=retry_policy(r["retry_policy"], r["max_retries_override"]),
        follow_ups_max=r["max_follow_ups"],
        read_at=r["read_at"],
    )


def _call_of(r: Record) -> Call:
    return Call(
        id=r["id"],
        state=CallState(r["state"]),
        version=r["version"],
        kind=CallKind(r["kind"]),
        provider=r["provider"],
        phone_number=r["phone_number"],
        from_number=r["from_number"],
        requested_at=r["requested_at"],
        provider_call_id=r["provider_call_id"],
        sip_call_id=r["sip_call_id"],
        heard_at=r["heard_at"],
        ringing_at=r["ringing_at"],
        answered_at=r["answered_at"],
        ended_at=r["ended_at"],
        deadline_at=r["deadline_at"],
        outcome=r["outcome"] and Outcome(r["outcome"]),
        evidence=r["evidence"] and Evidence(r["evidence"]),
        sip_status=r["sip_status"],
        sip_reason=r["sip_reason"],
        duration_s=r["duration_seconds"],
        hangup_by=r["hangup_by"],
        hangup_reason=r["hangup_reason"],
        reached=r["reached"] and Reached(r["reached"]),
        reached_by_agent=r["reached_by_agent"],
        follow_up_at=r["follow_up_at"],
        prior_due_at=r["prior_due_at"],
        prior_updated_at=r["prior_updated_at"],
        prior_attempted_at=r["prior_attempted_at"],
    )


def _contact_of(r: Record) -> Contact:
    return Contact(
        key=ContactKey(r["batch_id"], r["position"]),
        status=ContactStatus(r["contact_status"]),
        updated_at=r["contact_updated_at"],
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


async def find_other_calls(
    connection: Connection, call_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, list[Call]]:
    """Find, for each call, the other calls of its contact, released ones aside."""
    rows = await _Q["find_other_calls"].rows(connection, call_ids=list(call_ids))
    found: dict[uuid.UUID, list[Call]] = {}
    for r in rows:
        other = Call(
            id=r["id"],
            state=CallState(r["state"]),
            version=r["version"],
            kind=CallKind(r["kind"]),
            provider=r["provider"],
            phone_number=r["phone_number"],
            from_number=r["from_number"],
            requested_at=r["requested_at"],
            provider_call_id=r["provider_call_id"],
            outcome=r["outcome"] and Outcome(r["outcome"]),
            hangup_reason=r["hangup_reason"],
        )
        found.setdefault(r["beside_id"], []).append(other)
    return found


async def write_moves(connection: Connection, moves: Moves, *, notifies: bool) -> set[uuid.UUID]:
    """Write a set of moves; gives the campaigns that may have something to dial.

    With `notifies` they are also told over PostgreSQL's own bus when this commits. Raises Stale
    when a call was moved by somebody else since it was read.
    """
    row = await _Q["write_moves"].row(
        connection,
        **_call_columns(moves.calls),
        **_contact_columns(moves.contacts),
        **_event_columns(moves.events),
        campaign_ids=[campaign for campaign, _ in moves.counts],
        counted=[counted for _, counted in moves.counts],
        counts=list(moves.counts.values()),
        freed_numbers=list(moves.freed_numbers),
        freed_campaigns=list(moves.freed_campaigns),
        notifies=notifies,
    )
    moved = 0 if row is None else row["moved"]
    if moved != len(moves.calls):
        raise Stale(f"{len(moves.calls) - moved} calls were moved by somebody else")
    return set(row["woken"] or ()) if row is not None else set()


def _call_columns(calls: Sequence[Call]) -> dict[str, list[Any]]:
    return {
        "ids": [c.id for c in calls],
        "versions": [c.version for c in calls],
        "states": [c.state for c in calls],
        "provider_call_ids": [c.provider_call_id for c in calls],
        "sip_call_ids": [c.sip_call_id for c in calls],
        "heard_ats": [c.heard_at for c in calls],
        "ringing_ats": [c.ringing_at for c in calls],
        "answered_ats": [c.answered_at for c in calls],
        "ended_ats": [c.ended_at for c in calls],
        "deadline_ats": [c.deadline_at for c in calls],
        "outcomes": [c.outcome for c in calls],
        "evidences": [c.evidence for c in calls],
        "sip_statuses": [c.sip_status for c in calls],
        "sip_reasons": [c.sip_reason for c in calls],
        "durations": [c.duration_s for c in calls],
        "hangup_bys": [c.hangup_by for c in calls],
        "hangup_reasons": [c.hangup_reason for c in calls],
        "reached_whom": [c.reached for c in calls],
        "reached_by_agents": [c.reached_by_agent for c in calls],
    }


def _contact_columns(contacts: Sequence[Contact]) -> dict[str, list[Any]]:
    return {
        "batch_ids": [c.key.batch_id for c in contacts],
        "positions": [c.key.position for c in contacts],
        "statuses": [c.status for c in contacts],
        "wait_reasons": [c.wait_reason for c in contacts],
        "attempts": [c.attempts for c in contacts],
        "tries": [c.tries for c in contacts],
        "retry_counts": [c.retry_count for c in contacts],
        "follow_up_counts": [c.follow_up_count for c in contacts],
        "carrier_failures": [c.carrier_failures for c in contacts],
        "promises": [c.promises for c in contacts],
        "reached": [c.is_reached for c in contacts],
        "attempted_ats": [c.last_attempted_at for c in contacts],
        "updated_ats": [c.updated_at for c in contacts],
        "turns": [c.due and int(c.due.turn) for c in contacts],
        "due_ats": [c.due and c.due.due_at for c in contacts],
    }


def _event_columns(events: Sequence[StoredEvent]) -> dict[str, list[Any]]:
    return {
        "content_hashes": [e.content_hash for e in events],
        "execution_ids": [e.execution_id for e in events],
        "event_call_ids": [e.provider_call_id for e in events],
        "call_statuses": [e.call_status for e in events],
        "bodies": [e.body for e in events],
        "verdicts": [e.verdict for e in events],
        "received_ats": [e.received_at for e in events],
    }


async def mark_numbers(
    connection: Connection, wrong: Collection[uuid.UUID], right: Collection[uuid.UUID]
) -> None:
    """Remember the numbers of calls that somebody else answered; forget those of `right` ones."""
    if wrong:
        await _Q["mark_numbers"].run(connection, call_ids=list(wrong))
    if right:
        await _Q["unmark_numbers"].run(connection, call_ids=list(right))


async def complete_batches(
    connection: Connection, batch_ids: Collection[uuid.UUID], now: datetime
) -> list[uuid.UUID]:
    """Complete those of these batches whose contacts are all final."""
    await _Q["lock_batches"].rows(connection, batch_ids=list(batch_ids))
    rows = await _Q["complete_batches"].rows(connection, batch_ids=list(batch_ids), now=now)
    return [r["id"] for r in rows]


async def pause_refused_batch(
    connection: Connection, batch_id: uuid.UUID, reason: Mapping[str, str], now: datetime
) -> None:
    """Pause a batch in Apollo's own name, and note it."""
    row = await _Q["pause_refused_batch"].row(
        connection, batch_id=batch_id, reason=dict(reason), now=now
    )
    if row is not None:
        await note_action(connection, row, batch_id, "batch_paused", dict(reason), now)


async def notify_campaigns(connection: Connection, campaign_ids: Collection[uuid.UUID]) -> None:
    """Wake diallers when this transaction commits."""
    await _Q["notify_campaigns"].rows(connection, campaign_ids=list(campaign_ids))


async def reopen_batch(connection: Connection, batch_id: uuid.UUID, now: datetime) -> Record | None:
    """Bring a completed batch back to life, under the pause that stands; None for any other.

    Waits for whoever completes it at this instant, so that none of the two misses the other.
    """
    await _Q["lock_batches"].rows(connection, batch_ids=[batch_id])
    return await _Q["reopen_batch"].row(connection, batch_id=batch_id, now=now)


async def note_action(
    connection: Connection, of: Record, batch_id: uuid.UUID, action: str, detail: Any, now: datetime
) -> None:
    """Note what Apollo itself did with a batch; `of` has its organisation and campaign."""
    await _Q["note_action"].run(
        connection,
        organization_id=of["organization_id"],
        campaign_id=of["campaign_id"],
        batch_id=batch_id,
        action=action,
        detail=detail,
        now=now,
    )
