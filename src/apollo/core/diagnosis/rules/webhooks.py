"""How the provider tells us of calls (layer provider), and calls whose end it never tells.

That something did not come proves something only where it would have been seen: each call is judged
by itself, against an API process that was listening when its first status was due.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urldefrag

from apollo.core import ids
from apollo.core.diagnosis.calls import (
    Call,
    Judge,
    judged,
    nested,
    own_calls,
)
from apollo.core.diagnosis.evidence import Claim, Kind, Need, Result, Sample, Scope, blame, weigh
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import ApplicationHook, LiveCall
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.view import View
from apollo.core.events import Evidence
from apollo.core.held import OUTCOME_UNKNOWN
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.words import count

# A provider's first status event comes within milliseconds: ten seconds of nothing is no delay.
HEARD_WITHIN: Final = timedelta(seconds=10)
# Of the webhooks of a connection that works hardly one in a thousand is lost.
LOST: Final = Need(above=0.2)
# What proves an end when the provider did not tell of it.
NOT_TOLD: Final = frozenset({Evidence.POLL, Evidence.RECORD, Evidence.ASSUMED})
# The list is read every 12 s; a few missed readings are no news.
_LISTED_WITHIN: Final = timedelta(seconds=30)
# A signed call reports twice at least; one refused request alone may be anybody's.
_REFUSED_MIN: Final = 2


@symptom(
    Reason.STATUS_HOOK_OVERRIDDEN,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider's application sends its status webhooks to another address than Apollo's:"
    " a call placed by application reports where the application says, and nowhere else.",
    fix="Set the call status hook of the provider's application {application_sid} to {wanted}"
    " (method POST). It sends the status of calls to {found}, so Apollo hears of none.",
)
def status_hook_overridden(view: View) -> Finding | None:
    """The application reports to somebody else."""
    found, wanted = _application(view), wanted_hook(view)
    if found is None or not wanted or urldefrag(found.url).url == urldefrag(wanted).url:
        return None
    return Finding(
        reason=Reason.STATUS_HOOK_OVERRIDDEN,
        contacts=view.claimable + view.on_call,
        evidence={
            "application_sid": found.application_sid,
            "found": urldefrag(found.url).url or "nowhere",
            "wanted": wanted,
            "checked_at": found.checked_at,
        },
    )


@symptom(
    Reason.WEBHOOKS_REJECTED_SIGNATURE,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="Status webhooks arrive and fail the signature check (401), as many as calls are"
    " unheard of.",
    fix="Set APOLLO_JAMBONZ_WEBHOOK_SECRET to the webhook secret of the provider's account, and"
    " restart the API. {refused:status webhook was|status webhooks were} refused since {since}, the"
    " last at {last_refused_at}: the signature does not match. If both secrets are equal, a proxy"
    " in between changes the body.",
)
def webhooks_rejected_signature(view: View) -> Finding | None:
    """Status hooks are refused while as many calls wait to be heard of."""
    own = _own(view)
    if weigh(own, LOST, view.now) not in {Claim.SO_FAR, Claim.HOLDS} or own.first_at is None:
        return None
    hooks = [process.hooks for process in view.processes("web") if process.hooks]
    refused = sorted(at for one in hooks for at in one.refused_at if at > own.first_at)
    # A stranger's post, or an operator's own try, is no reason to blame the secret.
    if len(refused) < max(_REFUSED_MIN, own.hits):
        return None
    return Finding(
        reason=Reason.WEBHOOKS_REJECTED_SIGNATURE,
        contacts=own.hits,
        since=own.first_at,
        evidence={
            "refused": len(refused),
            "unheard": own.hits,
            "received": sum(one.received for one in hooks),
            "last_refused_at": refused[-1],
            "hook_url": _hook_url(view),
        },
    )


@symptom(
    Reason.CALLS_MISSING,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider accepted calls (201) and has none of them: they are not in its list of"
    " live calls, and nothing was ever heard of them.",
    fix="Look into the provider's log for what became of the calls it accepted. {missing} of this"
    " batch's {calls:call} that it took are not in its list of live calls, read at {listed_at}, and"
    " nothing was heard of them. Webhooks are not the cause.",
    so_far="Look into the provider's log for what became of the calls it accepted. So far"
    " {missing} of {calls:call} that it took are not in its list of live calls, read at"
    " {listed_at}, and nothing was heard of them.",
)
def calls_missing(view: View) -> Finding | None:
    """Calls that the provider took and does not have."""
    missing = _never_seen(view)
    live = view.snapshot.live or ()
    if not missing or not live or not view.is_waiting_for_us:
        return None
    of = sum(call.requested_at < view.now - HEARD_WITHIN for call in live)
    return Finding(
        reason=Reason.CALLS_MISSING,
        contacts=missing,
        since=min(call.requested_at for call in live if call.heard_at is None),
        evidence={"missing": missing, "calls": max(of, missing), "listed_at": _listed_at(view)},
        claim=Claim.HOLDS if missing >= LOST.quorum else Claim.SO_FAR,
    )


@symptom(
    Reason.WEBHOOKS_NOT_ARRIVING,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider takes calls and no status webhook comes back for them, or only for some,"
    " so they seem to last until Apollo asks for them.",
    fix="{remedy} {unheard} of the last {calls:call} sent no status within 10 s, the newest placed"
    " at {newest_at}. {reached}{contrast} Apollo asks the provider for these calls meanwhile.",
    so_far="{remedy} So far {unheard} of {calls:call} sent no status within 10 s."
    " {reached}{contrast} Apollo asks the provider for these calls meanwhile.",
    over="Nothing to do: {unheard} of {calls:call} sent no status, the last placed at {newest_at}."
    " Those placed since {good_since} are heard of.",
)
def webhooks_not_arriving(view: View) -> Finding | None:
    """Calls that were taken and never heard of, one by one."""
    own = _own(view)
    claim = weigh(own, LOST, view.now)
    if claim is Claim.CLEAR or not view.is_waiting_for_us:
        return None
    found = blame(nested(view, _judge(view)), LOST, view.now)
    rest = found.rest if found is not None and found.is_narrow else None
    hooks = [process.hooks for process in view.processes("web") if process.hooks]
    reached = sum(one.received + one.refused_signature for one in hooks)
    return Finding(
        reason=Reason.WEBHOOKS_NOT_ARRIVING,
        contacts=own.hits,
        since=own.bad_since,
        evidence={
            "unheard": own.hits,
            "calls": own.of,
            "oldest_call_at": own.first_at,
            "newest_at": own.newest_at,
            "good_since": own.good_since,
            "hook_url": _hook_url(view),
            "requests_on_hook": reached,
            "scope": None if found is None else found.own.scope.kind.value,
            "elsewhere": None if rest is None else {"unheard": rest.hits, "calls": rest.of},
        },
        words={
            "remedy": _remedy(_hook_url(view) or "", is_own=rest is not None),
            "reached": f"{count(reached, 'request')} reached the hook since the API started."
            if reached
            else "No request has reached the hook since the API started.",
            "contrast": ""
            if rest is None
            else f" {rest.of - rest.hits} of {count(rest.of, 'call')} of others were heard of.",
        },
        claim=claim,
    )


@symptom(
    Reason.WEBHOOKS_LATE,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The first status of a call comes more than ten seconds after the call was placed, so"
    " slots are held longer and people seem to ring when they talk.",
    fix="Look at what delays the provider's webhooks: its queue of webhooks, the network, a proxy."
    " The first status of {late} of the last {calls:call} came more than 10 s after the call was"
    " placed, up to {longest} after.",
    so_far="Look at what delays the provider's webhooks: its queue of webhooks, the network, a"
    " proxy. So far the first status of {late} of {calls:call} came more than 10 s late.",
    over="Nothing to do: the first status of {late} of {calls:call} came more than 10 s late, the"
    " last of a call placed at {newest_at}. It has come in time since {good_since}.",
)
def webhooks_late(view: View) -> Finding | None:
    """Calls whose first status came long after they were placed."""
    own = batch_sample(view, own_calls(view), _by_delay)
    claim = weigh(own, LOST, view.now)
    if claim is Claim.CLEAR or not view.is_waiting_for_us:
        return None
    delays = [call.heard_at - call.requested_at for call in own_calls(view) if call.heard_at]
    return Finding(
        reason=Reason.WEBHOOKS_LATE,
        contacts=own.hits,
        since=own.bad_since,
        evidence={
            "late": own.hits,
            "calls": own.of,
            "longest_s": int(max(delays).total_seconds()),
            "newest_at": own.newest_at,
            "good_since": own.good_since,
        },
        words={"longest": max(delays)},
        claim=claim,
    )


@symptom(
    Reason.WEBHOOK_RETRY_OFF,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The provider's application sends each status webhook once: what is lost while Apollo"
    " is away has to be asked for, which takes longer.",
    fix="Set the call status hook of the provider's application {application_sid} to {wanted}"
    " (method POST). It sends each status once, so what is lost while Apollo restarts comes late.",
)
def webhook_retry_off(view: View) -> Finding | None:
    """The application reports to us, once."""
    found, wanted = _application(view), wanted_hook(view)
    if found is None or not wanted or urldefrag(found.url).url != urldefrag(wanted).url:
        return None
    retries = parse_qs(urldefrag(found.url).fragment).get("rc", ["0"])[0]
    if retries.isdecimal() and int(retries) > 0:
        return None
    return Finding(
        reason=Reason.WEBHOOK_RETRY_OFF,
        contacts=0,
        evidence={
            "application_sid": found.application_sid,
            "found": found.url,
            "wanted": wanted,
            "checked_at": found.checked_at,
        },
    )


def _remedy(hook_url: str, *, is_own: bool) -> str:
    """Say what to do: where others are heard of, the way to Apollo is open."""
    if is_own:
        return (
            "Look at how these calls report: the status hook of the campaign's application at the"
            " provider, which has to be Apollo's."
        )
    return (
        f"From the provider's machine, try: curl -i {hook_url.partition('#')[0]} (200 means that"
        " Apollo is reached). If it fails, look at DNS, firewall and certificate."
    )


def batch_sample(view: View, calls: Iterable[Call], judge: Judge) -> Sample:
    """Make a sample of calls of this batch."""
    return judged(Scope(Kind.BATCH, ids.batch_id(view.snapshot.batch.id)), calls, judge)


def _own(view: View) -> Sample:
    """Say whether the batch's calls were heard of; those the provider lacks prove nothing."""
    own = batch_sample(view, own_calls(view), _judge(view))
    lacking, kept = _never_seen(view), []
    for one in own.results:
        if one.is_hit and lacking:
            lacking -= 1
        else:
            kept.append(one)
    return Sample(scope=own.scope, results=tuple(kept))


