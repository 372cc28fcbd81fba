"""Reads one instant of a batch for the diagnosis: constant cost, and no judgement.

The batch, its campaign and its counters must be readable, or there is no answer. Everything else is
read behind a savepoint and a time limit: what fails is left out and named.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from apollo.core.diagnosis.snapshot import (
    Act,
    BatchFacts,
    CampaignFacts,
    Head,
    HookCounts,
    OnCall,
    OpenCalls,
    Parked,
    Process,
    ProviderHealth,
    Recounted,
    Settings,
    Snapshot,
    Stop,
    Tally,
    Waiting,
)
from apollo.core.diagnosis.view import ALIVE_WITHIN
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus, PausedBy
from apollo.core.windows import parse_working_hours
from apollo.errors import Stale, Unavailable
from apollo.storage.database import Connection, Record, load_queries, translated

_Q: Final = load_queries("diagnosis")
# The readings take fractions of a millisecond each: after a second something is wrong, and saying
# so is worth more than waiting.
_READ_WITHIN_MS: Final = 1_000
# A recount reads the whole batch, about 4 million contacts a second; the pool gives up at 30 s.
_RECOUNT_WITHIN_MS: Final = 25_000
# The sweep promotes what is due within seconds, so more than a few are due only while no worker
# runs; then the last due time says whether all are.
_OVERDUE_MAX: Final = 1_000

_T = TypeVar("_T")


class _ProviderReport(msgspec.Struct):
    provider: str = ""
    state: str = ""
    since: datetime | None = None
    cause: str | None = ""
    last_error: str | None = ""
    retry_at: datetime | None = None
    answers: dict[str, int] = {}


class _HooksReport(msgspec.Struct):
    received: int = 0
    last_received_at: datetime | None = None
    refused_signature: int = 0
    last_refused_at: datetime | None = None


class _Report(msgspec.Struct):
    """The part of a heartbeat's report that the diagnosis reads."""

    status_hook_url: str | None = ""
    provider: _ProviderReport | None = None
    hooks: _HooksReport | None = None


async def read_snapshot(
    connection: Connection,
    *,
    organization_id: str,
    batch_id: uuid.UUID,
    settings: Settings,
    now: datetime,
    verify: bool,
) -> Snapshot | None:
    """Read a batch in a `snapshot` transaction; None when the organisation has no such batch.

    Raises Unavailable when not even the counters can be read.
    """
    await _Q["limit_statements"].run(connection, milliseconds=str(_READ_WITHIN_MS))
    row = await _Q["batch_facts"].row(
        connection, batch_id=batch_id, organization_id=organization_id
    )
    if row is None:
        return None
    tallies = await _Q["tallies"].rows(connection, batch_id=batch_id)
    snapshot = Snapshot(
        settings=settings,
        batch=_batch(row),
        campaign=_campaign(row),
        stop=_stop(row),
        tallies=tuple(_tally(tally) for tally in tallies),
    )
    return await _Reader(connection, organization_id, now).complete(snapshot, verify=verify)


async def read_slot_freed_at(
    connection: Connection, snapshot: Snapshot, now: datetime
) -> datetime | None:
    """Read when any batch of the campaign last gave back a slot."""
    freed_at: datetime | None = await _Q["slot_freed_at"].value(
        connection,
        campaign_id=snapshot.campaign.id,
        after=now - snapshot.settings.stuck_after,
    )
    return freed_at


class _Reader:
    """Reads what may be missing, and remembers what was."""

    def __init__(self, connection: Connection, organization_id: str, now: datetime) -> None:
        self._connection = connection
        self._organization_id = organization_id
        self._now = now
        self._stale: list[str] = []

    async def complete(self, snapshot: Snapshot, *, verify: bool) -> Snapshot:
        batch_id, campaign_id = snapshot.batch.id, snapshot.campaign.id
        is_parked = any(
            tally.wait_reason is Reason.DUPLICATE_NUMBER_BLOCKED and tally.contacts
            for tally in snapshot.tallies
        )
        is_held = bool(
            snapshot.batch.paused_by
            or snapshot.campaign.paused_at
            or snapshot.batch.status is BatchStatus.CANCELLED
        )
        snapshot = replace(
            snapshot,
            processes=await self._rows("processes", _process, alive_after=self._now - ALIVE_WITHIN),
            open_calls=await self._rows("open_calls", _open_calls, campaign_id=campaign_id),
            on_call=await self._rows(
                "contacts_on_call", _on_call, campaign_id=campaign_id, batch_id=batch_id
            ),
            waiting=await self._rows(
                "waiting", _waiting, batch_id=batch_id, now=self._now, overdue_max=_OVERDUE_MAX
            ),
            heads=await self._rows("heads", _head, batch_id=batch_id),
            parked=await self._rows(
                "parked", _parked, batch_id=batch_id, organization_id=self._organization_id
            )
            if is_parked
            else (),
            acts=await self._rows("acts", _act, batch_id=batch_id, campaign_id=campaign_id)
            if is_held
            else (),
            recount=await self._recount(batch_id) if verify else None,
        )
        return replace(snapshot, stale_inputs=tuple(self._stale))

    async def _recount(self, batch_id: uuid.UUID) -> tuple[Recounted, ...] | None:
        await _Q["limit_statements"].run(self._connection, milliseconds=str(_RECOUNT_WITHIN_MS))
        return await self._rows("recount", _recounted, batch_id=batch_id)

    async def _rows(
        self, name: str, read: Callable[[Record], _T], **given: Any
    ) -> tuple[_T, ...] | None:
        # Behind a savepoint, so that its failure leaves the transaction usable.
        try:
            with translated():
                async with self._connection.transaction():
                    rows = await _Q[name].rows(self._connection, **given)
        except (Unavailable, Stale):
            self._stale.append(name)
            return None
        return tuple(read(row) for row in rows)


