"""Why is this batch not moving? One pure function of one snapshot.

It finds every reason that holds, closes the arithmetic, and says in one word and one sentence how
things are. Must never read a clock or a table, and never infer a cause from age alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.estimate import estimated_finish_at
from apollo.core.diagnosis.finding import Finding, Holds
from apollo.core.diagnosis.rules import RULES
from apollo.core.diagnosis.rules.no_answer import is_suspicious
from apollo.core.diagnosis.snapshot import Snapshot
from apollo.core.diagnosis.tips import held_note, tip_for
from apollo.core.diagnosis.view import Limit, View, look, next_opening
from apollo.core.diagnosis.words import fill
from apollo.core.model import Turn
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import ON_CALL, BatchStatus, ContactStatus

_SAMPLE: Final = 3
_SHOWN_ALWAYS: Final = (ContactStatus.PENDING, ContactStatus.DISPATCHED, ContactStatus.COMPLETED)
_LAYERS: Final = list(Layer)
_TABLE: Final = list(RULES)
_SEVERITIES: Final = [Severity.CRITICAL, Severity.WARNING, Severity.INFO]
_TURN_OF: Final = {
    ContactStatus.RETRYING: Turn.RETRY,
    ContactStatus.FOLLOWUP_SCHEDULED: Turn.FOLLOW_UP,
}
_OWN_WAITS: Final = (
    Reason.RETRY_NOT_DUE,
    Reason.FOLLOW_UP_NOT_DUE,
    Reason.DUPLICATE_NUMBER_BLOCKED,
    Reason.NUMBER_RESTING,
)


class Verdict(StrEnum):
    """How things are, in one word."""

    HEALTHY = "healthy"  # calls go out as fast as they may
    WAITING = "waiting"  # nothing is wrong, and nothing is to be dialled now
    BLOCKED = "blocked"  # nothing is dialled until somebody does something
    DEGRADED = "degraded"  # it moves, and something is wrong
    FINISHED = "finished"  # nothing is left to do


@dataclass(frozen=True, slots=True)
class StatusLine:
    """Contacts of one status, and when the one waiting longest got there."""

    status: ContactStatus
    count: int
    oldest_updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReasonShown:
    """A reason that holds, with its evidence and what to do."""

    code: Reason
    layer: Layer
    severity: Severity
    contacts: int
    since: datetime | None
    until: datetime | None
    evidence: Mapping[str, object]
    fix: str
    help: str


@dataclass(frozen=True, slots=True)
class Accounting:
    """`unfinished == on_call + dialable_now + sum(by_reason.values())`, always."""

    unfinished: int
    on_call: int
    dialable_now: int
    by_reason: Mapping[Reason, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The whole answer."""

    snapshot: Snapshot
    as_of: datetime
    breakdown: tuple[StatusLine, ...]
    pending_sample: tuple[str, ...]
    stuck_pending: bool
    tip: str
    verdict: Verdict
    reasons: tuple[ReasonShown, ...]
    accounting: Accounting
    limits: tuple[Limit, ...]
    next_dial_at: datetime | None
    # When everybody is expected to be done with; None when nothing honest can be said.
    estimated_finish_at: datetime | None
    # Final contacts that an operator may have called again; no reason, for nothing waits for them.
    held: int | None
    held_note: str | None
    # What keeps the next contact from being dialled now, and until when; None when nothing does.
    binding: Reason | None
    binding_until: datetime | None


