"""Calling hours (clock), and what a contact waits for by itself (contact)."""

from datetime import datetime
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.view import View
from apollo.core.model import Turn
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.words import count, local, span, stamp


@gate(
    Reason.OUTSIDE_WINDOW,
    Layer.CLOCK,
    Severity.INFO,
    meaning="The campaign's calling hours are closed, or close before a phone would have stopped "
    "ringing.",
    fix="Nothing to do: calling hours open {opens_local} ({timezone}), in {opens_in}. If they "
    "are wrong, change the campaign's working_hours or timezone.",
)
def outside_window(view: View) -> Finding | None:
    """Calling hours are closed and will open."""
    opens_at, zone = view.opens_at, view.snapshot.campaign.hours.zone
    if not view.is_waiting_for_us or view.is_open or opens_at is None:
        return None
    return Finding(
        reason=Reason.OUTSIDE_WINDOW,
        contacts=view.held_back,
        until=opens_at,
        evidence={
            "opens_at": opens_at,
            "opens_local": local(opens_at, zone),
            "timezone": zone.key,
        },
        words={"opens_in": opens_at - view.now},
        is_holding=True,
    )


@gate(
    Reason.WINDOW_NEVER_OPENS,
    Layer.CLOCK,
    Severity.CRITICAL,
    meaning="No instant of the coming year satisfies the calling hours, or every window is shorter "
    "than a phone may ring.",
    fix="Widen the calling hours: PATCH /api/v1/campaigns/{campaign_id} with working_hours. No"
    " stretch of them ({timezone}) is longer than a phone may ring, {ring_timeout}, so no call can"
    " ever start.",
)
def window_never_opens(view: View) -> Finding | None:
    """Calling hours leave no instant in which a call may start."""
    if not view.is_waiting_for_us or view.is_open or view.opens_at is not None:
        return None
    return Finding(
        reason=Reason.WINDOW_NEVER_OPENS,
        contacts=view.held_back,
        evidence={
            "timezone": view.snapshot.campaign.hours.zone.key,
            "ring_timeout_s": int(view.snapshot.settings.ring_timeout.total_seconds()),
        },
        words={"ring_timeout": view.snapshot.settings.ring_timeout},
        is_holding=True,
    )


@gate(
    Reason.FOLLOW_UP_NOT_DUE,
    Layer.CONTACT,
    Severity.INFO,
    meaning="These people were promised another call, and its time has not come.",
    fix="Nothing to do: {contacts:contact waits for its|contacts wait for their} follow-up,"
    " {when}.",
)
def follow_up_not_due(view: View) -> Finding | None:
    """Promised calls whose time has not come."""
    return _cooling(view, Reason.FOLLOW_UP_NOT_DUE, Turn.FOLLOW_UP)


@gate(
    Reason.RETRY_NOT_DUE,
    Layer.CONTACT,
    Severity.INFO,
    meaning="These people were tried and wait for the cooldown of the retry policy.",
    fix="Nothing to do: {contacts:contact waits for its|contacts wait for their} retry, {when}.",
)
def retry_not_due(view: View) -> Finding | None:
    """Retries whose cooldown is not over."""
    return _cooling(view, Reason.RETRY_NOT_DUE, Turn.RETRY)


@gate(
    Reason.DUPLICATE_NUMBER_BLOCKED,
    Layer.CONTACT,
    Severity.INFO,
    meaning="The same phone number is on another call, perhaps of another batch. A number is never "
    "called twice at a time.",
    fix="Nothing to do: {contacts:contact goes|contacts go} on when the other call to the same"
    " number ends ({held_by}).",
)
def duplicate_number_blocked(view: View) -> Finding | None:
    """Contacts whose number is on another call."""
    contacts = view.own_waits.get(Reason.DUPLICATE_NUMBER_BLOCKED, 0)
    if contacts <= 0:
        return None
    batch_id = view.snapshot.batch.id
    # A call of another organisation is never named.
    held_by = [
        {
            "contact_id": ids.contact_id(ids.ContactKey(batch_id, row.position)),
            "batch_id": ids.batch_id(row.batch_id) if row.batch_id else None,
            "execution_id": ids.execution_id(row.execution_id) if row.execution_id else None,
            "since": row.requested_at,
        }
        for row in view.snapshot.parked or ()
    ]
    batches = sorted({str(row["batch_id"]) for row in held_by if row["batch_id"]})
    return Finding(
        reason=Reason.DUPLICATE_NUMBER_BLOCKED,
        contacts=contacts,
        evidence={"sample": held_by},
        words={"held_by": f"batch {', '.join(batches)}" if batches else "batch not known"},
    )


