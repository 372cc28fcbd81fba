"""One function per reason: does it hold, for how many contacts, and what proves it.

`RULES` is the ordered table; the order breaks ties within a layer, causes before symptoms. A rule
reads only the view, and stays silent about what could not be read. Static facts about a reason
(layer, severity, text) stand beside the enum, in `core.reasons`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.snapshot import Process, ProviderHealth
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import local, span, stamp
from apollo.core.model import Turn
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus, PausedBy

# A provider's first status event comes within milliseconds: ten seconds of nothing is no delay.
HEARD_WITHIN: Final = timedelta(seconds=10)
# One lost webhook is an accident, and two may be.
UNHEARD_MIN: Final = 3
# A refused webhook older than this says nothing about the calls of now.
REFUSED_WITHIN: Final = timedelta(minutes=10)
# Enough to see who it is; a list of everything is for the contacts endpoint.
_NAMED_MAX: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A reason that holds. `contacts` is how many it concerns, whatever else concerns them too."""

    reason: Reason
    contacts: int
    since: datetime | None = None
    until: datetime | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    # What the text needs beyond the evidence.
    words: Mapping[str, object] = field(default_factory=dict)
    # While it lasts, no contact of the batch is dialled.
    is_holding: bool = False


Rule = Callable[[View], Finding | None]


# ------------------------------------------------------------------------------------- intent


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


# -------------------------------------------------------------------------------------- clock


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


# ------------------------------------------------------------------------------------ contact


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


# ----------------------------------------------------------------------------------- capacity


def concurrency_full(view: View) -> Finding | None:
    """The batch's own slots are what limits."""
    over = _over_limit(view)
    if over is None:
        return None
    batch, campaign = view.limits
    if batch.free > campaign.free:
        return None
    has_own = view.snapshot.batch.concurrency_limit is not None
    return Finding(
        reason=Reason.CONCURRENCY_FULL,
        contacts=over,
        evidence={"limit": batch.limit, "in_use": batch.in_use, "oldest_call_at": _oldest(view)},
        words={
            "where": "the batch's concurrency_limit"
            if has_own
            else "the campaign's metadata.concurrency_limit"
        },
    )


def campaign_concurrency_full(view: View) -> Finding | None:
    """The campaign's slots are what limits, and other batches hold some of them."""
    over = _over_limit(view)
    if over is None:
        return None
    batch, campaign = view.limits
    # Where both are used up, raising one alone would not help: then both are named.
    if campaign.free > batch.free or campaign.in_use == batch.in_use:
        return None
    others = holders(view)
    return Finding(
        reason=Reason.CAMPAIGN_CONCURRENCY_FULL,
        contacts=over,
        evidence={
            "limit": campaign.limit,
            "in_use": campaign.in_use,
            "elsewhere": campaign.in_use - batch.in_use,
            "held_by": others,
        },
        words={"holders": ", ".join(f"{row['batch_id']}: {row['calls']}" for row in others)},
    )


def rate_limited_by_provider(view: View) -> Finding | None:
    """The provider told every worker to wait."""
    return _provider(view, "rate_limited", Reason.RATE_LIMITED_BY_PROVIDER)


def holders(view: View) -> list[dict[str, object]]:
    """Other batches of the campaign that hold its slots, the largest first."""
    others = [
        row for row in view.snapshot.open_calls or () if row.batch_id != view.snapshot.batch.id
    ]
    others.sort(key=lambda row: (-row.calls, row.oldest_at, row.batch_id))
    return [
        {
            "batch_id": ids.batch_id(row.batch_id),
            "calls": row.calls,
            "oldest_call_at": row.oldest_at,
        }
        for row in others[:_NAMED_MAX]
    ]


def _over_limit(view: View) -> int | None:
    """Contacts beyond the free slots; None where slots are not what keeps them."""
    free = view.free
    if free is None or not view.is_live or view.claimable <= free:
        return None
    if free > 0 and any((found := rule(view)) and found.is_holding for rule in _HOLDING):
        return None
    return view.claimable - free


