"""Rules about what somebody wanted (intent), calling hours (clock) and a contact's own turn.

Each is one reason: does it hold, for how many contacts, and what proves it. A rule reads only the
view, and stays silent about what could not be read.
"""

from collections.abc import Mapping
from datetime import datetime

from apollo.core import ids
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import count, local, stamp
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus, PausedBy


def cancelled(view: View) -> Finding | None:
    """The batch, or the campaign, was cancelled."""
    batch, campaign = view.snapshot.batch, view.snapshot.campaign
    if batch.status is not BatchStatus.CANCELLED and not (
        view.is_live and campaign.cancelled_at is not None
    ):
        return None
    who = _by_whom(view, "cancel", ("batch", "campaign"))
    return Finding(
        reason=Reason.CANCELLED,
        contacts=view.claimable if view.is_live else view.counts[ContactStatus.SKIPPED],
        since=campaign.cancelled_at or batch.updated_at,
        evidence=who,
        words={"by_whom": _spoken_act(who)},
        is_holding=True,
    )


def batch_expired(view: View) -> Finding | None:
    """`ends_at` has passed, whether or not the batch was closed for it yet."""
    batch = view.snapshot.batch
    over = view.is_live and batch.ends_at is not None and batch.ends_at <= view.now
    if batch.status is not BatchStatus.EXPIRED and not over:
        return None
    return Finding(
        reason=Reason.BATCH_EXPIRED,
        contacts=view.claimable if view.is_live else view.counts[ContactStatus.SKIPPED],
        since=batch.ends_at,
        evidence={"ends_at": batch.ends_at},
        is_holding=True,
    )


def dialling_stopped(view: View) -> Finding | None:
    """An operator stopped the organisation or the installation."""
    stop = view.snapshot.stop
    if stop is None or not view.is_waiting_for_us:
        return None
    return Finding(
        reason=Reason.DIALLING_STOPPED,
        contacts=view.claimable,
        since=stop.stopped_at,
        evidence={"scope": stop.scope, "stopped_at": stop.stopped_at},
        words={"command": f"apollo resume-all{stop.only and f' --org {stop.only}'}"},
        is_holding=True,
    )


def recovery_mode(view: View) -> Finding | None:
    """The database lacks calls that were made."""
    found = view.snapshot.recovering
    if found is None or not view.is_waiting_for_us:
        return None
    at = found.read_in_at
    read_in = "They are not read in yet" if at is None else f"They were read in at {stamp(at)}"
    return Finding(
        reason=Reason.RECOVERY_MODE,
        contacts=view.claimable,
        since=found.since,
        evidence={
            "compared_from": found.compared_from,
            "unknown_calls": found.unknown_calls,
            "read_in_at": at,
        },
        words={"recovering_since": found.since, "read_in": read_in},
        is_holding=True,
    )


def campaign_paused(view: View) -> Finding | None:
    """Somebody paused the campaign, and the batch with it."""
    batch, campaign = view.snapshot.batch, view.snapshot.campaign
    if not view.is_live or (
        campaign.paused_at is None and batch.paused_by is not PausedBy.CAMPAIGN
    ):
        return None
    who = _by_whom(view, "pause", ("campaign",))
    return Finding(
        reason=Reason.CAMPAIGN_PAUSED,
        contacts=view.claimable,
        since=campaign.paused_at,
        evidence={"campaign_id": ids.campaign_id(campaign.id), **who},
        words={"by_whom": _spoken_act(who)},
        is_holding=True,
    )


def batch_paused(view: View) -> Finding | None:
    """Somebody paused this batch on its own."""
    batch = view.snapshot.batch
    if batch.status is not BatchStatus.PAUSED or batch.paused_by is not PausedBy.BATCH:
        return None
    who = _by_whom(view, "pause", ("batch",))
    return Finding(
        reason=Reason.BATCH_PAUSED,
        contacts=view.claimable,
        since=_at(who) or batch.updated_at,
        evidence=who,
        words={"by_whom": _spoken_act(who)},
        is_holding=True,
    )


def paused_by_apollo(view: View) -> Finding | None:
    """Apollo paused the batch, and says why."""
    batch = view.snapshot.batch
    if batch.status is not BatchStatus.PAUSED or batch.paused_by is not PausedBy.APOLLO:
        return None
    return Finding(
        reason=Reason.PAUSED_BY_APOLLO,
        contacts=view.claimable,
        since=batch.updated_at,
        evidence={"code": batch.pause_code, "text": batch.pause_text},
        words={"paused_at": batch.updated_at},
        is_holding=True,
    )


def batch_scheduled(view: View) -> Finding | None:
    """The start lies ahead."""
    starts_at = view.snapshot.batch.scheduled_start
    if not view.is_live or starts_at is None or starts_at <= view.now:
        return None
    return Finding(
        reason=Reason.BATCH_SCHEDULED,
        contacts=view.claimable,
        until=starts_at,
        evidence={"starts_at": starts_at},
        words={"starts_in": starts_at - view.now},
        is_holding=True,
    )


def outside_window(view: View) -> Finding | None:
    """Calling hours are closed and will open."""
    opens_at, zone = view.opens_at, view.snapshot.campaign.hours.zone
    if not view.is_waiting_for_us or view.is_open or opens_at is None:
        return None
    return Finding(
        reason=Reason.OUTSIDE_WINDOW,
        contacts=view.claimable,
        until=opens_at,
        evidence={
            "opens_at": opens_at,
            "opens_local": local(opens_at, zone),
            "timezone": zone.key,
        },
        words={"opens_in": opens_at - view.now},
        is_holding=True,
    )


def window_never_opens(view: View) -> Finding | None:
    """Calling hours leave no instant in which a call may start."""
    if not view.is_waiting_for_us or view.is_open or view.opens_at is not None:
        return None
    return Finding(
        reason=Reason.WINDOW_NEVER_OPENS,
        contacts=view.claimable,
        evidence={
            "timezone": view.snapshot.campaign.hours.zone.key,
            "ring_timeout_s": int(view.snapshot.settings.ring_timeout.total_seconds()),
        },
        words={"ring_timeout": view.snapshot.settings.ring_timeout},
        is_holding=True,
    )


def follow_up_not_due(view: View) -> Finding | None:
    """Promised calls whose time has not come."""
    return _cooling(view, Reason.FOLLOW_UP_NOT_DUE, Turn.FOLLOW_UP)


def retry_not_due(view: View) -> Finding | None:
    """Retries whose cooldown is not over."""
    return _cooling(view, Reason.RETRY_NOT_DUE, Turn.RETRY)


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
        parts.append(f"{len(missing)} of the last calls found no such number")
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
            "then": " and upload them as a new batch; a number that came before needs nothing, it"
            f" is called once. GET /api/v1/batches/{ids.batch_id(batch.id)} lists the rows left out"
            " in `rejected`."
            if batch.rejected_count
            else "; such a number is not called again.",
        },
    )


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
        words={"first_due_in": None if first is None else first - view.now},
    )


def _by_whom(view: View, verb: str, scopes: tuple[str, ...]) -> dict[str, object]:
    acts = [act for act in view.snapshot.acts or () if act.verb == verb and act.scope in scopes]
    last = max(acts, key=lambda act: act.at, default=None)
    return {} if last is None else {"by": last.actor, "at": last.at}


def _at(act: Mapping[str, object]) -> datetime | None:
    at = act.get("at")
    return at if isinstance(at, datetime) else None


def _spoken_act(act: Mapping[str, object]) -> str:
    at = _at(act)
    return "by somebody" if at is None else f"by {act['by']} at {stamp(at)}"
