"""The judge: every invariant of the product, from the provider's ledger wherever it can tell.

Reads what a run left; changes nothing. Each check gives the violations it found, worded so that a
person can go and look.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from tests.simulation import places
from tests.simulation.desk import EVERYBODY
from tests.simulation.engine import Commit, Row, Transaction
from tests.simulation.provider import Entry
from tests.simulation.world import Said, World

from apollo.core import ids
from apollo.core.audit import Books as AuditBooks
from apollo.core.audit import OurCall
from apollo.core.events import Evidence, Reached
from apollo.core.ids import ContactKey
from apollo.core.model import CARRIER_FAILURES_MAX
from apollo.core.outcomes import SET_UP_REASONS
from apollo.core.states import CallKind, CallState, Outcome
from apollo.usecases import audit_ledger

FINAL: Final = frozenset(
    {"completed", "failed", "busy", "no_answer", "voicemail", "skipped", "max_retries_reached"}
)
WAITING: Final = frozenset({"retrying", "followup_scheduled"})
OUTCOMES: Final = {
    200: {"completed"},
    486: {"busy"},
    600: {"busy"},
    # Three in a row without ringing are the carrier's.
    603: {"busy", "failed"},
    487: {"no_answer"},
    480: {"no_answer"},
    408: {"no_answer"},
}
FAR: Final = float("inf")
ENDED: Final = frozenset({"completed", "failed", "busy", "no-answer"})
# For I13 alone: an end that was found by asking is dated by when the calls to ask about were read,
# and a call may end while the question is on its way.
FOUND_S: Final = 2.0
# A request leaves within two seconds of the beginning of its claim, or not at all.
ON_THEIR_WAY_S: Final = 2.0


@dataclass
class Books:
    """The ledger beside Apollo's rows: a call of the provider, and the row its tag names."""

    world: World
    pairs: list[tuple[Entry, Row | None]]

    @classmethod
    def of(cls, world: World) -> "Books":
        """Pair every call of the ledger with its row."""
        calls = world.server.tables["calls"]
        pairs = []
        # What a restored database lacked was read in under another id.
        named = {c["provider_call_id"]: c for c in calls.values() if world.is_restored}
        for entry in world.provider.ledger:
            row = calls.get(ids.parse_id("exec", entry.tag))
            is_other = bool(named) and row is not None and row["provider_call_id"] is not None
            pairs.append((entry, named.get(entry.sid) or (None if is_other else row)))
        return cls(world, pairs)

    def by_contact(self) -> dict[tuple[uuid.UUID, int], list[Entry]]:
        """Give each contact's calls in the order in which they were placed."""
        found: dict[tuple[uuid.UUID, int], list[Entry]] = defaultdict(list)
        for entry, row in self.pairs:
            if row is not None:
                found[row["batch_id"], row["position"]].append(entry)
        return found

    def is_unknowable(self, entry: Entry) -> bool:
        """Tell whether nothing could tell Apollo how this call ended: no record, no final word."""
        if entry.is_misled:
            return not {"in-progress", "completed"} & entry.acknowledged.keys()
        has_record = self.world.provider.has_records and not entry.is_unrecorded
        return not has_record and not ENDED & entry.acknowledged.keys()

    def is_beyond_anybody(self, entry: Entry) -> bool:
        """Tell whether the provider's session of this call broke and nobody was told of its answer.

        It says of such a call that it is over and was never answered.
        """
        return entry.is_silent and "in-progress" not in entry.acknowledged

    def intent(self, entry: Entry) -> Row | None:
        """Give the row with which this call was decided on, forgotten or not."""
        call_id = ids.parse_id("exec", entry.tag)
        return self.world.forgotten.get(call_id) or self.world.server.tables["calls"].get(call_id)

    def claimed_at(self, entry: Entry) -> float:
        """Give the virtual second at which Apollo decided to make this call."""
        row = self.intent(entry)
        assert row is not None
        return float((row["requested_at"] - self.world.place.start).total_seconds())

    def known_until(self, entry: Entry) -> float:
        """Give the virtual second until which Apollo could count this call as live.

        One that was lost may have been given to another campaign since, or to nobody.
        """
        ended_at = FAR if entry.ended_at is None else entry.ended_at
        ended_at = min(ended_at, self.given_up_at(entry))
        return min(ended_at, self.world.restored_at) if self.was_lost(entry) else ended_at

    def given_up_at(self, entry: Entry) -> float:
        """Give when Apollo stopped looking for a call that nothing ever told of.

        No reply, no webhook, and no list has it: the quarantine bounds what that costs.
        """
        row = self.intent(entry)
        was_away = self.world.weather.injected["call_store_away"] > 0
        is_nowhere = entry.is_hidden or entry.is_forgotten or was_away
        if row is None or entry.acknowledged or not is_nowhere or row["provider_call_id"]:
            return FAR
        if row["hangup_reason"] != "outcome_unknown":
            return FAR
        return float((row["ended_at"] - self.world.place.start).total_seconds())

    def was_lost(self, entry: Entry) -> bool:
        """Tell whether a restored database lacked this call, or took another one for it.

        Of two calls to one number from one caller id it knows no more than that.
        """
        call_id = ids.parse_id("exec", entry.tag)
        row = self.world.server.tables["calls"].get(call_id)
        is_other = row is not None and row["provider_call_id"] not in {None, entry.sid}
        return call_id in self.world.forgotten or (self.world.is_restored and is_other)

    def verdicts(self, entry: Entry) -> list[Said]:
        """Give what the agent said of who picked up, in the order in which it said it."""
        call_id = ids.parse_id("exec", entry.tag)
        return [s for s in self.world.said if s.call_id == call_id and s.result.reached]

    def was_told_reached(self, entry: Entry, by: float) -> bool:
        """Tell whether Apollo could know by then that this call reached the person."""
        return self.was_told_answered(entry, by) and not self.was_told_otherwise(entry, by)

    def was_told_otherwise(self, entry: Entry, by: float) -> bool:
        """Tell whether an agent said by then that a machine or somebody else had picked up."""
        verdicts = self.verdicts(entry)
        # Whatever was said lately may have been heard, and not only what was thanked for.
        words = {s.result.reached for s in verdicts if s.asked_at < by}
        settled = [s.result.reached for s in verdicts if s.answered_at < by]
        return bool(words) and (not settled or settled[-1] is not Reached.PERSON)

    def was_told_answered(self, entry: Entry, by: float) -> bool:
        """Tell whether Apollo could know by then that this call was answered."""
        if entry.answered_at is None or entry.answered_at >= by:
            return False
        if self.world.provider.has_records and not (entry.is_misled or entry.is_unrecorded):
            return True
        told = [entry.acknowledged.get(status, FAR) for status in ("in-progress", "completed")]
        return min(told) < by


