"""One function for each invariant that a ledger can witness; `judge` asks them all."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apollo.core import ids
from apollo.core.audit.facts import Books, Change, Finding, OurCall, Violation, WitnessedCall
from apollo.core.ids import ContactKey
from apollo.core.model import CARRIER_FAILURES_MAX
from apollo.core.outcomes import NO_CARRIER, Blame, Ending, classify, is_silent_decline
from apollo.core.states import OPEN_CALL, CallKind, CallState

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


def judge(witnessed: Sequence[WitnessedCall], books: Books) -> list[Finding]:
    """Give a finding for each invariant, I1 to I11, in order."""
    seen = _Evidence.of(witnessed, books)
    return [
        _one_call_a_number(seen),
        _one_call_an_execution(seen),
        _no_call_after_an_answer(seen),
        _inside_the_window(seen),
        _none_after_a_stop(seen),
        _within_the_limits(seen),
        _every_call_has_its_row(seen),
        _within_the_attempts(seen),
        _nobody_is_forgotten(seen),
        _final_is_final(seen),
        _counters_are_right(seen),
    ]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Both sides, matched: by tag first, by the provider's id second."""

    witnessed: Sequence[WitnessedCall]
    placed: Sequence[WitnessedCall]
    books: Books
    # The row of each witnessed call, by the provider's id.
    row_of: Mapping[str, OurCall]

    @classmethod
    def of(cls, witnessed: Sequence[WitnessedCall], books: Books) -> "_Evidence":
        by_id = {row.id: row for row in books.calls}
        by_sid = {row.provider_call_id: row for row in books.calls if row.provider_call_id}
        rows: dict[str, OurCall] = {}
        for call in witnessed:
            tagged = by_id.get(call.execution_id) if call.execution_id else None
            row = tagged or by_sid.get(call.provider_call_id)
            if row is not None:
                rows[call.provider_call_id] = row
        ordered = sorted(witnessed, key=lambda call: call.requested_at)
        return cls(ordered, [x for x in ordered if x.placed_at is not None], books, rows)

    def rows(self) -> Iterable[tuple[WitnessedCall, OurCall]]:
        """Give the placed calls that have a row, in the order of their requests."""
        return (
            (call, self.row_of[call.provider_call_id])
            for call in self.placed
            if call.provider_call_id in self.row_of
        )


def _masked(number: str) -> str:
    return f"number ending {number[-4:]}"


def _names(call: WitnessedCall, row: OurCall | None = None) -> tuple[str, ...]:
    names = [f"call_sid {call.provider_call_id}"]
    if row is not None:
        names = [
            ids.execution_id(row.id),
            ids.contact_id(row.contact),
            ids.batch_id(row.contact.batch_id),
            *names,
        ]
    elif call.execution_id is not None:
        names = [ids.execution_id(call.execution_id), *names]
    return tuple(names)


def _one_call_a_number(seen: _Evidence) -> Finding:
    finding = Finding("I1", "at most one open call per phone number", len(seen.placed), "calls")
    until: dict[str, tuple[datetime, WitnessedCall]] = {}
    forever = max((x.ended_at or x.requested_at for x in seen.placed), default=None)
    for call in sorted(seen.placed, key=lambda x: x.placed_at or x.requested_at):
        number, begins = call.number.lstrip("+"), call.placed_at or call.requested_at
        before = until.get(number)
        if before is not None and begins < before[0]:
            what = f"placed while another call to the {_masked(number)} was up"
            both = (*_names(call), *_names(before[1]))
            finding.violations.append(Violation(both, what))
        ends = call.ended_at or forever or begins
        if before is None or ends > before[0]:
            until[number] = (ends, call)
    return finding


def _one_call_an_execution(seen: _Evidence) -> Finding:
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


def _no_call_after_an_answer(seen: _Evidence) -> Finding:
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
            finding.violations.append(Violation(_names(call, row), what))
        if call.answered_at is not None:
            answered.setdefault(row.contact, call.answered_at)
    finding.checked = len(contacts)
    return finding


def _inside_the_window(seen: _Evidence) -> Finding:
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
            finding.violations.append(Violation(_names(call, row), what))
    return finding


def _none_after_a_stop(seen: _Evidence) -> Finding:
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
            finding.violations.append(Violation(_names(call, row), what))
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