@gate(
    Reason.NUMBER_RESTING,
    Layer.CONTACT,
    Severity.INFO,
    meaning="The number rests: it was called a moment ago, out of another batch or before a "
    "follow-up, or it is not free just now. A person is left in peace for a while between two "
    "calls.",
    fix="Nothing to do: {contacts:contact waits until its|contacts wait until their} number has"
    " rested{when}. To change the shortest gap between two calls to one number, PATCH"
    " /api/v1/campaigns/{campaign_id} with number_gap_minutes.",
)
def number_resting(view: View) -> Finding | None:
    """Contacts whose number was called a moment ago."""
    contacts = view.own_waits.get(Reason.NUMBER_RESTING, 0)
    if contacts <= 0:
        return None
    # A first call that rests has its time; a retry may be in its cooldown as well.
    row = view.waiting(Turn.FRESH)
    first = None if row.first_due_at is None else max(row.first_due_at, view.now)
    return Finding(
        reason=Reason.NUMBER_RESTING,
        contacts=contacts,
        until=first,
        evidence={"first_due_at": first},
        words={"when": "" if first is None else f", {_when(first, row.last_due_at, view)}"},
    )


@symptom(
    Reason.INVALID_NUMBERS,
    Layer.CONTACT,
    Severity.INFO,
    meaning="Rows of the upload were left out, or the network says that a number does not exist. "
    "Rows left out are not among the batch's contacts.",
    fix="{remedy} {what}.{then}",
)
def invalid_numbers(view: View) -> Finding | None:
    """Rows that were left out of the batch, and numbers that do not exist after all."""
    batch = view.snapshot.batch
    missing = [c for c in view.snapshot.ended or () if c.hangup_reason == "bad_number"]
    if not batch.rejected_count and not missing:
        return None
    sample = [{"index": index, "reason": reason} for index, reason in batch.rejected]
    said = "; ".join(f"row {row['index']}: {row['reason']}" for row in sample)
    parts = []
    if batch.rejected_count:
        parts.append(f"{count(batch.rejected_count, 'row was|rows were')} left out ({said})")
    if missing:
        parts.append(f"{len(missing)} of the last calls found that the number does not exist")
    return Finding(
        reason=Reason.INVALID_NUMBERS,
        contacts=batch.rejected_count,
        evidence={
            "rejected": batch.rejected_count,
            "sample": sample,
            "not_existing": len(missing),
        },
        words={
            "what": " and ".join(parts),
            "remedy": "Correct the numbers in your list"
            + (
                " and upload those rows as a new batch."
                if batch.rejected_count
                else "; Apollo does not call them again."
            ),
            "then": f" GET /api/v1/batches/{ids.batch_id(batch.id)}/rejected.csv gives them as they"
            " were uploaded, with a reason each."
            if batch.rejected_count
            else "",
        },
    )


def _when(first: datetime | None, last: datetime | None, view: View) -> str:
    """Say when they are due: one time for one contact, or for all that are due at once."""
    if first is None:
        return "whose time could not be read"
    due = f"due at {stamp(first)} (in {span(first - view.now)})"
    if last is None or stamp(last) <= stamp(first):
        return due
    return f"the first {due}, the last at {stamp(last)}"


def _cooling(view: View, reason: Reason, turn: Turn) -> Finding | None:
    contacts = view.own_waits.get(reason, 0)
    if contacts <= 0:
        return None
    row = view.waiting(turn)
    first = None if row.first_due_at is None else max(row.first_due_at, view.now)
    return Finding(
        reason=reason,
        contacts=contacts,
        until=first,
        evidence={"first_due_at": first, "last_due_at": row.last_due_at},
        words={"when": _when(first, row.last_due_at, view)},
    )


RULES: Final = (
    outside_window,
    window_never_opens,
    follow_up_not_due,
    retry_not_due,
    duplicate_number_blocked,
    number_resting,
    invalid_numbers,
)