def one_call_per_number(books: Books) -> Iterator[str]:
    """I1: two calls to one number never overlap."""
    by_number: dict[str, list[Entry]] = defaultdict(list)
    for entry, _ in books.pairs:
        by_number[entry.to].append(entry)
    for number, entries in by_number.items():
        for earlier, later in pairwise(entries):
            over_at = FAR if earlier.ended_at is None else earlier.ended_at
            if later.placed_at < min(over_at, books.given_up_at(earlier)):
                yield (
                    f"I1 ...{number[-4:]}: {later.sid} placed at {later.placed_at:.3f} while"
                    f" {earlier.sid} lasted until {earlier.ended_at}"
                )


def one_call_per_execution(books: Books) -> Iterator[str]:
    """I2: a request is sent once, and leads to one call at most."""
    for tag, n in Counter(entry.tag for entry, _ in books.pairs).items():
        if n > 1:
            yield f"I2 {tag}: {n} calls"
    for tag, n in Counter(asked.tag for asked in books.world.provider.asked).items():
        if n > 1:
            yield f"I2 {tag}: asked for {n} times"


def none_after_an_answered_one(books: Books) -> Iterator[str]:
    """I3: who was reached is called again only if a follow-up was asked for."""
    for contact, entries in books.by_contact().items():
        sent = {a.tag: a.sent_at for a in books.world.provider.asked}
        for entry in entries:
            sent_at = sent[entry.tag]
            # News that comes after the claim can only hang the call up again.
            claimed_at = books.claimed_at(entry)
            answered = [
                books.claimed_at(e)
                for e in entries
                if e is not entry and books.was_told_reached(e, claimed_at)
            ]
            asked = [at for c, at in books.world.follow_ups if c == contact and at <= sent_at]
            if answered and not _is_owed_one(answered, asked):
                yield f"I3 {entry.sid} was asked for at {sent_at:.3f} after an answered call"


