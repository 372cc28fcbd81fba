"""Why is this batch not moving? One pure function of one snapshot.

It asks every rule, gates first, closes the arithmetic with gates alone, and says in one word and
one sentence how things are. Must never read a clock or a table, and never infer a cause from age.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis.answer import Accounting, Diagnosis, ReasonShown, StatusLine, Verdict
from apollo.core.diagnosis.estimate import estimate
from apollo.core.diagnosis.evidence import Claim
from apollo.core.diagnosis.finding import Finding, Holds
from apollo.core.diagnosis.rules import RULES
from apollo.core.diagnosis.rules.no_answer import is_suspicious
from apollo.core.diagnosis.snapshot import Snapshot
from apollo.core.diagnosis.tips import held_note, tip_for
from apollo.core.diagnosis.view import WISHES, View, look, next_opening
from apollo.core.model import Turn
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import ON_CALL, BatchStatus, ContactStatus
from apollo.core.words import fill

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
_SLOTS: Final = (Reason.CONCURRENCY_FULL, Reason.CAMPAIGN_CONCURRENCY_FULL)
# Nobody wanted that: its cause comes first, as with any other fault.
_OWN_PAUSE: Final = frozenset({Reason.PAUSED_BY_APOLLO, Reason.BAD_REQUEST_EVERYWHERE})
# Where nothing has started yet, somebody has to.
_MAY_BE_STUCK: Final = frozenset({BatchStatus.IN_PROGRESS, BatchStatus.PENDING})


def explain(snapshot: Snapshot) -> Diagnosis:
    """Say why a batch moves or does not."""
    now = snapshot.read_at
    view = look(snapshot)
    for rule in RULES.values():
        if rule.is_gate and (shut := rule(view)) is not None:
            view = replace(view, holds=Holds((*view.holds.gates, shut)))
    symptoms = [
        found for rule in RULES.values() if not rule.is_gate and (found := rule(view)) is not None
    ]
    findings = sorted((*view.holds.gates, *symptoms), key=lambda found: _rank(view, found))
    holds = [found for found in findings if found.is_holding]
    accounting = _account(view, findings, holds)
    reasons = _show(view, findings)
    is_stalled = _is_stuck(view)
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
            reasons,
            is_healthy=verdict is Verdict.HEALTHY,
            stalled_for=now - view.pending_since if is_stalled else None,
            dialable_now=accounting.dialable_now,
            next_dial_at=next_dial_at,
            then=_then(findings, reasons),
        ),
        verdict=verdict,
        reasons=reasons,
        accounting=accounting,
        limits=view.limits,
        next_dial_at=next_dial_at,
        estimate=estimate(view, holds),
        binding=binding,
        binding_until=until,
        is_wished=view.is_wished and view.is_live,
    )


def wants_comparison(snapshot: Snapshot) -> bool:
    """Whether so few people pick up that it is worth reading what to compare them with."""
    return is_suspicious(look(snapshot))


def _rank(view: View, found: Finding) -> tuple[int, int, int, int]:
    """Order reasons: what people wanted, what else holds the batch, what goes wrong, the rest."""
    rule = RULES[found.reason]
    severity = rule.severity_of(found)
    if found.is_holding and found.reason in WISHES - _OWN_PAUSE and view.is_live:
        group = 0
    elif found.is_holding and severity is not Severity.INFO:
        group = 1
    elif severity is not Severity.INFO:
        group = 2
    else:
        group = 4 if found.claim is Claim.OVER else 3
    # Of several wishes the outermost comes first, however grave.
    graveness = 0 if group == 0 else _SEVERITIES.index(severity)
    return group, graveness, _LAYERS.index(rule.layer), _TABLE.index(found.reason)


def _then(findings: Sequence[Finding], reasons: Sequence[ReasonShown]) -> ReasonShown | None:
    """Give what would hold the batch next, once what people wanted does not any more."""
    if not findings or not findings[0].is_holding or findings[0].reason not in WISHES:
        return None
    for found, shown in zip(findings[1:], reasons[1:], strict=True):
        if found.is_holding or _severity(found) is not Severity.INFO:
            return shown
    return None


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
                fix=fill(rule.text_of(found), spoken, found.words),
                help=f"/docs/reasons#{found.reason}",
            )
        )
    return tuple(shown)


def _account(view: View, findings: Sequence[Finding], holds: Sequence[Finding]) -> Accounting:
    """Put every unfinished contact under exactly one heading: the outermost gate that holds it."""
    by_reason: dict[Reason, int] = {}
    rest = view.claimable

    def count(reason: Reason, contacts: int) -> None:
        if contacts:
            by_reason[reason] = by_reason.get(reason, 0) + contacts

    wish = next((found for found in holds if found.reason in WISHES), None)
    if wish is not None:
        count(wish.reason, view.held_back)
        rest = 0
    else:
        by_reason.update(view.own_waits)
    slots = next((found for found in findings if found.reason in _SLOTS), None)
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


def _is_stuck(view: View) -> bool:
    """Whether pending contacts could have been dialled for too long and none was.

    Age alone never makes a batch stuck. The clock runs from the latest instant at which something
    still had to happen first, and stands still while there is a good reason to wait: somebody's
    wish, closed hours, slots in use. A dead worker, a refused key or an open breaker are none.
    """
    if view.snapshot.batch.status not in _MAY_BE_STUCK or view.claimable_pending <= 0:
        return False
    if view.free == 0 or view.is_wished:
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
    is_calm = bool(holds) and holds[0].reason in WISHES and _severity(holds[0]) is Severity.INFO
    if not view.is_live:
        # How people were reached is worth knowing, and nothing is left to do.
        is_sound = all(RULES[f.reason].layer is not Layer.DATA for f in serious)
        return Verdict.FINISHED if is_sound else Verdict.DEGRADED
    if is_calm and not view.on_call and not is_stalled:
        return Verdict.WAITING  # as somebody wanted; what is wrong meanwhile is listed
    is_shut = not is_calm and any(f.is_holding and f.until is None for f in serious)
    if is_stalled or is_shut or _is_filled(view, serious):
        return Verdict.BLOCKED
    if serious or view.snapshot.stale_inputs:
        return Verdict.DEGRADED
    is_moving = not holds and (view.on_call or accounting.dialable_now)
    return Verdict.HEALTHY if is_moving else Verdict.WAITING


def _is_filled(view: View, serious: Sequence[Finding]) -> bool:
    """Whether calls nobody hears of fill the slots: nothing moves until they are looked up."""
    silent = (Reason.WEBHOOKS_NOT_ARRIVING, Reason.CALLS_MISSING)
    unheard = sum(found.contacts for found in serious if found.reason in silent)
    return view.free == 0 and view.claimable > 0 and unheard >= max(view.on_call, 1)


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
        slots = next((f for f in findings if f.reason in _SLOTS), None)
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
