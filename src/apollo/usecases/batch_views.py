"""Batches, contacts and calls as they are shown: the shapes of the API, from records.

Owns names, order and form of what is answered; times are whole seconds, UTC. Must never read
anything, and never show what belongs to a released call.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from apollo.core import ids
from apollo.core.diagnosis import Diagnosis
from apollo.core.ids import ContactKey
from apollo.core.reasons import Reason
from apollo.core.states import FINAL_CONTACT, ON_CALL, CallState, ContactStatus
from apollo.storage.database import Record

# Ready to be written as JSON; times are aware datetimes without a fraction.
View: TypeAlias = dict[str, Any]

# Contact statuses in the counters' order; one of them is shown under another name.
_COUNTERS: Final = {
    "pending": "pending",
    "dispatched": "dispatched",
    "in_progress": "in_flight",
    "retrying": "retrying",
    "completed": "completed",
    "failed": "failed",
    "busy": "busy",
    "no_answer": "no_answer",
    "voicemail": "voicemail",
    "skipped": "skipped",
    "followup_scheduled": "followup_scheduled",
    "max_retries_reached": "max_retries_reached",
}
# Calls speak the provider's language, where contacts speak ours: no-answer, in-progress.
_CALL_STATUS: Final = {
    CallState.PLACING: "queued",
    CallState.ACCEPTED: "trying",
    CallState.UNKNOWN: "trying",
    CallState.RINGING: "ringing",
    CallState.ANSWERED: "in-progress",
}


def whole(at: datetime | None) -> datetime | None:
    """Cut a time to whole seconds."""
    return None if at is None else at.replace(microsecond=0)


def view_of_batch(r: Record) -> View:
    """Show a batch; its counters always add up to `total_contacts`."""
    counts = r["counts"]
    return {
        "batch_id": ids.batch_id(r["id"]),
        "campaign_id": ids.campaign_id(r["campaign_id"]),
        "organization_id": r["organization_id"],
        "status": r["status"],
        "total_contacts": r["total_contacts"],
        "concurrency_limit": r["concurrency_limit_in_force"],
        "max_retries_override": r["max_retries_override"],
        "scheduled_start": whole(r["scheduled_start"]),
        "ends_at": whole(r["ends_at"]),
        "call_context": r["call_context"],
        "metadata": r["metadata"],
        "counters": {shown: counts.get(status, 0) for status, shown in _COUNTERS.items()},
        "paused_by": r["paused_by"],
        "pause_reason": r["pause_reason"],
        "rejected": r["rejected"],
        "rejected_count": r["rejected_count"],
        "completed_at": whole(r["completed_at"]),
        "created_at": whole(r["created_at"]),
        "updated_at": whole(r["updated_at"]),
    }


def view_of_contact(
    r: Record, *, batch_id: uuid.UUID, campaign_id: uuid.UUID, calls: Sequence[Record]
) -> View:
    """Show a contact; `calls` are its calls, newest last, or the newest alone."""
    is_retrying = r["status"] == ContactStatus.RETRYING
    return {
        "contact_id": ids.contact_id(ContactKey(batch_id, r["position"])),
        "batch_id": ids.batch_id(batch_id),
        "campaign_id": ids.campaign_id(campaign_id),
        "phone_number": r["phone_number"],
        "call_variables": r["call_variables"],
        "status": r["status"],
        "retry_count": r["retry_count"],
        "follow_up_count": r["follow_up_count"],
        "last_attempted_at": whole(r["last_attempted_at"]),
        "next_retry_at": whole(r["due_at"]) if is_retrying else None,
        "latest_retry_count": r["retry_count"],
        "current_call": view_of_call(calls[-1]) if calls else None,
    }


def view_of_call(r: Record) -> View:
    """Show a call record."""
    return {
        "execution_id": ids.execution_id(r["id"]),
        "call_status": _call_status(r),
        "attempt": r["attempt"],
        "kind": r["kind"],
        "from_number": r["from_number"],
        "provider_call_id": r["provider_call_id"],
        "started_at": whole(r["requested_at"]),
        "ringing_at": whole(r["ringing_at"]),
        "answered_at": whole(r["answered_at"]),
        "ended_at": whole(r["ended_at"]),
        "duration_seconds": r["duration_seconds"],
        "sip_status": r["sip_status"],
        "sip_reason": r["sip_reason"],
        "hangup_by": r["hangup_by"],
        "hangup_reason": r["hangup_reason"],
        "reached": r["reached"],
        "recording_url": r["recording_url"],
        "transcript": r["transcript"],
        "summary": r["summary"],
        "sentiment": r["sentiment"],
        "total_cost": None if r["total_cost"] is None else float(r["total_cost"]),
    }


def view_of_call_on_its_own(r: Record) -> View:
    """Show a call record with whom it was to."""
    return {
        **view_of_call(r),
        "contact_id": ids.contact_id(ContactKey(r["batch_id"], r["position"])),
        "batch_id": ids.batch_id(r["batch_id"]),
        "campaign_id": ids.campaign_id(r["campaign_id"]),
        "phone_number": r["phone_number"],
    }


def explanation(r: Record, diagnosis: Diagnosis | None) -> View:
    """Say what holds a contact back, as `/debug` counts it, and when it can be called.

    Without a diagnosis only its own turn is known.
    """
    status = ContactStatus(r["status"])
    if status in FINAL_CONTACT:
        return {}
    if status in ON_CALL:
        return {"blocked_by": None, "next_eligible_at": None}
    own_wait = None if r["wait_reason"] is None else Reason(r["wait_reason"])
    if diagnosis is None:
        return {"blocked_by": own_wait, "next_eligible_at": whole(r["due_at"])}
    code, until = diagnosis.holds_back(own_wait, r["due_at"])
    return {"blocked_by": code and code.value, "next_eligible_at": whole(until)}


def _call_status(r: Record) -> str:
    if r["outcome"] is not None:
        return str(r["outcome"]).replace("_", "-")
    return _CALL_STATUS[CallState(r["state"])]