def none_to_who_was_reached(books: Books) -> Iterator[str]:
    """I3 over a restore, by number: a restored database can tell no more than that.

    Of two contacts with one number it cannot know which had a call, only that one of them had it.
    """
    world = books.world
    if not world.is_restored:
        return
    contacts = world.server.tables["contacts"].values()
    for number in {entry.to for entry, _ in books.pairs}:
        keys = {(c["batch_id"], c["position"]) for c in contacts if c["phone_number"] == number}
        pairs = [(entry, row) for entry, row in books.pairs if entry.to == number]
        for entry, _ in pairs:
            if books.intent(entry) is None:
                continue  # I7 says so
            at = books.claimed_at(entry)
            told = [(e, row) for e, row in pairs if books.was_told_reached(e, at)]
            # Nobody's call is one contact less to whom this one may have been made.
            reached = {
                e.sid if row is None else (row["batch_id"], row["position"]) for e, row in told
            }
            is_promised = any(c in keys for c, _ in world.follow_ups)
            if len(reached) >= len(keys) and not is_promised:
                yield f"I3 {entry.sid}: all {len(keys)} with this number were reached before"


def none_to_a_wrong_person(books: Books) -> Iterator[str]:
    """I3: once an agent was thanked for saying that somebody else picks up, nobody calls there.

    Unless it took that back, or a follow-up was asked for.
    """
    if books.world.is_restored:
        return  # it may have forgotten what it was told
    for contact, entries in books.by_contact().items():
        if any(c == contact for c, _ in books.world.follow_ups):
            continue
        for entry in entries:
            verdicts = books.verdicts(entry)
            if not verdicts or verdicts[-1].result.reached is not Reached.WRONG_PERSON:
                continue
            told_at = verdicts[-1].answered_at
            for later in entries:
                if later is not entry and books.claimed_at(later) > told_at:
                    yield f"I3 {later.sid} was decided on after {told_at:.3f}: a wrong person"


def none_while_held(books: Books) -> Iterator[str]:
    """No request leaves from when a restore is noticed until an operator has confirmed."""
    for since, until in books.world.held:
        for asked in books.world.provider.asked:
            if since + ON_THEIR_WAY_S < asked.sent_at < until:
                yield f"I3 {asked.tag} was asked for at {asked.sent_at:.3f}, and dialling was held"


def _is_owed_one(answered: Sequence[float], asked: Sequence[float]) -> bool:
    """Tell whether more follow-ups were asked for since some moment than calls reached them."""
    return any(
        sum(at >= since for at in asked) > sum(at >= since for at in answered) for since in asked
    )


