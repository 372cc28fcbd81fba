"""One function for each invariant that a ledger can witness; `judge` asks them all."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from apollo.core import ids
from apollo.core.audit.evidence import Evidence, ending, is_set_ups_fault, names
from apollo.core.audit.facts import (
    Books,
    Change,
    Finding,
    ListedCall,
    OurCall,
    Violation,
    WitnessedCall,
)
from apollo.core.audit.rows import every_call_has_its_row
from apollo.core.events import Reached
from apollo.core.ids import ContactKey
from apollo.core.model import CARRIER_FAILURES_MAX
from apollo.core.outcomes import Blame
from apollo.core.states import CallKind

# The provider's clock and the database's are two; what is less apart than this proves nothing.
CLOCKS_DIFFER: Final = timedelta(seconds=1)
_HELD: Final = "outcome_unknown"
_STOPS: Final = {
    "campaign_paused": True,
    "campaign_cancelled": True,
    "batch_paused": True,
    "batch_cancelled": True,
    "batch_expired": True,
    "campaign_resumed": False,
    "batch_resumed": False,
}


def judge(
    witnessed: Sequence[WitnessedCall], books: Books, listed: Sequence[ListedCall] | None = None
) -> list[Finding]:
    """Return a finding for each invariant, I1 to I11, in order.

    Without `listed` the witness is a ledger, which has every call. With it the witness is a
    provider's call-detail records, of which some get lost, beside the calls that its live list had
    both before and after our books were read.
    """
    seen = Evidence.of(witnessed, books, listed)
    return [
        _one_call_a_number(seen),
        _one_call_an_execution(seen),
        _no_call_after_an_answer(seen),
        _inside_the_window(seen),
        _none_after_a_stop(seen),
        _within_the_limits(seen),
        every_call_has_its_row(seen),
        _within_the_attempts(seen),
        _nobody_is_forgotten(seen),
        _final_is_final(seen),
        _counters_are_right(seen),
    ]


def _masked(number: str) -> str:
    return f"number ending {number[-4:]}"


def _one_call_a_number(seen: Evidence) -> Finding:
    finding = Finding("I1", "at most one open call per phone number", len(seen.placed), "calls")
    until: dict[str, tuple[datetime, WitnessedCall]] = {}
    forever = max((x.ended_at or x.requested_at for x in seen.placed), default=None)
    for call in sorted(seen.placed, key=lambda x: x.placed_at or x.requested_at):
        number, begins = call.number.lstrip("+"), call.placed_at or call.requested_at
        before = until.get(number)
        if before is not None and begins < before[0]:
            what = f"placed while another call to the {_masked(number)} was up"
            both = (*names(call), *names(before[1]))
            finding.violations.append(Violation(both, what))
        ends = call.ended_at or forever or begins
        if before is None or ends > before[0]:
            until[number] = (ends, call)
    return finding


def _one_call_an_execution(seen: Evidence) -> Finding:
    finding = Finding("I2", "at most one provider call per execution, ever", unit="executions")
    calls: dict[uuid.UUID, list[WitnessedCall]] = defaultdict(list)
    for call in seen.placed:
        if call.execution_id is not None:
            calls[call.execution_id].append(call)
    finding.checked = len(calls)
    if not calls and seen.placed:
        finding.left_out = "call-detail records carry no tag"
    for execution, several in calls.items():
        if len(several) > 1:
            sids = tuple(f"call_sid {call.provider_call_id}" for call in several)
            what = f"{len(several)} calls were placed for one execution"
            finding.violations.append(Violation((ids.execution_id(execution), *sids), what))
    return finding


def _no_call_after_an_answer(seen: Evidence) -> Finding:
    rule = "no call to a contact after an answered one, unless a follow-up was asked for"
    finding = Finding("I3", rule, unit="contacts")
    answered: dict[ContactKey, datetime] = {}
    contacts = set()
    for call, row in seen.rows():
        contacts.add(row.contact)
        reached_at = answered.get(row.contact)
        is_extra = reached_at is not None and call.requested_at > reached_at
        if is_extra and row.kind is not CallKind.FOLLOW_UP:
            what = f"requested after a call to the same contact was answered at {reached_at}"
            finding.violations.append(Violation(names(call, row), what))
        if call.answered_at is not None and row.reached is not Reached.MACHINE:
            answered.setdefault(row.contact, call.answered_at)
    finding.checked = len(contacts)
    return finding


def _inside_the_window(seen: Evidence) -> Finding:
    finding = Finding("I4", "no request is sent outside the calling hours", unit="requests")
    changed = {x.campaign_id: x.at for x in seen.books.changes if x.action.endswith("_changed")}
    for call in seen.witnessed:
        row = seen.row_of.get(call.provider_call_id)
        rules = seen.books.campaigns.get(row.campaign_id) if row else None
        if row is None or rules is None:
            continue
        finding.checked += 1
        at, edited_at = call.requested_at, changed.get(row.campaign_id)
        if edited_at is None or edited_at < at:
            is_open = any(
                rules.hours.window_at(at + by) is not None
                for by in (timedelta(), CLOCKS_DIFFER, -CLOCKS_DIFFER)
            )
        else:  # the hours were others then: those that the claim saw
            opens_at, closes_at = row.window_opens_at, row.window_closes_at
            is_open = opens_at - CLOCKS_DIFFER <= at < closes_at + CLOCKS_DIFFER
        if not is_open:
            what = f"requested at {at}, outside the campaign's hours"
            finding.violations.append(Violation(names(call, row), what))
    return finding


def _none_after_a_stop(seen: Evidence) -> Finding:
    rule = "no request after a pause, a cancel or an expiry, except calls already being placed"
    finding = Finding("I5", rule, unit="requests")
    stops = _Stops(seen.books.changes)
    for call in seen.witnessed:
        row = seen.row_of.get(call.provider_call_id)
        if row is None:
            continue
        finding.checked += 1
        stop = stops.in_force(row, call.requested_at - CLOCKS_DIFFER)
        is_still = stops.in_force(row, call.requested_at + CLOCKS_DIFFER) is stop
        # Claimed before, it was one of the calls in progress that the answer reported.
        if stop is not None and is_still and row.requested_at > stop.at:
            what = f"requested at {call.requested_at}, after {stop.action} at {stop.at}"
            finding.violations.append(Violation(names(call, row), what))
    return finding


class _Stops:
    """Which stop was in force when."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._of: dict[uuid.UUID, list[Change]] = defaultdict(list)
        for change in changes:
            if change.action in _STOPS:
                self._of[change.batch_id or change.campaign_id].append(change)

    def in_force(self, row: OurCall, at: datetime) -> Change | None:
        for name in (row.campaign_id, row.contact.batch_id):
            last = None
            for change in self._of.get(name, ()):
                if change.at < at:
                    last = change
            if last is not None and _STOPS[last.action]:
                return last
        return None


