"""What people wanted: a schedule, a pause, a stop, an end. All of them are gates."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.rule import gate
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import BatchStatus, ContactStatus, PausedBy
from apollo.core.words import stamp


@gate(
    Reason.CANCELLED,
    Layer.INTENT,
    Severity.INFO,
    meaning="The batch or its campaign was cancelled, which is final. Calls already placed end by "
    "themselves, with their true outcome and without a retry.",
    fix="To reach the remaining people, create a new batch: a cancelled one is final. It was"
    " cancelled {by_whom}.",
)
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
        contacts=view.held_back if view.is_live else view.counts[ContactStatus.SKIPPED],
        since=campaign.cancelled_at or batch.updated_at,
        evidence=who,
        words={"by_whom": _spoken_act(who)},
        is_holding=True,
    )


@gate(
    Reason.BATCH_EXPIRED,
    Layer.INTENT,
    Severity.INFO,
    meaning="The batch's ends_at has passed. Contacts not finished by then are skipped.",
    fix="To reach the remaining people, create a new batch for them: this one ended at {ends_at}"
    " and does not come back.",
)
def batch_expired(view: View) -> Finding | None:
    """`ends_at` has passed, whether or not the batch was closed for it yet."""
    batch = view.snapshot.batch
    over = view.is_live and batch.ends_at is not None and batch.ends_at <= view.now
    if batch.status is not BatchStatus.EXPIRED and not over:
        return None
    return Finding(
        reason=Reason.BATCH_EXPIRED,
        contacts=view.held_back if view.is_live else view.counts[ContactStatus.SKIPPED],
        since=batch.ends_at,
        evidence={"ends_at": batch.ends_at},
        is_holding=True,
    )


@gate(
    Reason.DIALLING_STOPPED,
    Layer.INTENT,
    Severity.WARNING,
    meaning="An operator stopped all dialling of the organisation, or of the whole installation.",
    fix="Ask the operators why dialling is stopped. When that is over, run on the server:"
    " {command}. An operator stopped all dialling of {scope} at {stopped_at}.",
)
def dialling_stopped(view: View) -> Finding | None:
    """An operator stopped the organisation or the installation."""
    stop = view.snapshot.stop
    if stop is None or not view.is_waiting_for_us:
        return None
    return Finding(
        reason=Reason.DIALLING_STOPPED,
        contacts=view.held_back,
        since=stop.stopped_at,
        evidence={"scope": stop.scope, "stopped_at": stop.stopped_at},
        words={"command": f"apollo resume-all{stop.only and f' --org {stop.only}'}"},
        is_holding=True,
    )


@gate(
    Reason.RECOVERY_MODE,
    Layer.INTENT,
    Severity.CRITICAL,
    meaning="The provider knows calls of ours that the database does not: an older backup was "
    "restored, or a replica that lagged was promoted. People who were called look as if "
    "they were not.",
    fix="On the server, read the missing calls in and look: apollo recover. Then let dialling go"
    " on: apollo recover --confirm. The provider has {unknown_calls:call} since {compared_from}"
    " that the database lacks: an older backup was restored, or a replica took over. Dialling has"
    " been on hold since {recovering_since}, so that no one is called twice. {read_in}.",
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
        contacts=view.held_back,
        since=found.since,
        evidence={
            "compared_from": found.compared_from,
            "unknown_calls": found.unknown_calls,
            "read_in_at": at,
        },
        words={"recovering_since": found.since, "read_in": read_in},
        is_holding=True,
    )


@gate(
    Reason.CAMPAIGN_PAUSED,
    Layer.INTENT,
    Severity.INFO,
    meaning="An operator paused the whole campaign. Its batches go on when it is resumed.",
    fix="To go on: POST /api/v1/campaigns/{campaign_id}/resume. The whole campaign was paused"
    " {by_whom}.",
)
def campaign_paused(view: View) -> Finding | None:
    """An operator paused the campaign, and the batch with it."""
    batch, campaign = view.snapshot.batch, view.snapshot.campaign
    if not view.is_live or (
        campaign.paused_at is None and batch.paused_by is not PausedBy.CAMPAIGN
    ):
        return None
    who = _by_whom(view, "pause", ("campaign",))
    return Finding(
        reason=Reason.CAMPAIGN_PAUSED,
        contacts=view.held_back,
        since=campaign.paused_at,
        evidence={"campaign_id": ids.campaign_id(campaign.id), **who},
        words={"by_whom": _spoken_act(who)},
        is_holding=True,
    )


@gate(
    Reason.BATCH_PAUSED,
    Layer.INTENT,
    Severity.INFO,
    meaning="An operator paused this batch. No call starts until it is resumed; retries and"
    " follow-ups that fall due meanwhile are kept.",
    fix="To go on: POST /api/v1/batches/{batch_id}/resume. The batch was paused {by_whom}.",
)
def batch_paused(view: View) -> Finding | None:
    """An operator paused this batch on its own."""
    batch = view.snapshot.batch
    if batch.status is not BatchStatus.PAUSED or batch.paused_by is not PausedBy.BATCH:
        return None
    who = _by_whom(view, "pause", ("batch",))
    return Finding(
        reason=Reason.BATCH_PAUSED,
        contacts=view.held_back,
        since=_at(who) or batch.updated_at,
        evidence=who,
        words={"by_whom": _spoken_act(who)},
        is_holding=True,
    )


@gate(
    Reason.PAUSED_BY_APOLLO,
    Layer.INTENT,
    Severity.WARNING,
    meaning="Apollo itself paused this batch, because going on would only have failed for "
    "everybody.",
    fix='Fix what Apollo paused this batch for, {code} ("{text}"), then POST'
    " /api/v1/batches/{batch_id}/resume. It has been paused since {paused_at}.",
)
def paused_by_apollo(view: View) -> Finding | None:
    """Apollo paused the batch, and says why."""
    batch = view.snapshot.batch
    if batch.status is not BatchStatus.PAUSED or batch.paused_by is not PausedBy.APOLLO:
        return None
    return Finding(
        reason=Reason.PAUSED_BY_APOLLO,
        contacts=view.held_back,
        since=batch.updated_at,
        evidence={"code": batch.pause_code, "text": batch.pause_text},
        words={"paused_at": batch.updated_at},
        is_holding=True,
    )


@gate(
    Reason.BATCH_SCHEDULED,
    Layer.INTENT,
    Severity.INFO,
    meaning="The batch has a start in the future. Its contacts wait for it.",
    fix="Nothing to do: the batch starts at {starts_at}, in {starts_in}. To start earlier, "
    "cancel it and create it again without scheduled_start.",
)
def batch_scheduled(view: View) -> Finding | None:
    """The start lies ahead."""
    starts_at = view.snapshot.batch.scheduled_start
    if not view.is_live or starts_at is None or starts_at <= view.now:
        return None
    return Finding(
        reason=Reason.BATCH_SCHEDULED,
        contacts=view.held_back,
        until=starts_at,
        evidence={"starts_at": starts_at},
        words={"starts_in": starts_at - view.now},
        is_holding=True,
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
    return "by an operator" if at is None else f"by an operator (token {act['by']}) at {stamp(at)}"


RULES: Final = (
    cancelled,
    batch_expired,
    dialling_stopped,
    recovery_mode,
    campaign_paused,
    batch_paused,
    paused_by_apollo,
    batch_scheduled,
)
