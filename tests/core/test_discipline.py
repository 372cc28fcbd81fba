"""Every rule of the diagnosis keeps the discipline of evidence, and errors of inference are caught.

Each law says how the answer may move when the facts move. It is checked on the case of every rule
and on generated systems with calls of the batch and of its neighbours. The mutants at the end make
the classic errors on purpose: each must break the law that forbids it.
"""

import dataclasses
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.core.evidence_cases import CALLER_IDS, NOW, ago, ended, worker
from tests.core.test_diagnosis import CAMPAIGN, CASES, dispatched, pending, snapshot, systems

from apollo.core.diagnosis import Diagnosis, calls, evidence, explain
from apollo.core.diagnosis.evidence import Claim
from apollo.core.diagnosis.reported import EndedCall, Neighbour
from apollo.core.diagnosis.rule import Rule
from apollo.core.diagnosis.rules import RULES, carrier, webhooks
from apollo.core.diagnosis.snapshot import Ending, Snapshot, Tally
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Reason, Severity
from apollo.core.states import BatchStatus, ContactStatus, Outcome

HOUR = timedelta(hours=1)
STRANGER = uuid.UUID(int=77)
LISTENING = (worker(), worker(role="web", started_at=ago(9_000), provider=None))
# The rules that conclude from calls of the batch, and from nothing that has to be read elsewhere.
ABOUT_CALLS = frozenset(
    {
        Reason.ANSWERED_THEN_DROPPED,
        Reason.CARRIER_REJECTS,
        Reason.CALLER_ID_INVALID,
        Reason.CALLER_ID_BLOCKED,
        Reason.WEBHOOKS_NOT_ARRIVING,
        Reason.WEBHOOKS_LATE,
        Reason.STATUS_NEVER_ENDS,
    }
)
# One call of each bad kind.
BAD: dict[str, dict[str, Any]] = {
    **{
        f"SIP {code}": {"outcome": Outcome.FAILED, "sip_status": code, "duration_s": None}
        for code in (401, 403, 404, 407, 408, 410, 415, 480, 484, 488, 500, 502, 503, 504, 606, 607)
    },
    "dropped": {"duration_s": 1, "hangup_by": "agent"},
    "unheard": {"evidence": "poll", "heard_at": None},
    "late": {"requested_at": ago(60), "heard_at": ago(40)},
    "end not told": {"evidence": "poll"},
}


def bad(kind: str, number: int) -> tuple[EndedCall, ...]:
    return ended(number, **BAD[kind])


def neighbours(number: int, *, is_bad: bool, whose: uuid.UUID = STRANGER) -> tuple[Neighbour, ...]:
    """Calls of another batch, each refused by the carrier, or answered and spoken to."""
    return tuple(
        Neighbour(
            campaign_id=whose,
            batch_id=STRANGER,
            is_ours=True,
            from_number="+442079469999",
            requested_at=ago(n + 30),
            heard_at=ago(n + 29),
            ended_at=ago(n),
            answered_at=None if is_bad else ago(n + 20),
            outcome=Outcome.FAILED if is_bad else Outcome.COMPLETED,
            sip_status=503 if is_bad else 200,
            duration_s=None if is_bad else 20,
            evidence="webhook",
        )
        for n in range(number)
    )


def of_calls(*made: EndedCall, **known: Any) -> Snapshot:
    given_facts = {"processes": LISTENING, "ended": made, **known}
    return snapshot(pending(30), dispatched(1), **given_facts)


@st.composite
def with_calls(draw: st.DrawFn) -> Snapshot:
    """A live batch with some calls, newest first, of every kind, and a neighbour's sound ones."""
    kinds = draw(st.lists(st.sampled_from(["good", *BAD]), max_size=12))
    made = tuple(
        replace(
            ended(1, **BAD.get(kind, {}))[0],
            ended_at=ago(nth),
            from_number=draw(st.sampled_from(CALLER_IDS)),
        )
        for nth, kind in enumerate(kinds)
    )
    near = draw(st.sampled_from((CAMPAIGN, STRANGER)))
    good = neighbours(draw(st.integers(0, 6)), is_bad=False, whose=near)
    return of_calls(*made, neighbours=good)


def any_facts() -> st.SearchStrategy[Snapshot]:
    """The case of any rule, calls of any kind, or anything that tables could hold."""
    return st.one_of(st.sampled_from([case[0] for case in CASES.values()]), with_calls(), systems())


def laws(examples: int = 30) -> Callable[[Any], Any]:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    phases = [Phase.explicit, Phase.generate]
    return settings(
        phases=phases, max_examples=examples, deadline=None, suppress_health_check=checks
    )


def serious(answer: Diagnosis) -> set[Reason]:
    return {r.code for r in answer.reasons if r.severity is not Severity.INFO}


