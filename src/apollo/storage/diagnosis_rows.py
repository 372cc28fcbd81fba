"""Turns rows of the diagnosis' readings, as JSON has them, into parts of a snapshot.

The columns of a reading are the fields of its part; only what has another shape stands here. Must
never judge a row.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from apollo.core.diagnosis.reported import (
    Backlog,
    Blocker,
    DatabaseHealth,
    DecidedCall,
    EndedCall,
    LiveCall,
    Neighbour,
)
from apollo.core.diagnosis.snapshot import (
    Act,
    BatchFacts,
    CampaignFacts,
    Ending,
    Head,
    Held,
    HeldByCarrier,
    OnCall,
    OpenCalls,
    Parked,
    Recounted,
    Recovering,
    Settings,
    Stop,
    Tally,
    Waiting,
)
from apollo.core.states import BatchStatus, PausedBy
from apollo.core.windows import parse_working_hours
from apollo.storage.reports import read_process

# A row as JSON has it: instants and ids are text.
Row = Mapping[str, Any]


class Facts(msgspec.Struct, kw_only=True):
    """The batch and its campaign, as they are read."""

    read_at: datetime
    id: uuid.UUID
    campaign_id: uuid.UUID
    organization_id: str
    status: BatchStatus
    total_contacts: int
    concurrency_limit: int | None
    paused_by: PausedBy | None
    pause_reason: dict[str, Any] | None
    scheduled_start: datetime | None
    ends_at: datetime | None
    ready_at: datetime
    updated_at: datetime
    rejected_count: int
    rejected: list[dict[str, Any]]
    max_retries: int
    cooldown_minutes: float
    agent_id: str
    phone_numbers: list[str]
    is_registered: bool
    application_sid: str | None
    call_hook: str | None
    campaign_limit: int
    paused_at: datetime | None
    cancelled_at: datetime | None
    working_hours_enforced: bool
    timezone: str
    working_hours: dict[str, Any] | None
    organization_stopped_at: datetime | None
    installation_stopped_at: datetime | None
    recovery_since: datetime | None
    recovery_evidence: dict[str, Any] | None


def facts(row: Row) -> Facts:
    """Read the batch, its campaign and who stopped dialling."""
    return msgspec.convert(row, Facts)


def batch(row: Facts) -> BatchFacts:
    """Give the batch itself."""
    why = row.pause_reason or {}
    return BatchFacts(
        id=row.id,
        status=row.status,
        total_contacts=row.total_contacts,
        ready_at=row.ready_at,
        concurrency_limit=row.concurrency_limit,
        paused_by=row.paused_by,
        pause_code=str(why.get("code", "")),
        pause_text=str(why.get("text", "")),
        scheduled_start=row.scheduled_start,
        ends_at=row.ends_at,
        updated_at=row.updated_at,
        rejected_count=row.rejected_count,
        rejected=tuple((one["index"], one["reason"]) for one in row.rejected),
        max_retries=row.max_retries,
    )


def campaign(row: Facts, settings: Settings) -> CampaignFacts:
    """Give its campaign, and how its agent is reached."""
    hours = parse_working_hours(
        row.working_hours or {}, enforced=row.working_hours_enforced, timezone=row.timezone
    )
    return CampaignFacts(
        id=row.campaign_id,
        hours=hours,
        concurrency_limit=row.campaign_limit,
        paused_at=row.paused_at,
        cancelled_at=row.cancelled_at,
        application_sid=(row.application_sid or "")
        if row.is_registered
        else settings.default_application_sid,
        call_hook=bare_address(
            (row.call_hook or "") if row.is_registered else settings.default_call_hook
        ),
        agent_id=row.agent_id,
        phone_numbers=tuple(row.phone_numbers),
        cooldown=timedelta(minutes=row.cooldown_minutes),
    )


def bare_address(url: str) -> str:
    """Give an address without its query, which often holds a key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def stop(row: Facts) -> Stop | None:
    """Give who stopped dialling, if anybody did."""
    if row.installation_stopped_at is not None:
        return Stop(row.installation_stopped_at, "the whole installation")
    if row.organization_stopped_at is not None:
        return Stop(row.organization_stopped_at, "the organisation", only=row.organization_id)
    return None


def recovering(row: Facts) -> Recovering | None:
    """Give what holds all dialling since a restore; None when nothing does."""
    found = row.recovery_evidence
    if row.recovery_since is None or found is None:
        return None
    read_in = found.get("read_in")
    return Recovering(
        since=row.recovery_since,
        compared_from=datetime.fromisoformat(found["compared_from"]),
        unknown_calls=found["unknown_calls"],
        read_in_at=None if read_in is None else datetime.fromisoformat(read_in["at"]),
    )


def _database(row: Row) -> DatabaseHealth:
    return DatabaseHealth(
        is_standby=row["is_standby"],
        is_readonly=row["is_readonly"],
        schema_version=row["schema_version"],
        booked_ahead_s=tuple(sorted(row["booked_ahead_s"].items())),
    )


def _blocker(row: Row) -> Blocker:
    found = msgspec.convert(row, Blocker)
    # What somebody looks for in their own session is theirs: values are left out.
    shown = re.sub(r"'[^']*'?", "'…'", " ".join(found.statement.split()))
    return replace(found, statement=re.sub(r"\d{4,}", "…", shown))


def _as(kind: type[Any]) -> Callable[[Row], Any]:
    return lambda row: msgspec.convert(row, kind)


# How a row of each reading is shaped.
SHAPES: Final[Mapping[str, Callable[[Row], Any]]] = {
    "tallies": _as(Tally),
    "processes": read_process,
    "open_calls": _as(OpenCalls),
    "contacts_on_call": _as(OnCall),
    "waiting": _as(Waiting),
    "heads": _as(Head),
    "parked": _as(Parked),
    "acts": _as(Act),
    "held": _as(Held),
    "ended_calls": _as(EndedCall),
    "live_calls": _as(LiveCall),
    "neighbours": _as(Neighbour),
    "shut_gates": _as(HeldByCarrier),
    "endings": _as(Ending),
    "database": _database,
    "blockers": _blocker,
    "backlog": _as(Backlog),
    "recount": _as(Recounted),
    "decided_calls": _as(DecidedCall),
    "decided_earlier": _as(DecidedCall),
    "decided_elsewhere": _as(DecidedCall),
    "calls_elsewhere": _as(EndedCall),
}