def none_outside_the_window(books: Books) -> Iterator[str]:
    """I4: no request leaves outside the hours, nor so late that it would ring after them."""
    world = books.world
    if not world.place.is_enforced:
        return
    open_ = places.stretches(world.place)
    ring_s = world.rules.ring_timeout.total_seconds()
    until = FAR if world.hours_changed_at is None else world.hours_changed_at
    for asked in world.provider.asked:
        if asked.sent_at < until and not any(
            opens <= asked.sent_at <= closes - ring_s for opens, closes in open_
        ):
            yield f"I4 {asked.tag} was asked for at {asked.sent_at:.3f}, outside the hours"


def none_after_a_command(books: Books) -> Iterator[str]:
    """I5: after a pause or cancel was answered only the calls it reported are asked for.

    And those at once: whoever was told so knows after two seconds what there is. A stop of all
    dialling takes no campaign's lock and says no more than that.
    """
    world = books.world
    calls = world.server.tables["calls"]
    for command in world.commands:
        late = 0
        for asked in world.provider.asked:
            if not command.answered_at < asked.sent_at < command.until:
                continue
            call_id = ids.parse_id("exec", asked.tag)
            row = calls.get(call_id)
            if row is None or command.target not in _touched(row):
                continue
            late += 1
            after_s = asked.sent_at - command.answered_at
            is_stop = command.kind == "stop"
            if after_s > ON_THEIR_WAY_S or not (is_stop or call_id in command.open_calls):
                yield (
                    f"I5 {asked.tag} was asked for {after_s:.3f} s after the {command.kind} was"
                    " answered"
                )
        if late > command.in_progress and command.kind != "stop":
            yield f"I5 {late} requests after a {command.kind} that reported {command.in_progress}"


def _touched(row: Row) -> tuple[Any, ...]:
    return row["campaign_id"], row["batch_id"], row["organization_id"], EVERYBODY


def within_the_limits(books: Books) -> Iterator[str]:
    """I6: live calls never exceed a limit, that is the one which held when they were decided on."""
    tables = books.world.server.tables
    for table, column in (("campaigns", "campaign_id"), ("batches", "batch_id")):
        for key, owner in tables[table].items():
            history = books.world.limits.get(key, [(0.0, owner["concurrency_limit"])])
            moments = []
            for entry, _ in books.pairs:
                row = books.intent(entry)
                until = books.known_until(entry)
                if row is not None and row[column] == key and entry.placed_at < until:
                    moments.append((entry.placed_at, 1, entry))
                    moments.append((until, -1, entry))
            live: dict[str, float] = {}
            for at, by, entry in sorted(moments, key=lambda moment: moment[:2]):
                if by < 0:
                    live.pop(entry.sid, None)
                    continue
                # Whoever came last counted all others, and found room under the limit of then.
                live[entry.sid] = _limit_at(history, books.claimed_at(entry))
                most = max(live.values())
                if len(live) > most:
                    yield f"I6 {len(live)} live calls at {at:.3f}, the {table} allowed {most}"
                    break


def _limit_at(history: Sequence[tuple[float, int | None]], at: float) -> float:
    return [FAR if limit is None else limit for since, limit in history if since <= at][-1]


def none_on_absence_alone(books: Books) -> Iterator[str]:
    """I3: after a call whose end nobody told, its person is called again only if it was over.

    And if nobody had answered it. An empty list and a missing record together would say so of a
    call that is up.
    """
    asked_at = {asked.tag: asked.sent_at for asked in books.world.provider.asked}
    rows = books.world.server.tables["calls"]
    for entry, row in books.pairs:
        if row is None or row["evidence"] != "assumed" or books.was_lost(entry):
            continue
        if row["state"] == "released":
            continue  # it counts as no attempt: I7 says so of a call that was placed
        for other in rows.values():
            is_next = other["attempt"] == row["attempt"] + 1 and other["state"] != "released"
            if (other["batch_id"], other["position"]) != (row["batch_id"], row["position"]):
                continue
            sent_at = asked_at.get(ids.execution_id(other["id"]))
            if not is_next or sent_at is None or other["kind"] == "follow_up":
                continue
            was_up = entry.ended_at is None or entry.ended_at > sent_at
            was_reached = entry.answered_at is not None and entry.answered_at <= sent_at
            was_reached = was_reached and not books.was_told_otherwise(entry, sent_at)
            if was_up or (was_reached and not books.is_beyond_anybody(entry)):
                yield (
                    f"I3 {entry.sid} was taken for gone, and its person called again at"
                    f" {sent_at:.3f}: answered {entry.answered_at}, ended {entry.ended_at}"
                )