def _judge(view: View) -> Judge:
    """Judge a call by its first status; None where nobody could tell."""

    def judge(call: Call) -> Result | None:
        due = call.requested_at + HEARD_WITHIN
        if call.heard_at is not None:
            return Result(call.requested_at, is_hit=False)
        if due > view.now or not view.was_listening(call.requested_at, due):
            return None
        if isinstance(call, LiveCall) or call.ended_at is None:
            return Result(call.requested_at, is_hit=True)
        # Nobody knows that a call of unknown outcome was ever accepted.
        was_looked_up = call.evidence in NOT_TOLD and call.hangup_reason != OUTCOME_UNKNOWN
        return Result(call.requested_at, is_hit=True) if was_looked_up else None

    return judge


def _by_delay(call: Call) -> Result | None:
    if call.heard_at is None:
        return None
    return Result(call.requested_at, is_hit=call.heard_at - call.requested_at > HEARD_WITHIN)


def _never_seen(view: View) -> int:
    """Count open calls of the batch that the provider's list lacks and nothing was heard of."""
    lists = [one.live for one in view.processes("worker") if one.live is not None]
    newest = max(lists, key=lambda one: one.listed_at, default=None)
    if newest is None or newest.listed_at < view.now - _LISTED_WITHIN:
        return 0
    unheard = sum(call.heard_at is None for call in view.snapshot.live or ())
    return min(dict(newest.never_seen).get(view.snapshot.batch.id, 0), unheard)


def _listed_at(view: View) -> datetime | None:
    return max(
        (one.live.listed_at for one in view.processes("worker") if one.live is not None),
        default=None,
    )


def _hook_url(view: View) -> str | None:
    named = view.processes("worker") or list(view.snapshot.processes or ())
    return next((process.status_hook_url for process in named if process.status_hook_url), None)


def _application(view: View) -> ApplicationHook | None:
    """The application this batch is called with, as the provider last showed it."""
    sid = view.snapshot.campaign.application_sid
    if not sid or not view.is_waiting_for_us:
        return None
    seen = [
        hook
        for worker in view.processes("worker")
        for hook in worker.applications
        if hook.application_sid == sid
    ]
    return max(seen, key=lambda hook: hook.checked_at, default=None)


def wanted_hook(view: View) -> str:
    """Give the address that the provider is told to report to; empty when no worker says."""
    return next((one.status_hook_url for one in view.processes("worker")), "")


RULES: Final = (
    status_hook_overridden,
    webhooks_rejected_signature,
    calls_missing,
    webhooks_not_arriving,
    webhooks_late,
    webhook_retry_off,
)
