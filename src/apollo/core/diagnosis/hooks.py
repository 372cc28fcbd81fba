"""Rules about how the provider tells us of calls, and about calls whose end it never tells."""

from collections import Counter
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs, urldefrag

from apollo.core.diagnosis.evidence import ApplicationHook, LiveList
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import count, span
from apollo.core.reasons import Reason

# Older than this, what was found by asking says nothing about the calls of now.
_ASKED_WITHIN: Final = timedelta(minutes=10)
# One lost webhook is an accident, and two may be.
_ASKED_MIN: Final = 3
# What proves an end when the provider did not tell of it.
_NOT_TOLD: Final = frozenset({"poll", "cdr", "assumed"})
# The list is read every 15 s; a few missed readings are no news.
_LISTED_WITHIN: Final = timedelta(seconds=60)


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


def concurrency_leaked(view: View) -> Finding | None:
    """Slots that calls hold which the provider does not have."""
    live = _live_list(view)
    if live is None or view.free != 0 or not view.claimable:
        return None
    missing = dict(live.missing)
    rows = view.snapshot.open_calls or ()
    leaked = {row.batch_id: min(missing.get(row.batch_id, 0), row.calls) for row in rows}
    if not sum(leaked.values()):
        return None
    looks = [row.next_deadline_at for row in rows if row.next_deadline_at and leaked[row.batch_id]]
    return Finding(
        reason=Reason.CONCURRENCY_LEAKED,
        contacts=leaked.get(view.snapshot.batch.id, 0),
        evidence={
            "missing": sum(leaked.values()),
            "in_use": sum(row.calls for row in rows),
            "listed": live.listed,
            "listed_at": live.listed_at,
            "next_look_at": min(looks, default=None),
        },
    )


def _live_list(view: View) -> LiveList | None:
    lists = [one.live for one in view.processes("worker") if one.live is not None]
    newest = max(lists, key=lambda one: one.listed_at, default=None)
    if newest is None or newest.listed_at < view.now - _LISTED_WITHIN:
        return None
    return newest


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