def the_audit_faults_only_contradictions(books: Books) -> Iterator[str]:
    """I7: judged by records of which some are lost, beside the list, nothing right is a fault."""
    world = books.world
    if world.is_restored or not world.provider.has_records:
        return  # what is settled, and under other ids, is judged elsewhere
    records = [x for x in map(world.provider.detail_record, world.provider.ledger) if x]
    listed = [x for x in map(world.provider.live_record, world.provider.ledger) if x]
    wrong = {one.split()[1] for one in every_call_has_its_row(books)}
    found = audit_ledger.judge_records(records, audited(world), listed)
    for violation in found.violations:
        sid = next(name for name in violation.ids if name.startswith("call_sid")).split()[1]
        entry = world.provider.find(sid)
        if sid not in wrong and (entry is None or not books.is_unknowable(entry)):
            yield f"I7 the audit faults {sid}, of which the ledger says the same: {violation.what}"


def every_call_has_its_row(books: Books) -> Iterator[str]:
    """I7: each call of the provider has a row, with the outcome that the provider saw."""
    for entry, row in books.pairs:
        if row is None:
            if not books.was_lost(entry):
                yield f"I7 {entry.sid} has no row"
            continue
        if row["state"] == "released":
            yield f"I7 {entry.sid} was placed, and its row says it was never sent"
            continue
        if row["state"] != "ended":
            continue  # I9 says so
        wanted = _wanted(books, entry)
        if row["outcome"] in wanted or books.is_unknowable(entry):
            continue
        is_held = row["hangup_reason"] == "outcome_unknown" and not entry.acknowledged
        # Given up while it was up, or so soon after its end that its record was not written yet.
        if is_held and books.given_up_at(entry) < books.world.provider.recorded_at(entry):
            continue
        if is_held and (entry.is_unrecorded or not books.world.provider.has_records):
            continue
        yield (
            f"I7 {entry.sid} ended {entry.sip_status}, its row says {row['outcome']}"
            f" ({row['hangup_reason']}, {row['evidence']})"
        )


# What an answered call comes to, by who picked up.
REACHED: Final = {
    Reached.PERSON: "completed",
    Reached.MACHINE: "voicemail",
    Reached.WRONG_PERSON: "failed",
}


def _wanted(books: Books, entry: Entry) -> set[str]:
    """Give the outcomes that are right: what the agent said last, if it was thanked for all."""
    verdicts = books.verdicts(entry)
    said = [REACHED[s.result.reached] for s in verdicts if s.result.reached]
    if not said:
        return OUTCOMES.get(entry.sip_status or 0, {"failed"})
    is_all_heard = all(s.answered_at < FAR for s in verdicts) and not books.world.is_restored
    return {said[-1]} if is_all_heard else {"completed", *said}


def within_the_attempts(books: Books) -> Iterator[str]:
    """I8, I14: no person is called more often than the rules say, nor followed up more often."""
    tables = books.world.server.tables
    for contact, entries in books.by_contact().items():
        batch = tables["batches"][contact[0]]
        policy = tables["campaigns"][batch["campaign_id"]]["retry_policy"]
        override = batch["max_retries_override"]
        most = books.world.retries_max.get(batch["campaign_id"], policy["max_retries"])
        budget = 1 + (most if override is None else override)
        promised = sum(c == contact for c, _ in books.world.follow_ups)
        if not books.world.is_restored:  # a restored database forgets promises, too
            campaign = tables["campaigns"][batch["campaign_id"]]
            promised = min(promised, campaign["max_follow_ups"])
        carrier = sum(
            ((entry.sip_status or 0) >= 500 and entry.sip_status not in {600, 603, 607})
            or entry.sip_status == 603
            for entry in entries
        )
        allowed = budget * (1 + promised) + min(carrier, CARRIER_FAILURES_MAX)
        if len(entries) > allowed:
            yield f"I8 contact {contact[1]} was called {len(entries)} times, allowed {allowed}"