def shifted(facts: Any, by: timedelta) -> Any:
    """The same facts, everything so much later."""
    if isinstance(facts, datetime):
        return facts + by
    if isinstance(facts, tuple) and not hasattr(facts, "_fields"):
        return tuple(shifted(one, by) for one in facts)
    if dataclasses.is_dataclass(facts) and not isinstance(facts, type):
        moved = {f.name: shifted(getattr(facts, f.name), by) for f in dataclasses.fields(facts)}
        return replace(facts, **moved)
    return facts


# ------------------------------------------------------------------------------------------- laws


def check_scope(facts: Snapshot, failures: int = 9) -> None:
    """A neighbour's failures head nothing here, unless the connection is what is named."""
    before = explain(facts)
    theirs = neighbours(failures, is_bad=True)
    after = explain(replace(facts, neighbours=(*(facts.neighbours or ()), *theirs)))
    first, was = after.reasons[:1], before.reasons[:1]
    if [r.code for r in first] != [r.code for r in was]:
        assert first
        assert first[0].evidence.get("scope") in {"campaign", "connection"}, first
        assert any(calls.failed_with(call) for call in facts.ended or ()), first
    assert {r.code for r in before.reasons if r.severity is not Severity.INFO} <= {
        r.code for r in after.reasons
    } | {Reason.CALLER_ID_INVALID}


def check_quorum(kind: str) -> None:
    """One result of one is said, and is not certain."""
    answer = explain(of_calls(*bad(kind, 1)))
    told = [r for r in answer.reasons if r.code in ABOUT_CALLS]
    assert told, kind
    assert all(r.severity is not Severity.CRITICAL for r in told)
    assert serious(answer) & ABOUT_CALLS


def check_freshness(facts: Snapshot) -> None:
    """Thirty good calls since end whatever calls proved."""
    since = ended(30, first=500, requested_at=NOW, heard_at=NOW, answered_at=NOW, ended_at=NOW)
    since = tuple(
        replace(good, from_number=caller_id) for good in since for caller_id in CALLER_IDS
    )
    facts = replace(facts, ended=(*since, *(facts.ended or ())), live=(), shut_gates=())
    assert not serious(explain(facts)) & ABOUT_CALLS


def check_time(facts: Snapshot, by: timedelta) -> None:
    """All times moved together move times, and nothing else."""
    always = replace(facts.campaign, hours=CASES[Reason.BATCH_PAUSED][0].campaign.hours)
    facts = replace(facts, campaign=always)
    here, there = explain(facts), explain(shifted(facts, by))
    assert there.verdict is here.verdict
    assert there.accounting == here.accounting
    assert [(r.code, r.severity, r.contacts) for r in there.reasons] == [
        (r.code, r.severity, r.contacts) for r in here.reasons
    ]
    assert [r.since for r in there.reasons] == [shifted(r.since, by) for r in here.reasons]


def check_nobody_listening(number: int) -> None:
    """Without an API process that would have heard them, unheard calls prove nothing."""
    unheard = bad("unheard", number)
    for web in ((), (worker(role="web", started_at=ago(1), provider=None),)):
        answer = explain(of_calls(*unheard, processes=(worker(), *web)))
        assert Reason.WEBHOOKS_NOT_ARRIVING not in {r.code for r in answer.reasons}


def check_headings(facts: Snapshot, without: Reason | None = None) -> None:
    """The sum closes under gates that were found, and under waits of the contacts' own."""
    answer = explain(facts)
    sums = answer.accounting
    assert sums.unfinished == sums.on_call + sums.dialable_now + sum(sums.by_reason.values())
    for code in sums.by_reason:
        assert code is Reason.ACCOUNTING_GAP or RULES[code].is_gate, code
    assert without not in sums.by_reason
    assert without not in {r.code for r in answer.reasons}


# -------------------------------------------------------------------------------------- the checks


@laws()
@given(any_facts(), st.integers(1, 30))
def test_a_neighbours_failures_never_become_the_batchs_own(facts: Snapshot, number: int) -> None:
    check_scope(facts, number)


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_call_alone_is_never_silent_and_never_certain(kind: str) -> None:
    check_quorum(kind)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("code", [403, 404, 488, 503])
def test_a_batch_that_is_over_says_how_it_ended_however_small(code: int, number: int) -> None:
    answer = explain(
        snapshot(
            Tally(ContactStatus.FAILED, None, number, ago(60), NOW),
            batch={"status": BatchStatus.COMPLETED},
            heads=(),
            endings=(Ending(Outcome.FAILED, code, "call_failed", number),),
        )
    )
    assert answer.reasons[0].code is Reason.HOW_IT_ENDED
    assert answer.reasons[0].severity is Severity.WARNING
    assert f"SIP {code}" in answer.tip


@laws()
@given(st.one_of(st.sampled_from([case[0] for case in CASES.values()]), with_calls()))
def test_good_calls_since_end_what_calls_proved(facts: Snapshot) -> None:
    check_freshness(facts)