def _within_the_limits(seen: _Evidence) -> Finding:
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


def _every_call_has_its_row(seen: _Evidence) -> Finding:
    rule = "every provider call has one row of ours, with the outcome that the provider saw"
    finding = Finding("I7", rule, len(seen.placed), "calls")
    still_open = held = settled = 0
    for call in seen.placed:
        row = seen.row_of.get(call.provider_call_id)
        if row is None and call.provider_call_id in seen.books.settled:
            settled += 1
        elif row is None:
            finding.violations.append(Violation(_names(call), "the database has no such call"))
        elif row.state is CallState.RELEASED:
            what = "recorded as never sent, and the provider placed it"
            finding.violations.append(Violation(_names(call, row), what))
        elif call.ended_at is None or row.state in OPEN_CALL:
            still_open += 1
        elif row.hangup_reason == _HELD:
            held += 1
        else:
            expected = _ending(call).outcome
            is_no_carrier = row.hangup_reason == NO_CARRIER and _is_silent_decline(call)
            if row.outcome is not expected and not is_no_carrier:
                what = f"recorded as {row.outcome}, and the provider saw {expected}"
                finding.violations.append(Violation(_names(call, row), what))
    finding.violations += _unknown_to_the_provider(seen)
    left = [
        (still_open, "not over on both sides"),
        (held, "held as outcome_unknown"),
        (settled, "of a confirmed recovery, which nobody waits for"),
    ]
    finding.left_out = ", ".join(f"{count} calls {why}" for count, why in left if count)
    return finding


def _unknown_to_the_provider(seen: _Evidence) -> Iterable[Violation]:
    """Find rows with an id of the provider's that it never gave."""
    if not seen.witnessed:
        return
    known = {call.provider_call_id for call in seen.witnessed}
    providers = {row.provider for row in seen.row_of.values()}
    first, last = seen.witnessed[0].requested_at, seen.witnessed[-1].requested_at
    for row in seen.books.calls:
        is_named = row.provider_call_id is not None and row.provider in providers
        # A ledger may begin later than the database, and end earlier.
        if is_named and first <= row.requested_at <= last and row.provider_call_id not in known:
            names = (ids.execution_id(row.id), f"call_sid {row.provider_call_id}")
            yield Violation(names, "the provider has no such call")


def _ending(call: WitnessedCall) -> Ending:
    return classify(
        call_status=call.call_status or "",
        sip_status=call.sip_status,
        was_answered=call.answered_at is not None,
        rang=call.rang_at is not None,
        declines_before=0,
    )


def _is_silent_decline(call: WitnessedCall) -> bool:
    """Tell whether this may have been the carrier's doing: the numbers before decide."""
    return is_silent_decline(sip_status=call.sip_status, rang=call.rang_at is not None)


def _within_the_attempts(seen: _Evidence) -> Finding:
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
        is_carriers = _ending(call).blame is Blame.CARRIER or _is_silent_decline(call)
        (carriers if is_carriers and call.ended_at else own)[row.contact] += 1
    finding.checked = len(allowed)
    for contact, most in allowed.items():
        # The eleventh failure ends it: ten are repeated.
        if own[contact] > most or carriers[contact] > CARRIER_FAILURES_MAX + 1:
            what = f"{own[contact]} attempts of {most}, {carriers[contact]} carrier failures"
            names = (ids.contact_id(contact), ids.batch_id(contact.batch_id))
            finding.violations.append(Violation(names, what))
    return finding


def _nobody_is_forgotten(seen: _Evidence) -> Finding:
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


def _final_is_final(seen: _Evidence) -> Finding:
    rule = "a final contact changes only through a recorded correction"
    finding = Finding("I10", rule, seen.books.contacts, "contacts")
    finding.violations = [
        Violation((ids.contact_id(key), ids.batch_id(key.batch_id)), what)
        for key, what in seen.books.changed_finals
    ]
    return finding


def _counters_are_right(seen: _Evidence) -> Finding:
    finding = Finding("I11", "counters equal a recount of the contacts", seen.books.batches)
    finding.unit = "batches"
    finding.violations = [
        Violation((ids.batch_id(batch),), f"the counters are off by {by} contacts")
        for batch, by in seen.books.wrong_counters.items()
    ]
    return finding