def numbers_rest(books: Books) -> Iterator[str]:
    """I13: two calls to one number out of different batches, and follow-ups, keep their gap."""
    by_number: dict[str, list[tuple[Entry, Row]]] = defaultdict(list)
    for entry, row in books.pairs:
        if row is not None:
            by_number[entry.to].append((entry, row))
    for pairs in by_number.values():
        for n, (later, row) in enumerate(pairs):
            gap_s = _gap_s(books, row)
            for earlier, before in pairs[:n]:
                if books.was_lost(earlier) or books.was_lost(later):
                    continue  # what a database has forgotten it cannot keep away from
                if not _must_rest(books, (later, row), before, pairs[:n]):
                    continue
                ended_at = _known_end_s(books, earlier, before)
                if books.claimed_at(later) - ended_at < gap_s - FOUND_S:
                    yield (
                        f"I13 ...{later.to[-4:]}: {later.sid} was decided on at"
                        f" {books.claimed_at(later):.3f}, {earlier.sid} ended at {ended_at:.3f},"
                        f" and {gap_s:.0f} s must lie between"
                    )


def _gap_s(books: Books, row: Row) -> float:
    own = books.world.server.tables["campaigns"][row["campaign_id"]]["number_gap_minutes"]
    return books.world.number_gap.total_seconds() if own is None else float(own * 60)


def _must_rest(
    books: Books, later: tuple[Entry, Row], before: Row, earlier: Sequence[tuple[Entry, Row]]
) -> bool:
    entry, row = later
    if row["organization_id"] != before["organization_id"]:
        return False  # one tenant must not learn of another's calls by its own waits
    if row["batch_id"] != before["batch_id"]:
        return True
    own = [(e, r) for e, r in earlier if _contact_of(r) == _contact_of(row)]
    if row["kind"] != "follow_up" or not own or _contact_of(before) != _contact_of(row):
        return False
    # A follow-up's second try keeps the campaign's cooldown instead, even if its first one turns
    # out later to have reached the person.
    last, last_row = own[-1]
    is_first_try = books.was_told_reached(last, books.claimed_at(entry))
    return is_first_try and last_row["outcome"] == "completed"


def _contact_of(row: Row) -> tuple[uuid.UUID, int]:
    return row["batch_id"], row["position"]


def _known_end_s(books: Books, entry: Entry, row: Row) -> float:
    """When a call ended: as the provider saw it, or as Apollo had to assume if that is earlier."""
    ended_at = FAR if entry.ended_at is None else entry.ended_at
    if row["evidence"] == "assumed":
        assumed = (row["ended_at"] - books.world.place.start).total_seconds()
        ended_at = min(ended_at, float(assumed))
    return ended_at


def everything_ends(books: Books) -> Iterator[str]:
    """I9: with the faults gone every contact becomes final and every slot is free."""
    tables = books.world.server.tables
    for key, contact in tables["contacts"].items():
        if contact["status"] not in FINAL:
            due = tables["due_contacts"].get(key)
            yield f"I9 contact {key[1]} stays {contact['status']}, {due and due['due_at']}"
    for call in tables["calls"].values():
        if call["ended_at"] is None:
            yield f"I9 a call stays {call['state']}, deadline {call['deadline_at']}"
    for batch in tables["batches"].values():
        if batch["status"] not in {"completed", "cancelled", "expired"}:
            yield f"I9 a batch stays {batch['status']}"
    if books.world.held_since() is not None:
        yield "I9 all dialling waits for an operator, and no database was restored"
    for key in tables["due_contacts"]:
        yield f"I9 contact {key[1]} is final and still queued"


