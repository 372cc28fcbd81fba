"""The carrier's gates: what shuts one, what it lets through, what opens it, whom it blames."""

import itertools
import uuid
from datetime import timedelta

import pytest
from tests.core.test_lifecycle import START

from apollo.core.carrier import (
    OPEN,
    ROW_MAX,
    ROW_MEANS_SET_UP,
    Gate,
    Scope,
    ScopeKind,
    ShutGate,
    is_first_sign,
    is_set_ups_fault,
    note_carried,
    note_failure,
    note_silent_end,
    pass_through,
    patience,
    probes_of,
    silent_family,
)
from apollo.core.events import CallEnded, Evidence, NumberRefused
from apollo.core.model import Call
from apollo.core.sip import Family
from apollo.core.states import CallKind, CallState, Outcome

N = ROW_MEANS_SET_UP[Family.NUMBER]
NUMBERS = itertools.count(10)


def call(number: int | None = None, **more: object) -> Call:
    given: dict[str, object] = {
        "id": uuid.uuid4(),
        "state": CallState.ENDED,
        "version": 1,
        "kind": CallKind.FIRST,
        "provider": "p",
        "phone_number": f"+141555501{next(NUMBERS) if number is None else number}",
        "from_number": "+14155552670",
        "requested_at": START,
        "sip_status": 404,
        **more,
    }
    return Call(**given)  # type: ignore[arg-type]


def ended(sip_status: int | None, evidence: Evidence = Evidence.WEBHOOK) -> CallEnded:
    return CallEnded(at=START, evidence=evidence, call_status="failed", sip_status=sip_status)


def after(gate: Gate, ends: int, *, under_way: int = 0, family: Family = Family.NUMBER) -> Gate:
    """Let so many different numbers end alike before they ring, one after the other."""
    for _ in range(ends):
        one = call()
        shuts = is_set_ups_fault(gate, one, family, (), under_way)
        gate = note_silent_end(gate, one, family, START, shuts=shuts)
    return gate


def shut_at(seconds: float = 0.0) -> Gate:
    return after(OPEN, N) if not seconds else Gate(shut_at=START, probe_at=START)


def test_one_number_after_the_other_that_does_not_exist_is_the_set_ups_fault() -> None:
    gate = after(OPEN, N - 1)
    assert not gate.is_shut
    assert is_set_ups_fault(gate, call(), Family.NUMBER, (), under_way=0)
    gate = after(gate, 1)
    assert gate.shut_at == START
    assert gate.probe_at == START + timedelta(seconds=5)
    assert (gate.failed, gate.sip_status, len(gate.row)) == (N, 404, N)


@pytest.mark.parametrize("family", Family)
def test_a_row_of_each_family_has_its_length(family: Family) -> None:
    assert not after(OPEN, ROW_MEANS_SET_UP[family] - 1, family=family).is_shut
    assert after(OPEN, ROW_MEANS_SET_UP[family], family=family).is_shut


def test_one_number_called_again_and_again_makes_no_row() -> None:
    gate = OPEN
    for _ in range(3 * N):
        gate = note_silent_end(gate, call(99), Family.NUMBER, START, shuts=False)
        assert not is_set_ups_fault(gate, call(99), Family.NUMBER, (), under_way=0)
    assert len(gate.row) == 1


def test_endings_of_another_family_begin_another_row() -> None:
    gate = after(after(OPEN, N - 1), 1, family=Family.CODEC)
    assert (gate.family, len(gate.row)) == (Family.CODEC, 1)


def test_a_phone_that_rings_ends_the_row() -> None:
    gate = note_carried(after(OPEN, N - 1), START)
    assert gate.row == ()
    assert not after(gate, N - 1).is_shut


def test_a_row_says_nothing_while_more_calls_may_still_ring() -> None:
    """What does not exist is told at once; a phone rings seconds later."""
    gate = after(OPEN, 3 * N, under_way=50)
    assert not gate.is_shut
    assert after(gate, 50 - 3 * N, under_way=50).is_shut