def _oldest(view: View) -> datetime | None:
    rows = view.snapshot.open_calls or ()
    return min(
        (row.oldest_at for row in rows if row.batch_id == view.snapshot.batch.id), default=None
    )


# ----------------------------------------------------------------------------------- pipeline


def no_worker_alive(view: View) -> Finding | None:
    """No worker has a fresh heartbeat."""
    processes = view.snapshot.processes
    if not view.is_waiting_for_us or processes is None or view.processes("worker"):
        return None
    workers = [process for process in processes if process.role == "worker"]
    last = max(workers, key=lambda process: process.seen_at, default=None)
    if last is None:
        return Finding(
            reason=Reason.NO_WORKER_ALIVE,
            contacts=view.claimable,
            evidence={"last_worker": None},
            words={"last_seen": "None was ever seen."},
            is_holding=True,
        )
    gone_at = last.stopped_at or last.seen_at
    how = "stopped" if last.stopped_at else "last seen"
    return Finding(
        reason=Reason.NO_WORKER_ALIVE,
        contacts=view.claimable,
        since=gone_at,
        evidence={
            "last_worker": {
                "host": last.host,
                "pid": last.pid,
                "version": last.version,
                "seen_at": last.seen_at,
                "stopped_at": last.stopped_at,
            }
        },
        words={
            "last_seen": f"The last one ran on {last.host} as process {last.pid} and was {how}"
            f" {stamp(gone_at)}, {span(view.now - gone_at)} ago."
        },
        is_holding=True,
    )


def completed_not_closed(view: View) -> Finding | None:
    """Every contact is final and the batch is still open."""
    batch = view.snapshot.batch
    is_open = batch.status in {BatchStatus.IN_PROGRESS, BatchStatus.PAUSED}
    if not is_open or view.unfinished != 0:
        return None
    return Finding(
        reason=Reason.COMPLETED_NOT_CLOSED,
        contacts=batch.total_contacts,
        evidence={"total": batch.total_contacts},
    )


# ----------------------------------------------------------------------------------- provider


def provider_unauthorised(view: View) -> Finding | None:
    """The provider refuses our key."""
    return _provider(view, "unauthorised", Reason.PROVIDER_UNAUTHORISED)


def provider_down(view: View) -> Finding | None:
    """The breaker is open."""
    return _provider(view, "down", Reason.PROVIDER_DOWN)


def bad_request_everywhere(view: View) -> Finding | None:
    """Apollo paused the batch because the request itself is refused."""
    batch = view.snapshot.batch
    if paused_by_apollo(view) is None or batch.pause_code != Reason.BAD_REQUEST_EVERYWHERE:
        return None
    return Finding(
        reason=Reason.BAD_REQUEST_EVERYWHERE,
        contacts=view.claimable,
        since=batch.updated_at,
        evidence={"text": batch.pause_text},
        is_holding=True,
    )


def provider_errors_unknown(view: View) -> Finding | None:
    """Calls of this batch that may or may not have been placed."""
    rows = view.snapshot.open_calls or ()
    mine = next((row for row in rows if row.batch_id == view.snapshot.batch.id), None)
    if mine is None or mine.unknown == 0:
        return None
    answers: dict[str, int] = {}
    for process in view.processes("worker"):
        for kind, count in process.provider.answers if process.provider else ():
            answers[kind] = answers.get(kind, 0) + count
    spoken = ", ".join(f"{count} {kind}" for kind, count in sorted(answers.items()))
    return Finding(
        reason=Reason.PROVIDER_ERRORS_UNKNOWN,
        contacts=mine.unknown,
        since=mine.unknown_since,
        evidence={
            "calls": mine.unknown,
            "next_look_at": mine.next_look_at,
            "answers_last_minute": answers,
        },
        words={"answers": f"; its answers of the last minute: {spoken}" if spoken else ""},
    )