def counters_are_right(books: Books) -> Iterator[str]:
    """I11: what is counted on the way equals a recount."""
    tables = books.world.server.tables
    recount: Counter[tuple[uuid.UUID, str]] = Counter()
    attempts: Counter[tuple[uuid.UUID, int]] = Counter()
    for call in tables["calls"].values():
        campaign, is_follow_up = call["campaign_id"], call["kind"] == "follow_up"
        if call["state"] != "released":
            recount[campaign, "attempts"] += 1
            recount[campaign, "follow_up_attempts"] += is_follow_up
            attempts[call["batch_id"], call["position"]] += 1
        if call["outcome"] is not None:
            recount[campaign, call["outcome"]] += 1
            recount[campaign, "follow_up"] += is_follow_up
    for counted in recount.keys() | books.world.server.call_counters.keys():
        shown, real = books.world.server.call_counters[counted], recount[counted]
        if shown != real:
            yield f"I11 {counted[1]}: counted {shown}, there are {real}"
    for key, contact in tables["contacts"].items():
        if contact["attempts"] != attempts[key]:
            yield f"I11 contact {key[1]}: {contact['attempts']} attempts, {attempts[key]} calls"


def nobody_else_reaches_in(books: Books) -> Iterator[str]:
    """I12: what is another organisation's is not there for anybody else."""
    yield from books.world.intrusions


CHECKS: Final[Sequence[Callable[[Books], Iterator[str]]]] = (
    one_call_per_number,
    one_call_per_execution,
    none_after_an_answered_one,
    none_to_who_was_reached,
    none_to_a_wrong_person,
    none_while_held,
    none_outside_the_window,
    none_after_a_command,
    within_the_limits,
    none_on_absence_alone,
    the_audit_faults_only_contradictions,
    every_call_has_its_row,
    within_the_attempts,
    numbers_rest,
    everything_ends,
    counters_are_right,
    nobody_else_reaches_in,
)


class Acknowledged:
    """I7, at the moment of the 200: what the provider was thanked for is written down."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        world.provider.on_acknowledged = self.check

    def check(self, entry: Entry, status: str) -> None:
        """Judge one acknowledged webhook."""
        row = self.world.server.tables["calls"].get(ids.parse_id("exec", entry.tag))
        if row is None and ids.parse_id("exec", entry.tag) in self.world.forgotten:
            return
        wanted = set(OUTCOMES.get(entry.sip_status or 0, {"failed"}))
        call_id = ids.parse_id("exec", entry.tag)
        words = [s.result.reached for s in self.world.said if s.call_id == call_id]
        wanted |= {REACHED[word] for word in words if word is not None}
        if status in ENDED and (row is None or row["outcome"] not in wanted):
            at, shown = self.world.loop.time(), None if row is None else row["outcome"]
            self.violations.append(
                f"I7 {entry.sid}: {status} ({entry.sip_status}) was acknowledged at {at:.3f},"
                f" its row says {shown}"
            )


class FinalStays:
    """I10: watches every commit; a final contact changes only through a recorded correction.

    Or because a row of endings was the set-up's fault, which is noted in its batch's history.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self.commits = 0
        world.server.watchers.append(self.watch)

    def watch(self, transaction: Transaction, commit: Commit) -> None:
        """Judge one commit."""
        del transaction
        self.commits += 1
        for (table, key), before in commit.before.items():
            after = commit.after[table, key]
            if table != "contacts" or before is None or after is None:
                continue
            if before["status"] not in FINAL or after["status"] == before["status"]:
                continue
            if after["status"] == "followup_scheduled" or _has_correction(commit, key):
                continue
            if _is_set_back(commit, key):
                continue
            at = self.world.loop.time()
            self.violations.append(
                f"I10 contact {key[1]}: {before['status']} -> {after['status']} at {at:.3f}"
            )


