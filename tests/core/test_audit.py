"""The judge of ledgers: silent about a right one, and noticing each way in which one is wrong."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apollo.core.audit import (
    Books,
    CampaignRules,
    Change,
    Finding,
    ListedCall,
    OurCall,
    WitnessedCall,
    judge,
)
from apollo.core.events import Evidence
from apollo.core.ids import ContactKey
from apollo.core.states import CallKind, CallState, Outcome
from apollo.core.windows import WEEKDAYS, parse_working_hours

NOON = datetime(2026, 5, 11, 12, 0, tzinfo=UTC)
CAMPAIGN, BATCH = uuid.UUID(int=1), uuid.UUID(int=2)
SECOND = timedelta(seconds=1)


def witnessed(nth: int, *, to: str = "", at: datetime = NOON, **more: object) -> WitnessedCall:
    call = WitnessedCall(
        provider_call_id=f"sid-{nth}",
        execution_id=uuid.UUID(int=100 + nth),
        number=to or f"+9198765432{nth:02}",
        requested_at=at,
        placed_at=at + SECOND / 100,
        rang_at=at + SECOND,
        answered_at=at + 2 * SECOND,
        ended_at=at + 9 * SECOND,
        call_status="completed",
        sip_status=200,
    )
    return replace(call, **more)  # type: ignore[arg-type]  # fields by name


def row(nth: int, *, position: int = 0, at: datetime = NOON, **more: object) -> OurCall:
    call = OurCall(
        id=uuid.UUID(int=100 + nth),
        contact=ContactKey(BATCH, position or nth),
        campaign_id=CAMPAIGN,
        provider="jambonz:test",
        provider_call_id=f"sid-{nth}",
        number=f"+9198765432{nth:02}",
        kind=CallKind.FIRST,
        state=CallState.ENDED,
        outcome=Outcome.COMPLETED,
        hangup_reason="answered",
        reached=None,
        requested_at=at - SECOND / 100,
        window_opens_at=NOON - timedelta(hours=3),
        window_closes_at=NOON + timedelta(hours=6),
    )
    return replace(call, **more)  # type: ignore[arg-type]  # fields by name


def books(*calls: OurCall, limit: int = 10, own: int | None = None, **more: object) -> Books:
    day = {"start": "09:00", "end": "18:00", "enabled": True}
    rules = CampaignRules(
        concurrency_limit=limit,
        hours=parse_working_hours(dict.fromkeys(WEEKDAYS, day), enforced=True, timezone="UTC"),
        max_retries=1,
        batch_limits={BATCH: own},
        batch_retries={BATCH: None},
    )
    whole = Books(
        calls=calls,
        campaigns={CAMPAIGN: rules},
        changes=[],
        contacts=len(calls),
        lost_contacts=[],
        changed_finals=[],
        wrong_counters={},
        batches=1,
    )
    return replace(whole, **more)  # type: ignore[arg-type]  # fields by name


def found(calls: list[WitnessedCall], ours: Books) -> dict[str, Finding]:
    return {one.invariant: one for one in judge(calls, ours)}


def violated(calls: list[WitnessedCall], ours: Books) -> list[str]:
    return [one.invariant for one in judge(calls, ours) if one.violations]


RETRIED = [
    witnessed(1, answered_at=None, call_status="busy", sip_status=486),
    witnessed(2, to="+919876543201", at=NOON + timedelta(minutes=30)),
]
RETRIED_ROWS = [
    row(1, outcome=Outcome.BUSY, hangup_reason="busy"),
    row(2, position=1, kind=CallKind.RETRY, at=NOON + timedelta(minutes=30)),
]


def test_a_right_ledger_has_no_violation_and_says_how_much_was_looked_at() -> None:
    findings = found([*RETRIED, witnessed(3)], books(*RETRIED_ROWS, row(3)))
    assert [one for one in findings.values() if one.violations] == []
    checked = {name: (one.checked, one.unit) for name, one in findings.items()}
    assert checked == {
        "I1": (3, "calls"),
        "I2": (3, "executions"),
        "I3": (2, "contacts"),
        "I4": (3, "requests"),
        "I5": (3, "requests"),
        "I6": (1, "limits"),
        "I7": (3, "calls"),
        "I8": (2, "contacts"),
        "I9": (3, "contacts"),
        "I10": (3, "contacts"),
        "I11": (1, "batches"),
    }


def test_two_calls_to_one_number_at_once_are_seen_whatever_lies_between() -> None:
    twin = witnessed(2, to="919876543201", at=NOON + 5 * SECOND)
    assert violated([witnessed(1), witnessed(3), twin], books(row(1), row(3), row(2))) == ["I1"]
    after = replace(twin, requested_at=NOON + 9 * SECOND, placed_at=NOON + 9 * SECOND)
    assert violated([witnessed(1), after], books(row(1), row(2))) == []


def test_two_calls_for_one_execution_are_seen_even_one_after_the_other() -> None:
    again = witnessed(2, at=NOON + timedelta(minutes=5), execution_id=uuid.UUID(int=101))
    findings = found([witnessed(1), again], books(row(1)))
    (violation,) = findings["I2"].violations
    assert violation.ids[1:] == ("call_sid sid-1", "call_sid sid-2")


def test_a_call_after_an_answered_one_is_seen_unless_it_is_a_follow_up() -> None:
    calls = [witnessed(1), witnessed(2, at=NOON + timedelta(minutes=5))]
    again = row(2, position=1, kind=CallKind.RETRY, at=NOON + timedelta(minutes=5))
    assert violated(calls, books(row(1), again)) == ["I3"]
    assert violated(calls, books(row(1), replace(again, kind=CallKind.FOLLOW_UP))) == []


@pytest.mark.parametrize("hour", [8, 18, 23])
def test_a_request_out_of_hours_is_seen(hour: int) -> None:
    at = NOON.replace(hour=hour, minute=1)
    assert violated([witnessed(1, at=at)], books(row(1, at=at))) == ["I4"]


def test_hours_that_were_changed_since_are_those_the_claim_saw() -> None:
    at = NOON.replace(hour=8, minute=30)
    changed = [Change(NOON, "campaign_changed", CAMPAIGN, None)]
    opened = row(1, at=at, window_opens_at=at - timedelta(hours=1))
    assert violated([witnessed(1, at=at)], books(opened, changes=changed)) == []
    assert violated([witnessed(1, at=at)], books(row(1, at=at), changes=changed)) == ["I4"]


@pytest.mark.parametrize("batch", [BATCH, None])
def test_a_request_after_a_pause_is_seen_unless_it_was_being_placed(
    batch: uuid.UUID | None,
) -> None:
    whose = "campaign" if batch is None else "batch"
    paused = Change(NOON - timedelta(seconds=5), f"{whose}_paused", CAMPAIGN, batch)
    resumed = Change(NOON - timedelta(seconds=3), f"{whose}_resumed", CAMPAIGN, batch)
    assert violated([witnessed(1)], books(row(1), changes=[paused])) == ["I5"]
    assert violated([witnessed(1)], books(row(1), changes=[paused, resumed])) == []
    # Two clocks do not tell whether a request came just before or just after.
    just = replace(resumed, at=NOON - timedelta(seconds=0.1))
    assert violated([witnessed(1)], books(row(1), changes=[paused, just])) == []
    before = row(1, requested_at=paused.at - SECOND)
    assert violated([witnessed(1)], books(before, changes=[paused])) == []


def test_more_live_calls_than_a_limit_are_seen_for_campaign_and_batch() -> None:
    calls = [witnessed(n, at=NOON + n * SECOND / 10) for n in (1, 2, 3)]
    rows = [row(n, at=NOON + n * SECOND / 10) for n in (1, 2, 3)]
    assert violated(calls, books(*rows, limit=3)) == []
    assert violated(calls, books(*rows, limit=2)) == ["I6"]
    assert violated(calls, books(*rows, limit=5, own=2)) == ["I6"]
    changed = [Change(NOON, "batch_changed", CAMPAIGN, BATCH)]
    finding = found(calls, books(*rows, limit=5, own=2, changes=changed))["I6"]
    assert (finding.violations, finding.checked) == ([], 1)
    assert finding.left_out


@pytest.mark.parametrize(
    "ours",
    [
        [],
        [row(1, outcome=Outcome.BUSY, hangup_reason="busy")],
        [row(1, state=CallState.RELEASED, outcome=None)],
        [row(1), row(2, at=NOON + SECOND / 2)],
    ],
    ids=["no row", "another outcome", "recorded as never sent", "a row nobody placed"],
)
def test_a_call_without_its_row_or_outcome_is_seen(ours: list[OurCall]) -> None:
    # The second request frames the ledger's time: before and after it nothing is judged.
    refused = witnessed(9, at=NOON + SECOND, placed_at=None)
    assert violated([witnessed(1), refused], books(*ours)) == ["I7"]


@pytest.mark.parametrize(("rang_at", "violations"), [(None, []), (NOON + SECOND, ["I7"])])
def test_a_decline_without_ringing_may_have_been_the_carriers(
    rang_at: datetime | None, violations: list[str]
) -> None:
    declined: dict[str, Any] = {
        "answered_at": None,
        "call_status": "busy",
        "sip_status": 603,
    }
    no_carrier = row(1, outcome=Outcome.FAILED, hangup_reason="no_carrier")
    assert violated([witnessed(1, rang_at=rang_at, **declined)], books(no_carrier)) == violations


def test_what_is_held_or_not_over_is_named_and_not_judged() -> None:
    held = row(1, outcome=Outcome.FAILED, hangup_reason="outcome_unknown")
    live = witnessed(2, ended_at=None)
    finding = found([witnessed(1), live], books(held, row(2, state=CallState.ANSWERED)))["I7"]
    assert finding.violations == []
    assert finding.left_out == "1 calls not over on both sides, 1 calls held as outcome_unknown"


def test_too_many_attempts_are_seen_and_carrier_failures_have_their_own_bound() -> None:
    def tries(sip: int, count: int) -> tuple[list[WitnessedCall], Books]:
        at = [NOON + n * timedelta(minutes=1) for n in range(count)]
        calls = [
            witnessed(n, at=at[n], answered_at=None, call_status="failed", sip_status=sip)
            for n in range(count)
        ]
        outcome = Outcome.BUSY if sip == 486 else Outcome.FAILED
        rows = [row(n, position=1, at=at[n], outcome=outcome) for n in range(count)]
        return calls, books(*rows)

    assert violated(*tries(486, 2)) == []
    assert violated(*tries(486, 3)) == ["I8"]
    assert violated(*tries(503, 11)) == []
    assert violated(*tries(503, 12)) == ["I8"]


def test_forgotten_contacts_and_wrong_counters_are_named() -> None:
    ours = books(row(1), lost_contacts=[ContactKey(BATCH, 7)], wrong_counters={BATCH: 2})
    findings = found([witnessed(1)], ours)
    assert [name for name, one in findings.items() if one.violations] == ["I9", "I11"]
    assert "off by 2 contacts" in findings["I11"].violations[0].what


def test_call_detail_records_are_matched_by_the_providers_id() -> None:
    record = witnessed(1, execution_id=None, rang_at=None)
    findings = found([record], books(row(1, outcome=Outcome.BUSY)))
    assert [name for name, one in findings.items() if one.violations] == ["I7"]
    assert findings["I2"].left_out == "call-detail records carry no tag"


def test_no_finding_shows_a_whole_number() -> None:
    twin = witnessed(2, to="+919876543201", at=NOON + 5 * SECOND)
    for one in judge([witnessed(1), twin], books(row(1))):
        assert "9876543201" not in str(one.violations)


CALLER_ID = "+14155550123"


def listed(nth: int, call_status: str, sip_status: int | None = None, **more: Any) -> ListedCall:
    call = ListedCall(f"sid-{nth}", CALLER_ID, call_status, sip_status)
    return replace(call, **more)


def every_call(
    records: list[WitnessedCall], ours: list[OurCall], shown: list[ListedCall]
) -> Finding:
    """I7, judged from call-detail records beside the live list."""
    calls = [replace(x, execution_id=None, from_number=CALLER_ID) for x in records]
    told = books(*ours, limit=1000, caller_ids=frozenset({CALLER_ID}))
    return next(one for one in judge(calls, told, shown) if one.invariant == "I7")


def at(nth: int) -> datetime:
    return NOON + nth * SECOND


def test_records_that_are_missing_contradict_nobody() -> None:
    lost = range(3, 783, 12)
    assert len(lost) == 65  # of 808, as a healthy jambonz was measured
    calls = [witnessed(n, to=f"+9198765{n:05}", at=at(n)) for n in range(808)]
    ours = [row(n, number=f"+9198765{n:05}", at=at(n)) for n in range(808)]
    records = [call for n, call in enumerate(calls) if n not in lost]
    finding = every_call(records, ours, [])
    assert finding.violations == []
    assert finding.left_out == f"{len(lost)} calls whose record is missing"
    # A ledger has every call: there the same is a fault.
    assert len(found(records, books(*ours, limit=1000))["I7"].violations) == len(lost)


@pytest.mark.parametrize(
    ("ours", "shown", "said"),
    [
        (row(2, at=at(2)), listed(2, "completed", 200), ""),
        (row(2, at=at(2)), listed(2, "busy", 486), "recorded as completed, and the live list"),
        (row(2, at=at(2)), listed(2, "in-progress", 200), "the live list shows it as in-progress"),
        (
            row(2, at=at(2), state=CallState.RELEASED, outcome=None),
            listed(2, "trying", 100),
            "recorded as never sent",
        ),
        (None, listed(2, "ringing", 180), "the database has no such call"),
        # Another application's, on the same account.
        (None, listed(2, "ringing", 180, from_number="+12025550199"), ""),
        # Not over yet on our side, or held for an operator.
        (row(2, at=at(2), state=CallState.RINGING, outcome=None), listed(2, "busy", 486), ""),
        (
            row(2, at=at(2), outcome=Outcome.FAILED, hangup_reason="outcome_unknown"),
            listed(2, "ringing", 180),
            "",
        ),
        # What a feature server said last before it died stays in the list.
        (row(2, at=at(2), evidence=Evidence.ASSUMED), listed(2, "in-progress", 200), ""),
    ],
)
def test_without_a_record_the_live_list_may_contradict_us(
    ours: OurCall | None, shown: ListedCall, said: str
) -> None:
    records = [witnessed(n, at=at(n)) for n in (1, 3)]
    rows = [row(n, at=at(n)) for n in (1, 3)] + ([ours] if ours else [])
    found = every_call(records, rows, [shown]).violations
    assert bool(found) == bool(said)
    assert not said or said in found[0].what


def test_what_a_dead_feature_server_left_in_the_list_does_not_contradict_a_record() -> None:
    finding = every_call([witnessed(1)], [row(1)], [listed(1, "in-progress", 200)])
    assert (finding.violations, finding.left_out) == ([], "")


def test_a_record_of_ours_without_a_row_and_one_with_another_outcome_contradict_us() -> None:
    refused = witnessed(2, at=at(2), answered_at=None, call_status="busy", sip_status=486)
    finding = every_call([witnessed(1), refused], [row(2, at=at(2))], [])
    assert [one.what for one in finding.violations] == [
        "the database has no such call",
        "recorded as completed, and the provider saw busy",
    ]


def test_a_record_of_another_application_on_the_account_is_not_judged() -> None:
    theirs = replace(witnessed(2, at=at(2)), execution_id=None, from_number="+12025550199")
    told = books(row(1), limit=1000, caller_ids=frozenset({CALLER_ID}))
    ours = replace(witnessed(1), execution_id=None, from_number=CALLER_ID)
    finding = next(x for x in judge([ours, theirs], told, []) if x.invariant == "I7")
    assert finding.violations == []
    assert finding.left_out == "1 calls of other callers on this account"


def test_a_record_that_may_be_of_a_held_call_without_a_name_is_not_judged() -> None:
    held = row(
        2, at=at(2), provider_call_id=None, outcome=Outcome.FAILED, hangup_reason="outcome_unknown"
    )
    finding = every_call([witnessed(1), witnessed(2, at=at(4))], [row(1), held], [])
    assert (finding.violations, finding.left_out) == ([], "1 calls held as outcome_unknown")
    later = witnessed(2, at=at(2) + timedelta(minutes=6))
    assert every_call([witnessed(1), later], [row(1), held], []).violations