def _within_the_limits(seen: Evidence) -> Finding:
    finding = Finding("I6", "live calls never exceed a limit", unit="limits")
    spans: dict[uuid.UUID, list[tuple[datetime, datetime]]] = defaultdict(list)
    limits: dict[uuid.UUID, tuple[int, str]] = {}
    last = max((x.ended_at or x.requested_at for x in seen.placed), default=None)
    raised = {x.batch_id or x.campaign_id for x in seen.books.changes if "_changed" in x.action}
    for call, row in seen.rows():
        rules = seen.books.campaigns.get(row.campaign_id)
        if rules is None:
            continue
        span = (call.placed_at or call.requested_at, call.ended_at or last or call.requested_at)
        campaign, batch = row.campaign_id, row.contact.batch_id
        limits[campaign] = (rules.concurrency_limit, ids.campaign_id(campaign))
        spans[campaign].append(span)
        own = rules.batch_limits.get(batch)
        if own is not None:
            limits[batch] = (own, ids.batch_id(batch))
            spans[batch].append(span)
    judged = [name for name in limits if name not in raised]
    finding.checked = len(judged)
    if len(judged) < len(limits):
        finding.left_out = f"{len(limits) - len(judged)} limits that were changed meanwhile"
    for name in judged:
        limit, shown = limits[name]
        most, at = _most_at_once(spans[name])
        if most > limit:
            what = f"{most} calls were live at {at}, the limit is {limit}"
            finding.violations.append(Violation((shown,), what))
    return finding


def _most_at_once(spans: Sequence[tuple[datetime, datetime]]) -> tuple[int, datetime | None]:
    steps = Counter[tuple[datetime, int]]()
    for begins, ends in spans:
        if ends > begins:
            steps[begins, 1] += 1
            steps[ends, -1] += 1
    live = most = 0
    at = None
    # At one instant ends come first: a slot may be filled in the moment it is freed.
    for (instant, by), count in sorted(steps.items()):
        live += by * count
        if live > most:
            most, at = live, instant
    return most, at


def _within_the_attempts(seen: Evidence) -> Finding:
    rule = f"attempts stay within 1 + max retries, and {CARRIER_FAILURES_MAX} carrier failures"
    finding = Finding("I8", rule, unit="contacts")
    own: Counter[ContactKey] = Counter()
    carriers: Counter[ContactKey] = Counter()
    allowed: dict[ContactKey, int] = {}
    for call, row in seen.rows():
        rules = seen.books.campaigns.get(row.campaign_id)
        if rules is None or row.kind is CallKind.FOLLOW_UP:
            continue  # a follow-up has a budget of its own
        override = rules.batch_retries.get(row.contact.batch_id)
        allowed[row.contact] = 1 + (rules.max_retries if override is None else override)
        is_carriers = ending(call).blame is Blame.CARRIER or is_set_ups_fault(call, row)
        (carriers if is_carriers and call.ended_at else own)[row.contact] += 1
    finding.checked = len(allowed)
    for contact, most in allowed.items():
        # The eleventh failure ends it: ten are repeated.
        if own[contact] > most or carriers[contact] > CARRIER_FAILURES_MAX + 1:
            what = f"{own[contact]} attempts of {most}, {carriers[contact]} carrier failures"
            names = (ids.contact_id(contact), ids.batch_id(contact.batch_id))
            finding.violations.append(Violation(names, what))
    return finding


def _nobody_is_forgotten(seen: Evidence) -> Finding:
    rule = "every contact is final or waits for a named instant or a named cause"
    finding = Finding("I9", rule, seen.books.contacts, "contacts")
    finding.violations = [
        Violation(
            (ids.contact_id(key), ids.batch_id(key.batch_id)),
            "neither final nor waiting for anything",
        )
        for key in seen.books.lost_contacts
    ]
    return finding


def _final_is_final(seen: Evidence) -> Finding:
    rule = "a final contact changes only through a recorded correction"
    finding = Finding("I10", rule, seen.books.contacts, "contacts")
    finding.violations = [
        Violation((ids.contact_id(key), ids.batch_id(key.batch_id)), what)
        for key, what in seen.books.changed_finals
    ]
    return finding


def _counters_are_right(seen: Evidence) -> Finding:
    finding = Finding("I11", "counters equal a recount of the contacts", seen.books.batches)
    finding.unit = "batches"
    finding.violations = [
        Violation((ids.batch_id(batch),), f"the counters are off by {by} contacts")
        for batch, by in seen.books.wrong_counters.items()
    ]
    return finding