class QueueIsTrue:
    """I9: watches every commit; who waits is queued, and nobody on a call or done is."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        world.server.watchers.append(self.watch)

    def watch(self, transaction: Transaction, commit: Commit) -> None:
        """Judge one commit."""
        del transaction
        tables = self.world.server.tables
        for key in {key for table, key in commit.after if table in {"contacts", "due_contacts"}}:
            contact, due = (
                commit.after[table, key] if (table, key) in commit.after else tables[table].get(key)
                for table in ("contacts", "due_contacts")
            )
            # Who was never called may be queued, or stand behind the cursor.
            if contact is None or contact["status"] == "pending":
                continue
            if (due is not None) != (contact["status"] in WAITING):
                at, queued = self.world.loop.time(), "is" if due else "is not"
                self.violations.append(
                    f"I9 contact {key[1]} is {contact['status']} and {queued} queued at {at:.3f}"
                )


def audited(world: World) -> AuditBooks:
    """Return what an audit compares of the tables: the calls alone."""
    calls = [
        OurCall(
            id=c["id"],
            contact=ContactKey(c["batch_id"], c["position"]),
            campaign_id=c["campaign_id"],
            provider=c["provider"],
            provider_call_id=c["provider_call_id"],
            number=c["phone_number"],
            kind=CallKind(c["kind"]),
            state=CallState(c["state"]),
            outcome=c["outcome"] and Outcome(c["outcome"]),
            reached=c["reached"] and Reached(c["reached"]),
            hangup_reason=c["hangup_reason"],
            requested_at=c["requested_at"],
            window_opens_at=c["requested_at"],
            window_closes_at=c["requested_at"],
            evidence=c["evidence"] and Evidence(c["evidence"]),
        )
        for c in sorted(world.server.tables["calls"].values(), key=lambda c: c["requested_at"])
    ]
    numbers = {n for c in world.server.tables["campaigns"].values() for n in c["phone_numbers"]}
    return AuditBooks(
        calls=calls,
        campaigns={},
        changes=[],
        contacts=0,
        lost_contacts=[],
        changed_finals=[],
        wrong_counters={},
        batches=0,
        caller_ids=frozenset(numbers),
    )


def _has_correction(commit: Commit, contact: tuple[uuid.UUID, int]) -> bool:
    return any(
        before["outcome"] is not None
        and before["outcome"] != after["outcome"]
        and after["state"] == "ended"
        and not _blames_the_set_up(before, after)
        for before, after in _calls_of(commit, contact)
    )


def _is_set_back(commit: Commit, contact: tuple[uuid.UUID, int]) -> bool:
    """Tell whether a call that reached nobody became the set-up's fault, and that was noted."""
    is_noted = any(
        table == "actions"
        and row is not None
        and row["action"] == "contacts_set_back"
        and row["batch_id"] == contact[0]
        for (table, _), row in commit.after.items()
    )
    return is_noted and any(
        _blames_the_set_up(before, after) and after["answered_at"] is None
        for before, after in _calls_of(commit, contact)
    )


def _blames_the_set_up(before: Row, after: Row) -> bool:
    is_changed = before["state"] == "ended" and before["hangup_reason"] != after["hangup_reason"]
    return is_changed and after["hangup_reason"] in SET_UP_REASONS


def _calls_of(commit: Commit, contact: tuple[uuid.UUID, int]) -> Iterator[tuple[Row, Row]]:
    """Give the calls of a contact that a commit changed, as they were and as they are."""
    for (table, key), before in commit.before.items():
        after = commit.after[table, key]
        if table != "calls" or before is None or after is None:
            continue
        if (before["batch_id"], before["position"]) == contact:
            yield before, after
