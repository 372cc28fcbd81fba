"""The edges of the rules about processes, the database and ended calls: where they stay silent."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.core.evidence_cases import (
    BATCH,
    BLOCKER,
    BUSY,
    CALLER_IDS,
    DROPPED,
    FAILED,
    HOOK,
    NO_ANSWER,
    NOW,
    OTHER,
    SID,
    TOLD,
    ago,
    decided,
    ended,
    worker,
)

from apollo.core.diagnosis import explain
from apollo.core.diagnosis.evidence import Share
from apollo.core.diagnosis.reported import (
    ApplicationHook,
    CallHook,
    DatabaseHealth,
    HookCounts,
    LiveList,
    Neighbour,
    ProviderHealth,
    WriteFault,
)
from apollo.core.diagnosis.snapshot import (
    BatchFacts,
    CampaignFacts,
    Head,
    HeldByCarrier,
    OnCall,
    OpenCalls,
    Snapshot,
    Tally,
)
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus
from apollo.core.windows import parse_working_hours
from apollo.core.words import fill

# An API that has been listening all the time.
WEB = worker(role="web", started_at=ago(9_000), provider=None, last_claim_at=None)


def codes(**known: Any) -> list[str]:
    """The reasons of a batch with 30 pending contacts and one on a call."""
    return [reason.code.value for reason in explain(batch(**known)).reasons]


def batch(**known: Any) -> Snapshot:
    given: dict[str, Any] = {
        "read_at": NOW,
        "settings": TOLD,
        "batch": BatchFacts(
            id=BATCH, status=BatchStatus.IN_PROGRESS, total_contacts=31, ready_at=ago(1200)
        ),
        "campaign": CampaignFacts(
            id=BATCH,
            hours=parse_working_hours({}, enforced=False, timezone="Asia/Kolkata"),
            concurrency_limit=100,
        ),
        "tallies": (
            Tally(ContactStatus.PENDING, None, 30, ago(1200), ago(1200)),
            Tally(ContactStatus.DISPATCHED, None, 1, ago(60), ago(60)),
        ),
        "open_calls": (OpenCalls(batch_id=BATCH, calls=1, oldest_at=ago(60)),),
        "on_call": (OnCall(ContactStatus.DISPATCHED, 1, ago(60)),),
        "heads": (Head(2, ago(1200), is_fresh=True),),
        "processes": (worker(), WEB),
    }
    return Snapshot(**(given | known))


@pytest.mark.parametrize(
    "known",
    [
        {"ended": ended(200)},
        {"ended": ended(54) + ended(16, NO_ANSWER) + ended(9, BUSY) + ended(3, FAILED)},
        {"ended": ended(5, FAILED, sip_status=503) + ended(40, ended_at=ago(60))},
        {"ended": ended(24, duration_s=1, hangup_by="callee")},
        {"ended": DROPPED[:1] + ended(20)},
        {"ended": ended(1, evidence="assumed") + ended(8)},
        {"ended": ended(1, evidence="poll", heard_at=None) + ended(8)},
        {"ended": ended(6, FAILED, sip_status=608) + ended(60, ended_at=ago(60))},
        {"processes": (worker(loop_lag_s=4.0, slowest_claim_s=0.4, clock_skew_s=1.5),)},
        {"processes": (worker(last_claim_at=ago(29)),)},
        {"processes": (worker(last_claim_at=None, started_at=ago(20)),)},
        {"processes": (worker(last_claim_at=ago(90)), worker(pid=42))},
        {"database": DatabaseHealth(blockers=(replace(BLOCKER, since=ago(4)),))},
        {
            "processes": (
                worker(provider=ProviderHealth(provider="p", state="ok"), version="0.1.0"),
            )
        },
    ],
)
def test_what_happens_in_good_order_is_no_reason_to_worry(known: dict[str, Any]) -> None:
    assert codes(**known) == []


def test_a_worker_that_waits_for_the_database_or_the_pace_is_not_stuck() -> None:
    idle = worker(last_claim_at=ago(90))
    locked = DatabaseHealth(blockers=(BLOCKER,))
    assert codes(processes=(idle,), database=locked) == ["db_locks"]
    paced = DatabaseHealth(booked_ahead_s=(("jambonz", 99.0),))
    assert codes(processes=(idle,), database=paced) == []


def test_a_worker_that_hangs_again_and_again_is_told_and_holds_nobody() -> None:
    found = explain(batch(processes=(worker(loop_lag_s=7.2),))).reasons[0]
    assert found.code is Reason.WORKER_STUCK
    assert "hangs again and again, the last time for 7 s" in found.fix


def test_a_database_without_writes_silences_what_heartbeats_would_say() -> None:
    assert codes(database=DatabaseHealth(is_readonly=True), processes=()) == ["db_readonly"]


def test_a_full_disk_is_known_from_whichever_process_it_refuses() -> None:
    fault = WriteFault(sqlstate="53100", error="could not extend file", since=ago(9))
    assert codes(processes=(worker(write_faults=(fault,)),))[0] == "db_disk_full"
    other = replace(fault, sqlstate="57014")
    assert codes(processes=(worker(write_faults=(other,)),)) == []


def test_one_of_a_thing_is_not_many() -> None:
    text = "{a:call}, {b:call}, {c:request waits|requests wait}; {pid}"
    given = {"a": 1, "b": 2, "c": 1, "pid": 12345}
    assert fill(text, given) == "1 call, 2 calls, 1 request waits; 12345"


def test_the_providers_clock_is_compared_with_the_databases() -> None:
    off = ProviderHealth(provider="jambonz:7", state="ok", clock_offset_s=-8.0)
    assert codes(processes=(worker(provider=off, clock_skew_s=1.0),)) == ["clock_skew"]
    assert codes(processes=(worker(provider=off, clock_skew_s=3.5),)) == ["clock_skew"]
    assert codes(processes=(worker(provider=off, clock_skew_s=1.9, pid=9),)) == ["clock_skew"]
    small = replace(off, clock_offset_s=-4.0)
    assert codes(processes=(worker(provider=small),)) == []


@pytest.mark.parametrize("state", ["unauthorised", "down", "rate_limited"])
def test_a_fix_names_the_provider_in_words_and_the_evidence_its_account(state: str) -> None:
    off = ProviderHealth(provider="jambonz:7", state=state, clock_offset_s=-8.0, since=NOW)
    reasons = explain(batch(processes=(worker(provider=off),))).reasons
    assert {one.code for one in reasons} > {"clock_skew"}
    for one in reasons:
        assert "jambonz:7" in str(one.evidence)
        assert "jambonz:7" not in one.fix
        assert "he provider" in one.fix


def test_a_schema_of_another_version_is_told() -> None:
    assert codes(
        processes=(worker(schema_version=1),), database=DatabaseHealth(schema_version=2)
    ) == ["version_mismatch"]


def test_leaked_slots_matter_only_when_none_is_free_and_the_list_is_fresh() -> None:
    live = LiveList(listed_at=ago(5), listed=0, missing=((BATCH, 20),))
    assert codes(processes=(worker(live=live),)) == []
    full = OpenCalls(batch_id=BATCH, calls=100, oldest_at=ago(60))
    found = codes(processes=(worker(live=live),), open_calls=(full,))
    assert "concurrency_leaked" in found
    old = replace(live, listed_at=ago(31))
    assert "concurrency_leaked" not in codes(processes=(worker(live=old),), open_calls=(full,))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (HOOK, []),
        (HOOK.replace("rp=all", "rp=5xx"), []),
        (HOOK.partition("#")[0], ["webhook_retry_off"]),
        (HOOK.replace("rc=5", "rc=0"), ["webhook_retry_off"]),
        ("", ["status_hook_overridden"]),
    ],
)
def test_an_applications_hook_is_compared_with_ours(url: str, expected: list[str]) -> None:
    seen = ApplicationHook(application_sid=SID, checked_at=ago(5), url=url)
    known = batch(processes=(worker(applications=(seen,)),))
    answer = explain(replace(known, campaign=replace(known.campaign, application_sid=SID)))
    assert [reason.code.value for reason in answer.reasons] == expected
    # A batch whose agent has a hook of its own does not care.
    assert not explain(known).reasons


def test_a_conversation_proves_that_the_agent_can_be_reached() -> None:
    down = CallHook(call_hook="http://a.example/", checked_at=ago(1), error="refused")
    known = batch(processes=(worker(call_hooks=(down,)),))
    known = replace(known, campaign=replace(known.campaign, call_hook="http://a.example/"))
    few = explain(replace(known, ended=(*ended(1), *DROPPED[1:4]))).reasons
    assert Reason.AGENT_UNREACHABLE not in {reason.code for reason in few}
    assert explain(replace(known, ended=DROPPED[:3])).reasons[0].code is (Reason.AGENT_UNREACHABLE)


def test_the_same_code_for_every_caller_id_is_the_carriers_doing() -> None:
    refused = ended(12, FAILED, sip_status=403)
    other = ended(12, FAILED, sip_status=403, from_number=CALLER_IDS[1])
    assert codes(ended=refused + other) == ["carrier_rejects"]


def test_no_carrier_is_not_taken_for_a_blocked_caller_id() -> None:
    silent = ended(40, FAILED, sip_status=603, hangup_reason="no_carrier")
    assert codes(ended=silent) == ["carrier_rejects"]


SHUT = HeldByCarrier(
    scope="batch",
    sip_status=404,
    numbers=6,
    failed=6,
    carried=0,
    shut_at=ago(30),
    probe_at=ago(-5),
)


def test_calls_too_short_to_be_overdue_tell_of_lost_webhooks_once_their_end_was_looked_up() -> None:
    unheard = ended(9, evidence="poll", heard_at=None)
    assert codes(ended=unheard) == ["webhooks_not_arriving"]
    # Whatever reached the hook for others: these were not heard of.
    reached = replace(WEB, hooks=HookCounts(received=1, last_received_at=NOW))
    assert codes(ended=unheard, processes=(worker(), reached)) == ["webhooks_not_arriving"]
    assert codes(ended=unheard, processes=(worker(),)) == []


def test_what_our_own_api_could_not_hear_is_nobody_elses_fault() -> None:
    unheard = ended(9, evidence="poll", heard_at=None)
    started = replace(WEB, started_at=ago(5))
    assert codes(ended=unheard, processes=(worker(), started)) == ["api_was_away"]


def test_a_call_that_nobody_is_known_to_have_accepted_tells_of_no_lost_webhook() -> None:
    held = ended(9, FAILED, evidence="assumed", heard_at=None, hangup_reason="outcome_unknown")
    assert codes(ended=held) == []


def test_a_gate_that_is_shut_holds_the_batch_and_says_when_it_tries_again() -> None:
    failed = ended(3, FAILED, sip_status=404)
    answer = explain(batch(shut_gates=(SHUT,), ended=failed))
    assert [reason.code for reason in answer.reasons] == [Reason.CARRIER_REJECTS]
    assert answer.accounting.by_reason == {Reason.CARRIER_REJECTS: 30}
    shown = answer.reasons[0]
    assert "A single call tries at 2026-05-12T10:00:05Z" in shown.fix
    assert "6 of the last 6 calls failed with SIP 404 Not Found" in shown.fix
    assert "No phone rang at 6 different numbers in a row" in shown.fix
    assert "active, paid and has a route" in shown.fix
    assert codes(ended=failed) == ["carrier_rejects"]
    assert explain(batch(ended=failed)).accounting.by_reason == {}


def test_a_gate_that_another_batch_of_the_campaign_shut_is_said_to_be_the_campaigns() -> None:
    theirs = tuple(
        Neighbour(
            campaign_id=BATCH,
            batch_id=OTHER,
            is_ours=True,
            from_number="+1",
            requested_at=ago(40 + n),
            ended_at=ago(30 + n),
            outcome=FAILED,
            sip_status=503,
        )
        for n in range(7)
    )
    shut = replace(SHUT, scope="campaign", numbers=0, failed=7, sip_status=503, others=3)
    answer = explain(
        batch(shut_gates=(shut,), neighbours=theirs, ended=ended(1, FAILED, sip_status=404))
    )
    found = answer.reasons[0]
    assert (found.code, found.evidence["sip_status"]) == (Reason.CARRIER_REJECTS, 503)
    assert "Dialling of this campaign has been on hold" in found.fix
    assert "7 of the last 7 calls" in found.fix
    assert "3 other campaigns" in found.fix


def test_another_campaigns_failures_are_not_the_batchs() -> None:
    theirs = tuple(
        Neighbour(
            campaign_id=OTHER,
            batch_id=OTHER,
            is_ours=True,
            from_number="+1",
            requested_at=ago(40 + n),
            ended_at=ago(30 + n),
            outcome=FAILED,
            sip_status=503,
        )
        for n in range(20)
    )
    assert codes(neighbours=theirs, ended=ended(5)) == []


# ------------------------------------------------------------------------------------ no answer


def no_answer(**known: Any) -> dict[str, Any] | None:
    answer = explain(batch(**known))
    found = [reason for reason in answer.reasons if reason.code is Reason.NO_ANSWER_HIGH]
    return dict(found[0].evidence) | {"fix": found[0].fix} if found else None


MISSED: dict[str, Any] = {"rang_out": True}


def test_few_answers_are_high_only_against_something_or_over_four_fifths() -> None:
    assert no_answer(decided=decided(78, **MISSED) + decided(22)) is None
    assert no_answer(decided=decided(49, **MISSED)) is None
    assert no_answer(decided=decided(120, **MISSED)) is not None


def test_what_was_so_before_is_not_unusual() -> None:
    known = {"decided": decided(70, **MISSED) + decided(30), "earlier": decided(140, **MISSED)}
    assert no_answer(**known) is None


def test_a_difference_that_chance_makes_in_a_long_day_is_not_unusual() -> None:
    # 45 % after 30 %: once in two thousand looks, and a day has more of them.
    some = {"decided": decided(90, **MISSED) + decided(110)}
    assert no_answer(**some, earlier=decided(120, **MISSED) + decided(280)) is None
    many = {"decided": decided(110, **MISSED) + decided(90)}
    assert no_answer(**many, earlier=decided(120, **MISSED) + decided(280)) is not None


def test_the_other_batches_are_compared_with_where_there_is_no_past() -> None:
    found = no_answer(
        decided=decided(60, **MISSED) + decided(20),
        elsewhere=decided(20, **MISSED) + decided(80),
    )
    assert found is not None
    assert "against 20% of 100 of the campaign's other batches" in found["fix"]


def test_the_prefix_that_stands_out_is_named() -> None:
    bad = decided(40, number="+9199876{:05d}", **MISSED)
    good = decided(60) + decided(10, first=100, **MISSED)
    found = no_answer(decided=bad + good, earlier=decided(150, first=300))
    assert found is not None
    assert (found["stands_out"]["by"], found["stands_out"]["value"]) == ("prefix", "+91998")
    assert "stands out: 100% of its 40 calls" in found["fix"]


def test_the_hour_that_stands_out_is_the_callees() -> None:
    night = decided(60, requested_at=NOW - timedelta(hours=2), **MISSED)  # 13:30 in India
    found = no_answer(decided=night, earlier=decided(150, first=300))
    assert found is not None
    assert found["stands_out"] == {
        "by": "hour",
        "value": "13:00",
        "calls": 60,
        "no_answer": 60,
        "rate": 1.0,
    }


def test_where_no_group_differs_it_says_so() -> None:
    found = no_answer(decided=decided(120, **MISSED))
    assert found is not None
    assert found["stands_out"] is None
    assert "No hour, region, prefix or caller id stands out." in found["fix"]


@pytest.mark.parametrize(("hits", "of", "low"), [(0, 0, 0.0), (5, 10, 0.237), (50, 50, 0.929)])
def test_wilsons_bound_is_below_the_share(hits: int, of: int, low: float) -> None:
    assert Share(hits, of).at_least(1.96) == pytest.approx(low, abs=0.001)
