"""How the provider tells us of calls (layer provider), and calls whose end it never tells."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, urldefrag

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    ApplicationHook,
)
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import count, span
from apollo.core.events import Evidence
from apollo.core.held import OUTCOME_UNKNOWN
from apollo.core.reasons import Layer, Reason, Severity

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
# Older than this, what was found by asking says nothing about the calls of now.
_ASKED_WITHIN: Final = timedelta(minutes=10)
# One lost webhook is an accident, and two may be.
_ASKED_MIN: Final = 3
# What proves an end when the provider did not tell of it.
_NOT_TOLD: Final = frozenset({"poll", "cdr", "assumed"})


@symptom(
    Reason.STATUS_HOOK_OVERRIDDEN,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider's application sends its status webhooks to another address than Apollo's:"
    " a call placed by application reports where the application says, and nowhere else.",
    fix="The provider's application {application_sid} sends the status of calls to {found}, so "
    "Apollo hears of none. Set its call status hook there to {wanted} (method POST).",
)
def status_hook_overridden(view: View) -> Finding | None:
    """The application reports to somebody else."""
    found, wanted = _application(view), _wanted(view)
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
    meaning="Status webhooks arrive and fail the signature check (401).",
    fix="{refused:status webhook was|status webhooks were} refused, the last at "
    "{last_refused_at}: the signature does not match. Set APOLLO_JAMBONZ_WEBHOOK_SECRET to "
    "the webhook secret of the provider's account and restart the API; if they are equal, a"
    " proxy in between changes the body.",
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


@symptom(
    Reason.WEBHOOKS_NOT_ARRIVING,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider accepts calls and no status webhook comes back for them, so they seem to "
    "last until Apollo asks for them.",
    fix="{calls:call was|calls were} accepted since {since} and no status came for any. "
    "{reached} From the provider's machine, try: curl -i {bare_url} (405 means that Apollo "
    "is reached); else look at DNS, firewall and certificate (RotaryRouter: "
    "APOLLO_WEBHOOK_URL). Apollo asks the provider for these calls meanwhile.",
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


@symptom(
    Reason.WEBHOOK_RETRY_OFF,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The provider's application sends each status webhook once: what is lost while Apollo "
    "is away has to be asked for, which takes longer.",
    fix="The provider's application {application_sid} sends each status once: what is lost "
    "while Apollo restarts comes late. Set its call status hook there to {wanted} (method "
    "POST).",
)
def webhook_retry_off(view: View) -> Finding | None:
    """The application reports to us, once."""
    found, wanted = _application(view), _wanted(view)
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


@symptom(
    Reason.STATUS_NEVER_ENDS,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The provider was heard of these calls, and their end never came: they are open beyond "
    "the longest a call may last, or ended only because Apollo asked for them.",
    fix="{what}. Apollo finds such ends by asking, which holds their slots longer. Look in the "
    "provider's log for webhooks that failed to reach {hook_url}.",
)
def status_never_ends(view: View) -> Finding | None:
    """Calls we heard of, whose end nobody told."""
    if not view.is_waiting_for_us:
        return None
    mine = [r for r in view.snapshot.open_calls or () if r.batch_id == view.snapshot.batch.id]
    too_long = sum(row.too_long for row in mine)
    asked = [
        call
        for call in view.snapshot.ended or ()
        if call.was_heard
        and call.evidence in _NOT_TOLD
        and call.ended_at > view.now - _ASKED_WITHIN
    ]
    if not too_long and len(asked) < _ASKED_MIN:
        return None
    by_evidence = Counter(call.evidence for call in asked)
    how = ", ".join(f"{count} by {word}" for word, count in sorted(by_evidence.items()))
    return Finding(
        reason=Reason.STATUS_NEVER_ENDS,
        contacts=too_long,
        since=min((call.ended_at for call in asked), default=None),
        evidence={
            "open_too_long": too_long,
            "asked": len(asked),
            "by_evidence": dict(sorted(by_evidence.items())),
        },
        words={"what": _never_ended(too_long, len(asked), how), "hook_url": _wanted(view)},
    )


def _never_ended(too_long: int, asked: int, how: str) -> str:
    parts = []
    if too_long:
        parts.append(
            f"{count(too_long, 'call is|calls are')} open beyond the longest they may last"
        )
    if asked:
        ended = f"{count(asked, 'call')} ended without a last status from the provider ({how})"
        parts.append(f"in the last {span(_ASKED_WITHIN)} {ended}")
    said = " and ".join(parts)
    return said[:1].upper() + said[1:]


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


def _wanted(view: View) -> str:
    return next((one.status_hook_url for one in view.processes("worker")), "")


RULES: Final = (
    status_hook_overridden,
    webhooks_rejected_signature,
    webhooks_not_arriving,
    webhook_retry_off,
    status_never_ends,
)