@laws()
@given(any_facts(), st.sampled_from((HOUR, -HOUR, 1000 * HOUR)))
def test_all_times_moved_together_change_only_times(facts: Snapshot, by: timedelta) -> None:
    check_time(facts, by)


@pytest.mark.parametrize("number", [1, 2, 3, 30])
def test_silence_proves_nothing_where_nobody_listened(number: int) -> None:
    check_nobody_listening(number)


@laws()
@given(any_facts())
def test_every_heading_of_the_sum_is_a_gate(facts: Snapshot) -> None:
    check_headings(facts)


# What a contact waits for by itself is counted from what is stored with it, not from the gate.
OWN_WAITS = {
    Reason.RETRY_NOT_DUE,
    Reason.FOLLOW_UP_NOT_DUE,
    Reason.DUPLICATE_NUMBER_BLOCKED,
    Reason.NUMBER_RESTING,
}
GATES = [code for code, rule in RULES.items() if rule.is_gate and code not in OWN_WAITS]


@pytest.mark.parametrize("code", GATES)
def test_a_gate_that_is_gone_takes_its_heading_with_it(
    code: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rules_but(monkeypatch, replace(RULES[code], find=lambda _: None))
    check_headings(CASES[code][0], without=code)


def test_one_call_of_a_neighbour_does_not_make_it_the_connection() -> None:
    failed = of_calls(*bad("SIP 503", 3))
    for number, said in ((1, "Too few calls of others"), (9, "so it is the connection")):
        answer = explain(replace(failed, neighbours=neighbours(number, is_bad=True)))
        assert said in answer.tip


def test_where_others_are_heard_of_the_way_to_apollo_is_not_suspected() -> None:
    unheard = of_calls(*bad("unheard", 4), neighbours=neighbours(5, is_bad=False))
    assert explain(unheard).tip.startswith("Look at how these calls report")


def test_what_could_not_be_read_is_not_called_nothing() -> None:
    blind = replace(of_calls(), open_calls=None, stale_inputs=("open_calls",))
    assert explain(blind).tip.startswith("Ask again in a few seconds: open_calls could not be read")


# ----------------------------------------------------------------------------------------- mutants


def _rules_but(monkeypatch: pytest.MonkeyPatch, changed: Rule) -> None:
    module = __import__("apollo.core.diagnosis.explain", fromlist=["RULES"])
    monkeypatch.setattr(module, "RULES", {**RULES, changed.reason: changed})


def _takes_neighbours_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = calls.own_calls

    def all_calls(view: View) -> list[calls.Call]:
        return [*own(view), *(view.snapshot.neighbours or ())]

    for module in (calls, carrier, webhooks):
        monkeypatch.setattr(module, "own_calls", all_calls)


def _is_silent_below_three(monkeypatch: pytest.MonkeyPatch) -> None:
    weigh = evidence.weigh

    def shy(found: evidence.Sample, need: evidence.Need, now: datetime) -> Claim:
        return Claim.CLEAR if found.of < need.quorum else weigh(found, need, now)

    for module in (carrier, webhooks):
        monkeypatch.setattr(module, "weigh", shy)


def _never_looks_at_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(found: evidence.Sample, need: evidence.Need, _: datetime) -> Claim:
        return Claim.HOLDS if found.share.value > need.above else Claim.CLEAR

    monkeypatch.setattr(carrier, "weigh", stale)


def _takes_silence_for_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(View, "was_listening", lambda *_: True)


def _reads_a_clock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    weigh = evidence.weigh
    monkeypatch.setattr(carrier, "weigh", lambda found, need, _: weigh(found, need, NOW + HOUR / 2))


def _counts_under_a_symptom(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES[Reason.WEBHOOKS_LATE]

    def holding(view: View) -> Any:
        found = rule(view)
        return None if found is None else replace(found, is_holding=True)

    _rules_but(monkeypatch, replace(rule, find=holding))


OVER = of_calls(*ended(4, ended_at=NOW), *ended(9, Outcome.FAILED, sip_status=503))
MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], None]]] = [
    (_takes_neighbours_for_its_own, lambda: check_scope(of_calls(*ended(3)), 30)),
    (_is_silent_below_three, lambda: check_quorum("SIP 503")),
    (_never_looks_at_the_newest, lambda: check_freshness(of_calls(*bad("SIP 503", 90)))),
    (_takes_silence_for_proof, lambda: check_nobody_listening(3)),
    (_reads_a_clock_of_its_own, lambda: check_time(OVER, HOUR)),
    (_counts_under_a_symptom, lambda: check_headings(CASES[Reason.WEBHOOKS_LATE][0])),
]


@pytest.mark.parametrize(("break_it", "law"), MUTANTS, ids=[m.__name__ for m, _ in MUTANTS])
def test_an_error_of_inference_breaks_its_law(
    break_it: Callable[[pytest.MonkeyPatch], None],
    law: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    law()
    break_it(monkeypatch)
    with pytest.raises(AssertionError):
        law()
