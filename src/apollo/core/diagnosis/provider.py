"""Rules about our own processes (pipeline) and the telephony provider.

They read what processes reported in their heartbeats and what is known of the open calls, so they
say what was seen, never what its age suggests.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from apollo.core.diagnosis.carrier import caller_id_invalid, carrier_rejects, waits_for_carrier
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.intent import paused_by_apollo
from apollo.core.diagnosis.pipeline import cannot_write
from apollo.core.diagnosis.snapshot import Process, ProviderHealth
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import span, stamp
from apollo.core.events import Evidence
from apollo.core.held import OUTCOME_UNKNOWN
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus

# A provider's first status event comes within milliseconds: ten seconds of nothing is no delay.
HEARD_WITHIN: Final = timedelta(seconds=10)
# One lost webhook is an accident, and two may be.
UNHEARD_MIN: Final = 3
# Short calls are over before they are overdue: that their end had to be looked up counts as well,
# for so long.
LOOKED_UP_WITHIN: Final = timedelta(minutes=2)
_LOOKED_UP: Final = frozenset({Evidence.POLL, Evidence.RECORD, Evidence.ASSUMED})
# A refused webhook older than this says nothing about the calls of now.
REFUSED_WITHIN: Final = timedelta(minutes=10)


def no_worker_alive(view: View) -> Finding | None:
    """No worker has a fresh heartbeat."""
    processes = view.snapshot.processes
    if not view.is_waiting_for_us or processes is None or view.processes("worker"):
        return None
    if cannot_write(view):
        return None  # then no heartbeat can be written, whoever is alive
    workers = [process for process in processes if process.role == "worker"]
    last = max(workers, key=lambda process: process.seen_at, default=None)
    if last is None:
        return Finding(
            reason=Reason.NO_WORKER_ALIVE,
            contacts=view.claimable,
            evidence={"last_worker": None},
            words={"last_seen": "No worker was ever seen here."},
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


def provider_unauthorised(view: View) -> Finding | None:
    """The provider refuses our key."""
    return _provider(view, "unauthorised", Reason.PROVIDER_UNAUTHORISED)


def provider_down(view: View) -> Finding | None:
    """The breaker is open, and not because of what the carrier did with this batch's calls."""
    is_explained = carrier_rejects(view) is not None or caller_id_invalid(view) is not None
    return _provider(
        view,
        "down",
        Reason.PROVIDER_DOWN,
        but=waits_for_carrier if is_explained else None,
    )


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
        words={"answers": spoken or "none"},
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
            "bare_url": (_hook_url(view) or "").partition("#")[0],
            "reached": f"{reached} requests reached the hook before."
            if reached
            else "No request ever reached the hook.",
        },
    )


def _unheard(view: View, after: datetime | None) -> list[tuple[datetime, bool]]:
    """Calls nobody told us of in time: when requested, and whether of this batch.

    Open ones of the campaign, and those of the batch whose end we had to look up.
    """
    still_open = [
        (at, row.batch_id == view.snapshot.batch.id)
        for row in view.snapshot.open_calls or ()
        for at in row.unheard_at
    ]
    looked_up = [
        (call.requested_at, True)
        for call in view.snapshot.ended or ()
        if not call.was_heard
        and call.evidence in _LOOKED_UP
        and call.hangup_reason != OUTCOME_UNKNOWN  # nobody knows that it was ever accepted
        and call.ended_at > view.now - LOOKED_UP_WITHIN
    ]
    return [
        (at, is_mine)
        for at, is_mine in still_open + looked_up
        if at < view.now - HEARD_WITHIN and (after is None or at > after)
    ]


def _hook_url(view: View) -> str | None:
    named = view.processes("worker") or list(view.snapshot.processes or ())
    return next((process.status_hook_url for process in named if process.status_hook_url), None)


def _provider(
    view: View,
    state: str,
    reason: Reason,
    *,
    but: Callable[[ProviderHealth], bool] | None = None,
) -> Finding | None:
    """A state of the provider connection, as the workers that are alive report it."""
    if not view.is_waiting_for_us:
        return None
    workers = view.processes("worker")
    hit: list[tuple[Process, ProviderHealth]] = [
        (process, process.provider)
        for process in workers
        if process.provider is not None
        and process.provider.state == state
        and not (but and but(process.provider))
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


def rate_limited_by_provider(view: View) -> Finding | None:
    """The provider told every worker to wait."""
    return _provider(view, "rate_limited", Reason.RATE_LIMITED_BY_PROVIDER)
