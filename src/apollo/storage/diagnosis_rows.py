"""Turns rows of the diagnosis' readings into parts of a snapshot. Must never judge one."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from apollo.core.diagnosis.reported import Blocker, DatabaseHealth, DecidedCall, EndedCall
from apollo.core.diagnosis.snapshot import (
    Act,
    BatchFacts,
    CampaignFacts,
    Head,
    Held,
    OnCall,
    OpenCalls,
    Parked,
    Recounted,
    Settings,
    Stop,
    Tally,
    Waiting,
)
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, CallKind, ContactStatus, Outcome, PausedBy
from apollo.core.windows import parse_working_hours
from apollo.storage.database import Record


def batch(row: Record) -> BatchFacts:
    """Read the batch itself."""
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
        rejected_count=row["rejected_count"],
        rejected=tuple((one["index"], one["reason"]) for one in row["rejected"]),
        max_retries=row["max_retries"],
    )


def campaign(row: Record, settings: Settings) -> CampaignFacts:
    """Read its campaign, and how its agent is reached."""
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
        application_sid=(row["application_sid"] or "")
        if row["is_registered"]
        else settings.default_application_sid,
        call_hook=bare_address(
            (row["call_hook"] or "") if row["is_registered"] else settings.default_call_hook
        ),
    )


def bare_address(url: str) -> str:
    """Give an address without its query, which often holds a key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def stop(row: Record) -> Stop | None:
    """Read who stopped dialling, if anybody did."""
    if row["installation_stopped_at"] is not None:
        return Stop(row["installation_stopped_at"], "the whole installation")
    if row["organization_stopped_at"] is not None:
        return Stop(row["organization_stopped_at"], "the organisation", only=row["organization_id"])
    return None


def _reason(code: str | None) -> Reason | None:
    return None if code is None else Reason(code)


def tally(row: Record) -> Tally:
    """Read one counter."""
    return Tally(
        ContactStatus(row["status"]),
        _reason(row["wait_reason"]),
        row["contacts"],
        row["oldest_at"],
        row["latest_at"],
    )


def open_calls(row: Record) -> OpenCalls:
    """Read the open calls of one batch."""
    return OpenCalls(
        batch_id=row["batch_id"],
        calls=row["calls"],
        oldest_at=row["oldest_at"],
        unknown=row["unknown"],
        unknown_since=row["unknown_since"],
        next_look_at=row["next_look_at"],
        last_heard_at=row["last_heard_at"],
        newest_at=row["newest_at"],
        next_deadline_at=row["next_deadline_at"],
        too_long=row["too_long"],
        unheard_at=tuple(row["unheard_at"]),
    )


def on_call(row: Record) -> OnCall:
    """Read contacts on a call."""
    return OnCall(ContactStatus(row["status"]), row["contacts"], row["oldest_at"])


def waiting(row: Record) -> Waiting:
    """Read one turn of the due list."""
    return Waiting(
        Turn(row["turn"]),
        oldest_at=row["oldest_at"],
        ready_at=row["ready_at"],
        first_due_at=row["first_due_at"],
        last_due_at=row["last_due_at"],
        overdue=row["overdue"],
    )


def head(row: Record) -> Head:
    """Read a contact that waits."""
    return Head(row["position"], row["updated_at"], row["is_fresh"])


def parked(row: Record) -> Parked:
    """Read a contact behind another call."""
    return Parked(row["position"], row["batch_id"], row["execution_id"], row["requested_at"])


def ended(row: Record) -> EndedCall:
    """Read a call that is over."""
    return EndedCall(
        kind=CallKind(row["kind"]),
        outcome=Outcome(row["outcome"]),
        from_number=row["from_number"],
        phone_number=row["phone_number"],
        requested_at=row["requested_at"],
        ended_at=row["ended_at"],
        answered_at=row["answered_at"],
        sip_status=row["sip_status"],
        sip_reason=row["sip_reason"] or "",
        hangup_by=row["hangup_by"] or "",
        hangup_reason=row["hangup_reason"] or "",
        duration_s=row["duration_seconds"],
        evidence=row["evidence"] or "",
        was_heard=row["was_heard"],
    )


def decided(row: Record) -> DecidedCall:
    """Read a first call of which it is known whether somebody picked up."""
    return DecidedCall(
        from_number=row["from_number"],
        phone_number=row["phone_number"],
        requested_at=row["requested_at"],
        rang_out=row["rang_out"],
    )


def database(row: Record) -> DatabaseHealth:
    """Read how the database is."""
    return DatabaseHealth(
        is_standby=row["is_standby"],
        is_readonly=row["is_readonly"],
        schema_version=row["schema_version"],
        booked_ahead_s=tuple(sorted(row["booked_ahead_s"].items())),
    )


def blocker(row: Record) -> Blocker:
    """Read a session that others wait for."""
    # What somebody looks for in their own session is theirs: values are left out.
    shown = re.sub(r"'[^']*'?", "'…'", " ".join(row["statement"].split()))
    return Blocker(
        pid=row["pid"],
        application=row["application"],
        state=row["state"],
        since=row["since"],
        waiting=row["waiting"],
        statement=re.sub(r"\d{4,}", "…", shown),
    )


def held(row: Record) -> Held:
    """Read how many contacts wait for an operator."""
    return Held(row["contacts"], row["may_be_more"])


def act(row: Record) -> Act:
    """Read what somebody did."""
    verb = "cancel" if "cancel" in row["action"] else "pause"
    return Act(row["scope"], verb, row["actor"], row["at"])


def recounted(row: Record) -> Recounted:
    """Read one line of a recount."""
    return Recounted(ContactStatus(row["status"]), _reason(row["wait_reason"]), row["contacts"])