def _batch(row: Record) -> BatchFacts:
    why: Mapping[str, Any] = row["pause_reason"] or {}
    return BatchFacts(
        id=row["id"],
        status=BatchStatus(row["status"]),
        total_contacts=row["total_contacts"],
        ready_at=row["ready_at"],
        concurrency_limit=row["concurrency_limit"],
        paused_by=PausedBy(row["paused_by"]) if row["paused_by"] else None,
        pause_code=str(why.get("code", "")),
        pause_text=str(why.get("text", "")),
        scheduled_start=row["scheduled_start"],
        ends_at=row["ends_at"],
        updated_at=row["updated_at"],
    )


def _campaign(row: Record) -> CampaignFacts:
    hours = parse_working_hours(
        row["working_hours"] or {},
        enforced=row["working_hours_enforced"],
        timezone=row["timezone"],
    )
    return CampaignFacts(
        id=row["campaign_id"],
        hours=hours,
        concurrency_limit=row["campaign_limit"],
        paused_at=row["paused_at"],
        cancelled_at=row["cancelled_at"],
    )


def _stop(row: Record) -> Stop | None:
    if row["installation_stopped_at"] is not None:
        return Stop(row["installation_stopped_at"], "the whole installation")
    if row["organization_stopped_at"] is not None:
        return Stop(row["organization_stopped_at"], "the organisation")
    return None


def _reason(code: str | None) -> Reason | None:
    return None if code is None else Reason(code)


def _tally(row: Record) -> Tally:
    return Tally(
        ContactStatus(row["status"]),
        _reason(row["wait_reason"]),
        row["contacts"],
        row["oldest_at"],
        row["latest_at"],
    )


def _process(row: Record) -> Process:
    # A process of another version may report otherwise: what cannot be read is not there.
    try:
        report = msgspec.convert(row["report"], _Report)
    except msgspec.ValidationError:
        report = _Report()
    health, hooks = report.provider, report.hooks
    return Process(
        role=row["role"],
        host=row["host"],
        pid=row["pid"],
        version=row["version"],
        seen_at=row["seen_at"],
        stopped_at=row["stopped_at"],
        status_hook_url=report.status_hook_url or "",
        provider=None
        if health is None
        else ProviderHealth(
            provider=health.provider,
            state=health.state,
            since=_aware(health.since),
            cause=health.cause or "",
            last_error=health.last_error or "",
            retry_at=_aware(health.retry_at),
            answers=tuple(sorted(health.answers.items())),
        ),
        hooks=None
        if hooks is None
        else HookCounts(
            received=hooks.received,
            last_received_at=_aware(hooks.last_received_at),
            refused_signature=hooks.refused_signature,
            last_refused_at=_aware(hooks.last_refused_at),
        ),
    )


def _aware(at: datetime | None) -> datetime | None:
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _open_calls(row: Record) -> OpenCalls:
    return OpenCalls(
        batch_id=row["batch_id"],
        calls=row["calls"],
        oldest_at=row["oldest_at"],
        unknown=row["unknown"],
        unknown_since=row["unknown_since"],
        next_look_at=row["next_look_at"],
        last_heard_at=row["last_heard_at"],
        unheard_at=tuple(row["unheard_at"]),
    )


def _on_call(row: Record) -> OnCall:
    return OnCall(ContactStatus(row["status"]), row["contacts"], row["oldest_at"])


def _waiting(row: Record) -> Waiting:
    return Waiting(
        Turn(row["turn"]),
        oldest_at=row["oldest_at"],
        ready_at=row["ready_at"],
        first_due_at=row["first_due_at"],
        last_due_at=row["last_due_at"],
        overdue=row["overdue"],
    )


def _head(row: Record) -> Head:
    return Head(row["position"], row["updated_at"], row["is_fresh"])


def _parked(row: Record) -> Parked:
    return Parked(row["position"], row["batch_id"], row["execution_id"], row["requested_at"])


def _act(row: Record) -> Act:
    verb = "cancel" if "cancel" in row["action"] else "pause"
    return Act(row["scope"], verb, row["actor"], row["at"])


def _recounted(row: Record) -> Recounted:
    return Recounted(ContactStatus(row["status"]), _reason(row["wait_reason"]), row["contacts"])