def test_a_row_is_remembered_no_further_than_it_has_to_be() -> None:
    gate = after(OPEN, ROW_MAX + 5, under_way=100_000)
    assert len(gate.row) == ROW_MAX
    assert gate.is_shut


def test_while_it_is_shut_each_further_ending_of_the_kind_is_the_set_ups() -> None:
    gate = after(OPEN, N)
    assert is_set_ups_fault(gate, call(), Family.NUMBER, (), under_way=100)
    assert not is_set_ups_fault(gate, call(), Family.CODEC, (), under_way=100)


def test_who_was_given_back_twice_and_fails_when_others_get_through_is_a_bad_number() -> None:
    gate = after(Gate(carried_at=START + timedelta(hours=1)), N - 1)
    again = call()
    before = [call(hangup_reason="no_route", requested_at=START + timedelta(n)) for n in (0, 0)]
    assert is_set_ups_fault(gate, again, Family.NUMBER, tuple(before[:1]), under_way=0)
    assert not is_set_ups_fault(gate, again, Family.NUMBER, tuple(before), under_way=0)
    later = (before[0], call(hangup_reason="no_route", requested_at=START + timedelta(hours=2)))
    assert is_set_ups_fault(gate, again, Family.NUMBER, later, under_way=0)


def test_a_carrier_that_fails_as_many_calls_as_it_carries_shuts_it() -> None:
    gate = OPEN
    for n in range(5):
        gate = note_failure(note_carried(gate, START), 503, START, under_way=0)
        assert gate.is_shut == (n == 4)
    assert (gate.failed, gate.carried, gate.sip_status) == (5, 4, 503)


@pytest.mark.parametrize(("failed", "carried"), [(4, 0), (5, 6), (7, 90)])
def test_a_few_calls_that_the_carrier_fails_do_not_shut_it(failed: int, carried: int) -> None:
    gate = Gate(since=START, carried=carried)
    for _ in range(failed):
        gate = note_failure(gate, 503, START, under_way=0)
    assert not gate.is_shut


def test_failures_count_little_while_many_calls_are_under_way() -> None:
    gate = OPEN
    for n in range(30):
        gate = note_failure(gate, 503, START, under_way=30 - n)
        assert gate.is_shut == (n + 1 >= 30 - n)
        if gate.is_shut:
            return
    raise AssertionError("it never shut")


def test_failures_of_an_earlier_minute_do_not_count_when_others_were_carried_since() -> None:
    gate = OPEN
    for n in range(10):
        at = START + timedelta(seconds=61 * n)
        gate = note_failure(note_carried(gate, at), 503, at, under_way=0)
    assert not gate.is_shut


def test_a_slow_campaign_whose_every_call_fails_is_held_too() -> None:
    gate = OPEN
    for n in range(5):
        gate = note_failure(gate, 503, START + timedelta(minutes=5 * n), under_way=0)
    assert gate.is_shut


def test_a_carrier_that_works_is_nothing_to_write_down() -> None:
    assert note_carried(OPEN, START) == OPEN
    quiet = Gate(carried_at=START)
    assert note_carried(quiet, START + timedelta(minutes=5)) == quiet


def test_a_call_that_the_carrier_takes_opens_it_and_old_failures_are_forgotten() -> None:
    gate = note_carried(after(OPEN, N), START)
    assert gate == Gate(carried_at=START)


def test_it_is_probed_less_often_the_longer_it_is_shut() -> None:
    waits = [
        patience(START, START + timedelta(seconds=s)).total_seconds()
        for s in (0, 20, 60, 120, 1200, 9_999)
    ]
    assert waits == [5, 5, 15, 30, 300, 300]


def test_a_probe_that_failed_at_once_is_followed_by_the_next_one_soon() -> None:
    probed = Gate(shut_at=START, probe_at=START + timedelta(seconds=35))
    at = START + timedelta(seconds=6)
    assert note_failure(probed, 503, at, under_way=0).probe_at == at + timedelta(seconds=5)
    early = Gate(shut_at=START, probe_at=START + timedelta(seconds=5))
    late_news = note_failure(early, 503, START + timedelta(seconds=1), under_way=0)
    assert late_news.probe_at == early.probe_at, "what had left before does not put off a probe"