def webhooks_rejected_signature(view: View) -> Finding | None:
    """Status hooks are refused while calls of the campaign wait to be heard of."""
    hooks = [process.hooks for process in view.snapshot.processes or () if process.hooks]
    refused = [
        counts
        for counts in hooks
        if counts.last_refused_at is not None and counts.last_refused_at > view.now - REFUSED_WITHIN
    ]
    # A stranger who posts to the hook is no reason to worry: only calls nobody speaks of are.
    unheard = _unheard(view, None)
    if not refused or not unheard or not view.is_waiting_for_us:
        return None
    return Finding(
        reason=Reason.WEBHOOKS_REJECTED_SIGNATURE,
        contacts=sum(mine for _, mine in unheard),
        evidence={
            "refused": sum(counts.refused_signature for counts in refused),
            "received": sum(counts.received for counts in hooks),
            "last_refused_at": max(at for counts in refused if (at := counts.last_refused_at)),
            "hook_url": _hook_url(view),
        },
    )


def webhooks_not_arriving(view: View) -> Finding | None:
    """Accepted calls of which nothing was heard, and nothing was heard of any since."""
    if not view.is_waiting_for_us or view.snapshot.open_calls is None:
        return None
    hooks = [process.hooks for process in view.snapshot.processes or () if process.hooks]
    heard = [row.last_heard_at for row in view.snapshot.open_calls if row.last_heard_at]
    heard += [counts.last_received_at for counts in hooks if counts.last_received_at]
    unheard = _unheard(view, max(heard, default=None))
    if len(unheard) < UNHEARD_MIN:
        return None
    reached = sum(counts.received + counts.refused_signature for counts in hooks)
    return Finding(
        reason=Reason.WEBHOOKS_NOT_ARRIVING,
        contacts=sum(mine for _, mine in unheard),
        since=min(at for at, _ in unheard),
        evidence={
            "calls": len(unheard),
            "oldest_call_at": min(at for at, _ in unheard),
            "hook_url": _hook_url(view),
            "requests_on_hook": reached,
            "last_heard_at": max(heard, default=None),
        },
        words={
            "reached": f"{reached} requests reached the hook before."
            if reached
            else "No request ever reached the hook."
        },
    )


def _unheard(view: View, after: datetime | None) -> list[tuple[datetime, bool]]:
    """Calls of the campaign overdue to be heard of: when requested, and whether of this batch."""
    return [
        (at, row.batch_id == view.snapshot.batch.id)
        for row in view.snapshot.open_calls or ()
        for at in row.unheard_at
        if at < view.now - HEARD_WITHIN and (after is None or at > after)
    ]


def _hook_url(view: View) -> str | None:
    named = view.processes("worker") or list(view.snapshot.processes or ())
    return next((process.status_hook_url for process in named if process.status_hook_url), None)


def _provider(view: View, state: str, reason: Reason) -> Finding | None:
    """A state of the provider connection, as the workers that are alive report it."""
    if not view.is_waiting_for_us:
        return None
    workers = view.processes("worker")
    hit: list[tuple[Process, ProviderHealth]] = [
        (process, process.provider)
        for process in workers
        if process.provider is not None and process.provider.state == state
    ]
    if not hit:
        return None
    # With another worker in good order the batch still moves, if more slowly.
    is_holding = len(hit) == len(workers)
    health = max(hit, key=lambda pair: pair[1].since or view.now)[1]
    waits = reason is Reason.RATE_LIMITED_BY_PROVIDER
    return Finding(
        reason=reason,
        contacts=view.claimable if is_holding else 0,
        since=min((one.since for _, one in hit if one.since), default=None),
        until=health.retry_at if waits else None,
        evidence={
            "provider": health.provider,
            "cause": health.cause,
            "last_error": health.last_error,
            "retry_at": health.retry_at,
            "workers": len(hit),
            "workers_alive": len(workers),
        },
        is_holding=is_holding,
    )


# --------------------------------------------------------------------------------------- data