def explain(snapshot: Snapshot, now: datetime) -> Diagnosis:
    """Say why a batch moves or does not."""
    view = look(snapshot, now)
    for rule in RULES.values():
        if rule.is_gate and (shut := rule(view)) is not None:
            view = replace(view, holds=Holds((*view.holds.gates, shut)))
    symptoms = [
        found for rule in RULES.values() if not rule.is_gate and (found := rule(view)) is not None
    ]
    findings = sorted((*view.holds.gates, *symptoms), key=lambda f: _TABLE.index(f.reason))
    holds = sorted(
        (found for found in view.holds.gates if found.is_holding),
        key=lambda found: _LAYERS.index(RULES[found.reason].layer),
    )
    accounting = _account(view, findings, holds)
    reasons = _show(view, findings)
    is_stalled = _is_stuck(view, holds)
    verdict = _verdict(view, findings, holds, accounting, is_stalled=is_stalled)
    next_dial_at = _next_dial_at(view, holds)
    binding, until = _binding(view, findings, holds, accounting)
    return Diagnosis(
        snapshot=snapshot,
        held=None if snapshot.held is None else snapshot.held.contacts,
        held_note=held_note(view),
        as_of=now,
        breakdown=_breakdown(view),
        pending_sample=_sample(view),
        stuck_pending=is_stalled,
        tip=tip_for(
            view,
            is_healthy=verdict is Verdict.HEALTHY,
            stalled_for=now - view.pending_since if is_stalled else None,
            first_fix=reasons[0].fix if reasons else None,
            is_serious=bool(reasons) and reasons[0].severity is not Severity.INFO,
            dialable_now=accounting.dialable_now,
            next_dial_at=next_dial_at,
        ),
        verdict=verdict,
        reasons=reasons,
        accounting=accounting,
        limits=view.limits,
        next_dial_at=next_dial_at,
        estimated_finish_at=estimated_finish_at(view, holds, next_dial_at),
        binding=binding,
        binding_until=until,
    )


def wants_comparison(snapshot: Snapshot, now: datetime) -> bool:
    """Whether so few people pick up that it is worth reading what to compare them with."""
    return is_suspicious(look(snapshot, now))


def _show(view: View, findings: Sequence[Finding]) -> tuple[ReasonShown, ...]:
    batch, campaign = view.snapshot.batch, view.snapshot.campaign
    names = {
        "batch_id": ids.batch_id(batch.id),
        "campaign_id": ids.campaign_id(campaign.id),
    }
    shown = []
    for found in findings:
        rule = RULES[found.reason]
        spoken = {
            **names,
            "contacts": found.contacts,
            "since": found.since,
            "until": found.until,
            **found.evidence,
            **found.words,
        }
        shown.append(
            ReasonShown(
                code=found.reason,
                layer=rule.layer,
                severity=rule.severity_of(found),
                contacts=found.contacts,
                since=found.since,
                until=found.until,
                evidence=found.evidence,
                fix=fill(rule.text_of(found), spoken),
                help=f"docs/reference/reasons.md#{found.reason}",
            )
        )
    shown.sort(key=lambda one: (_SEVERITIES.index(one.severity), _LAYERS.index(one.layer)))
    return tuple(shown)


def _account(view: View, findings: Sequence[Finding], holds: Sequence[Finding]) -> Accounting:
    """Put every unfinished contact under exactly one heading: the outermost that holds it."""
    by_reason = dict(view.own_waits)
    rest = view.claimable

    def count(reason: Reason, contacts: int) -> None:
        if contacts:
            by_reason[reason] = by_reason.get(reason, 0) + contacts

    outer = next((h for h in holds if RULES[h.reason].layer in {Layer.INTENT, Layer.CLOCK}), None)
    slots = next(
        (
            found
            for found in findings
            if found.reason in {Reason.CONCURRENCY_FULL, Reason.CAMPAIGN_CONCURRENCY_FULL}
        ),
        None,
    )
    if outer is not None:
        count(outer.reason, rest)
        rest = 0
    if slots is not None and rest:
        count(slots.reason, slots.contacts)
        rest -= slots.contacts
    if holds and rest:
        count(holds[0].reason, rest)
        rest = 0
    # What no heading explains is shown as such, never hidden: see the rule of the same name.
    count(Reason.ACCOUNTING_GAP, view.unfinished - view.on_call - rest - sum(by_reason.values()))
    return Accounting(view.unfinished, view.on_call, rest, by_reason)


def _severity(found: Finding) -> Severity:
    return RULES[found.reason].severity_of(found)


# Somebody's wish, closed hours and slots in use are good reasons to wait; a dead worker, a refused
# key or an open breaker are not.
_GOOD: Final = frozenset({Layer.INTENT, Layer.CLOCK})


def _is_stuck(view: View, holds: Sequence[Finding]) -> bool:
    """Whether pending contacts could have been dialled for too long and none was.

    Age alone never makes a batch stuck. The clock runs from the latest instant at which something
    still had to happen first, and stands still while there is a good reason to wait.
    """
    if view.snapshot.batch.status is not BatchStatus.IN_PROGRESS or view.claimable_pending <= 0:
        return False
    if view.free == 0 or any(RULES[hold.reason].layer in _GOOD for hold in holds):
        return False
    return view.now - view.pending_since > view.snapshot.settings.stuck_after