# ------------------------------------------------------------------------------- what calls tell


@pytest.mark.parametrize(
    ("evidence", "sip_status", "family"),
    [
        (Evidence.WEBHOOK, 603, Family.DECLINED),
        (Evidence.RECORD, 603, None),
        (Evidence.WEBHOOK, 404, Family.NUMBER),
        (Evidence.RECORD, 404, Family.NUMBER),
        (Evidence.POLL, 488, Family.CODEC),
        (Evidence.WEBHOOK, 486, None),
        (Evidence.WEBHOOK, 503, None),
        (Evidence.WEBHOOK, None, None),
    ],
)
def test_a_decline_that_was_looked_up_may_have_rung(
    evidence: Evidence, sip_status: int | None, family: Family | None
) -> None:
    assert silent_family(call(), ended(sip_status, evidence)) is family
    assert silent_family(call(ringing_at=START), ended(sip_status, evidence)) is None


def test_a_number_that_the_provider_refuses_is_one_that_does_not_exist() -> None:
    refused = NumberRefused(at=START, evidence=Evidence.REPLY, reason="bad_number")
    assert silent_family(call(), refused) is Family.NUMBER


def test_the_first_sign_of_a_call_counts_once() -> None:
    placed = call(state=CallState.ACCEPTED)
    ringing = call(state=CallState.RINGING, ringing_at=START)
    assert is_first_sign(placed, ringing)
    assert not is_first_sign(ringing, call(outcome=Outcome.COMPLETED, answered_at=START))
    assert is_first_sign(placed, call(outcome=Outcome.BUSY, sip_status=486))
    assert not is_first_sign(placed, call(outcome=Outcome.FAILED, sip_status=404))
    assert not is_first_sign(placed, call(outcome=Outcome.NO_ANSWER, sip_status=None))


# -------------------------------------------------------------------------- what a claim may take

BATCHES = [uuid.UUID(int=n) for n in (1, 2, 3)]
OWN = Scope("p", ScopeKind.CAMPAIGN, uuid.UUID(int=9))
SOON, SINCE = START + timedelta(seconds=5), START - timedelta(seconds=60)


def of_batch(n: int, probe_at: object) -> ShutGate:
    return ShutGate(Scope("p", ScopeKind.BATCH, BATCHES[n]), SINCE, probe_at, 404)  # type: ignore[arg-type]


def test_no_shut_gate_holds_nobody() -> None:
    passage = pass_through([], START)
    assert passage.most(BATCHES[0], 40) == 40
    assert (passage.is_none, passage.is_one, passage.again_at) == (False, False, None)


def test_a_batch_that_is_held_holds_no_other_batch() -> None:
    passage = pass_through([of_batch(0, SOON), of_batch(1, START)], START)
    assert [passage.most(batch, 40) for batch in BATCHES] == [0, 1, 40]
    assert not passage.is_none


def test_a_campaign_that_is_held_sends_one_call_once_its_probe_is_due() -> None:
    held = ShutGate(OWN, SINCE, SOON, 503)
    waiting = pass_through([held, of_batch(0, START)], START)
    assert waiting.is_none
    assert waiting.again_at == SOON
    due = pass_through([held, of_batch(0, SOON + timedelta(days=1))], SOON)
    assert due.is_one
    assert due.most(BATCHES[0], 40) == 40, "its own gate decides alone"


def test_a_probe_is_noted_for_the_gate_that_it_was_let_through() -> None:
    own, other = ShutGate(OWN, SINCE, START, 503), of_batch(0, START)
    assert probes_of([own, other], {BATCHES[0]}, START) == {OWN: START + timedelta(seconds=30)}
    assert list(probes_of([other, of_batch(1, SOON)], {BATCHES[0]}, START)) == [other.scope]
    assert probes_of([other], {BATCHES[2]}, START) == {}