def accounting_gap(view: View) -> Finding | None:
    """Contacts that no rule explains, or counters that a recount contradicts."""
    counted = sum(view.counts.values())
    missing = view.snapshot.batch.total_contacts - counted
    gaps = dict(view.lost)
    if missing:
        gaps["in no counter"] = missing
    differences = _differences(view)
    if not gaps and not differences:
        return None
    gaps |= {f"counted {key}": n for key, n in differences.items()}
    return Finding(
        reason=Reason.ACCOUNTING_GAP,
        contacts=sum(abs(n) for n in gaps.values()),
        evidence={"gaps": gaps},
        words={"what": ", ".join(f"{key}: {n}" for key, n in gaps.items())},
    )


def counters_verified(view: View) -> Finding | None:
    """A recount was asked for and agrees."""
    if view.snapshot.recount is None or _differences(view):
        return None
    counted = sum(row.contacts for row in view.snapshot.recount)
    return Finding(
        reason=Reason.COUNTERS_VERIFIED,
        contacts=counted,
        evidence={"recounted": counted, "difference": 0},
    )


def _differences(view: View) -> dict[str, int]:
    """Recount minus counters, where they differ."""
    if view.snapshot.recount is None:
        return {}
    found: dict[str, int] = {}
    for row in view.snapshot.recount:
        key = f"{row.status}/{row.wait_reason}" if row.wait_reason else str(row.status)
        found[key] = found.get(key, 0) + row.contacts
    for tally in view.snapshot.tallies:
        key = f"{tally.status}/{tally.wait_reason}" if tally.wait_reason else str(tally.status)
        found[key] = found.get(key, 0) - tally.contacts
    return {key: n for key, n in found.items() if n}


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


# What can hold a whole batch though slots are free.
_HOLDING: Final[tuple[Rule, ...]] = (
    cancelled,
    batch_expired,
    dialling_stopped,
    campaign_paused,
    batch_paused,
    paused_by_apollo,
    batch_scheduled,
    outside_window,
    window_never_opens,
    rate_limited_by_provider,
    no_worker_alive,
    provider_unauthorised,
    provider_down,
)

RULES: Final[Mapping[Reason, Rule]] = {
    Reason.CANCELLED: cancelled,
    Reason.BATCH_EXPIRED: batch_expired,
    Reason.DIALLING_STOPPED: dialling_stopped,
    Reason.CAMPAIGN_PAUSED: campaign_paused,
    Reason.BATCH_PAUSED: batch_paused,
    Reason.PAUSED_BY_APOLLO: paused_by_apollo,
    Reason.BATCH_SCHEDULED: batch_scheduled,
    Reason.OUTSIDE_WINDOW: outside_window,
    Reason.WINDOW_NEVER_OPENS: window_never_opens,
    Reason.FOLLOW_UP_NOT_DUE: follow_up_not_due,
    Reason.RETRY_NOT_DUE: retry_not_due,
    Reason.DUPLICATE_NUMBER_BLOCKED: duplicate_number_blocked,
    Reason.CONCURRENCY_FULL: concurrency_full,
    Reason.CAMPAIGN_CONCURRENCY_FULL: campaign_concurrency_full,
    Reason.RATE_LIMITED_BY_PROVIDER: rate_limited_by_provider,
    Reason.NO_WORKER_ALIVE: no_worker_alive,
    Reason.COMPLETED_NOT_CLOSED: completed_not_closed,
    Reason.PROVIDER_UNAUTHORISED: provider_unauthorised,
    Reason.PROVIDER_DOWN: provider_down,
    Reason.BAD_REQUEST_EVERYWHERE: bad_request_everywhere,
    Reason.WEBHOOKS_REJECTED_SIGNATURE: webhooks_rejected_signature,
    Reason.WEBHOOKS_NOT_ARRIVING: webhooks_not_arriving,
    Reason.PROVIDER_ERRORS_UNKNOWN: provider_errors_unknown,
    Reason.ACCOUNTING_GAP: accounting_gap,
    Reason.COUNTERS_VERIFIED: counters_verified,
}