def _verdict(
    view: View,
    findings: Sequence[Finding],
    holds: Sequence[Finding],
    accounting: Accounting,
    *,
    is_stalled: bool,
) -> Verdict:
    serious = [f for f in findings if _severity(f) is not Severity.INFO]
    # Calls nobody hears of fill the slots: then nothing moves until they are looked up.
    unheard = sum(f.contacts for f in serious if f.reason is Reason.WEBHOOKS_NOT_ARRIVING)
    is_filled = view.free == 0 and view.claimable > 0 and unheard >= max(view.on_call, 1)
    if is_stalled or is_filled or any(f.is_holding and f.until is None for f in serious):
        return Verdict.BLOCKED
    if not view.is_live and all(RULES[f.reason].layer is Layer.PROVIDER for f in serious):
        return Verdict.FINISHED  # how people were reached is worth knowing, and nothing is left
    if serious or (view.is_live and view.snapshot.stale_inputs):
        return Verdict.DEGRADED
    if not view.is_live:
        return Verdict.FINISHED
    if holds or not (view.on_call or accounting.dialable_now):
        return Verdict.WAITING
    return Verdict.HEALTHY


def _next_dial_at(view: View, holds: Sequence[Finding]) -> datetime | None:
    """The earliest instant at which a call can start; None when no clock decides that."""
    if not view.is_waiting_for_us:
        return None
    if any(h.until is None for h in holds):
        return None
    if view.claimable:
        if view.free == 0 and not holds:
            return None  # when a call ends
        at = view.now
    else:
        due = [f for turn in _TURN_OF.values() if (f := view.waiting(turn).first_due_at)]
        if not due:
            return None
        at = max(view.now, min(due))
    at = max([at, *(h.until for h in holds if h.until is not None)])
    return next_opening(view, at)


def _binding(
    view: View, findings: Sequence[Finding], holds: Sequence[Finding], accounting: Accounting
) -> tuple[Reason | None, datetime | None]:
    if view.unfinished == 0:
        return None, None
    if holds:
        return holds[0].reason, holds[0].until
    if accounting.dialable_now:
        return None, None
    if view.claimable:
        slots = next((f for f in findings if RULES[f.reason].layer is Layer.CAPACITY), None)
        own = [slots] if slots else []
    else:
        own = [f for f in findings if f.reason in _OWN_WAITS]
        # The one that ends first is the one the next call waits for.
        own.sort(key=lambda f: (f.until is None, f.until or view.now))
    return (own[0].reason, own[0].until) if own else (None, None)


def _breakdown(view: View) -> tuple[StatusLine, ...]:
    return tuple(
        StatusLine(status, count, _oldest(view, status) if count > 0 else None)
        for status, count in view.counts.items()
        if count or status in _SHOWN_ALWAYS
    )


def _oldest(view: View, status: ContactStatus) -> datetime | None:
    """When the contact that is longest in a status got there."""
    facts = view.snapshot
    found: list[datetime] = []
    if status is ContactStatus.PENDING and facts.heads:
        found = [head.updated_at for head in facts.heads]
    elif status in _TURN_OF:
        oldest_at = view.waiting(_TURN_OF[status]).oldest_at
        found = [oldest_at] if oldest_at else []
    elif status in ON_CALL:
        found = [row.oldest_at for row in facts.on_call or () if row.status is status]
    # Final statuses are not left again, so the first to enter is the oldest. For the others this
    # is only what stands in when the exact place could not be read.
    kept = [t.oldest_at for t in facts.tallies if t.status is status and t.oldest_at]
    return min(found or kept, default=None)


def _sample(view: View) -> tuple[str, ...]:
    if view.counts[ContactStatus.PENDING] <= 0:
        return ()
    batch_id = view.snapshot.batch.id
    heads = sorted(view.snapshot.heads or (), key=lambda h: (h.updated_at, h.position))
    return tuple(ids.contact_id(ids.ContactKey(batch_id, h.position)) for h in heads[:_SAMPLE])
