"""The diagnosis as a function: every rule where it holds and where it must not, and the sums."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core import evidence_cases, kafka_cases

from apollo.core import ids
from apollo.core.diagnosis import Diagnosis, ReasonShown, Verdict, explain
from apollo.core.diagnosis.reported import (
    DatabaseHealth,
    EndedCall,
    LiveCall,
    LiveList,
    Queue,
    WriteFault,
)
from apollo.core.diagnosis.rules import RULES
from apollo.core.diagnosis.snapshot import (
    Act,
    BatchFacts,
    CampaignFacts,
    Ending,
    Head,
    HookCounts,
    OnCall,
    OpenCalls,
    Parked,
    Process,
    ProviderHealth,
    Recounted,
    Recovering,
    Settings,
    Snapshot,
    Stop,
    Tally,
    Waiting,
)
from apollo.core.model import Turn
from apollo.core.reasons import Reason, Severity
from apollo.core.states import (
    FINAL_CONTACT,
    ON_CALL,
    BatchStatus,
    CallKind,
    ContactStatus,
    Outcome,
    PausedBy,
)
from apollo.core.windows import WEEKDAYS, WorkingHours, parse_working_hours

NOW = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)  # a Tuesday
CREATED = NOW - timedelta(minutes=20)
BATCH, CAMPAIGN, OTHER = (uuid.UUID(int=n) for n in (1, 2, 3))
HOOK = "https://apollo.example/webhooks/call-status"

ALWAYS = parse_working_hours({}, enforced=False, timezone="UTC")


def hours(start: str, end: str, timezone: str = "UTC") -> WorkingHours:
    table = {day: {"start": start, "end": end} for day in WEEKDAYS}
    return parse_working_hours(table, enforced=True, timezone=timezone)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def provider(state: str, **known: Any) -> ProviderHealth:
    return ProviderHealth(provider="jambonz", state=state, since=NOW - minutes(3), **known)


def process(role: str = "worker", **known: Any) -> Process:
    given: dict[str, Any] = {"status_hook_url": HOOK} if role == "worker" else {}
    given |= {"host": "dialler-1", "pid": 41, "version": "0.1.0", "seen_at": NOW, **known}
    return Process(role=role, **given)


WORKER = process(provider=provider("ok"))


def snapshot(
    *tallies: Tally,
    batch: dict[str, Any] | None = None,
    campaign: dict[str, Any] | None = None,
    **inputs: Any,
) -> Snapshot:
    """A batch in good order around these contacts; queues and calls agree with them."""
    turn_of = {
        ContactStatus.RETRYING: Turn.RETRY,
        ContactStatus.FOLLOWUP_SCHEDULED: Turn.FOLLOW_UP,
    }
    calling = {t.status: t.contacts for t in tallies if t.status in ON_CALL and t.contacts}
    total = sum(tally.contacts for tally in tallies)
    known: dict[str, Any] = {
        "read_at": NOW,
        "settings": Settings(
            stuck_after=minutes(30), ring_timeout=timedelta(seconds=45), bus_kind="postgres"
        ),
        "processes": (WORKER,),
        "heads": tuple(Head(n, CREATED, is_fresh=True) for n in (5, 6, 7)),
        "waiting": tuple(
            Waiting(
                turn_of[t.status],
                oldest_at=CREATED,
                first_due_at=NOW + minutes(5),
                last_due_at=NOW + minutes(9),
            )
            for t in tallies
            if t.status in turn_of
        ),
        "on_call": tuple(OnCall(status, n, CREATED) for status, n in calling.items()),
        "open_calls": (OpenCalls(batch_id=BATCH, calls=sum(calling.values()), oldest_at=CREATED),)
        if calling
        else (),
        **inputs,
    }
    return Snapshot(
        batch=BatchFacts(
            **{
                "id": BATCH,
                "status": BatchStatus.IN_PROGRESS,
                "total_contacts": total,
                "ready_at": CREATED,
                "updated_at": CREATED,
                **(batch or {}),
            }
        ),
        campaign=CampaignFacts(
            **{"id": CAMPAIGN, "hours": ALWAYS, "concurrency_limit": 10, **(campaign or {})}
        ),
        tallies=tallies,
        **known,
    )


def pending(contacts: int, wait: Reason | None = None) -> Tally:
    return Tally(ContactStatus.PENDING, wait, contacts, CREATED, CREATED)


def dispatched(contacts: int) -> Tally:
    return Tally(ContactStatus.DISPATCHED, None, contacts, CREATED, CREATED)


def retrying(contacts: int, wait: Reason | None = Reason.RETRY_NOT_DUE) -> Tally:
    return Tally(ContactStatus.RETRYING, wait, contacts, CREATED, CREATED)


def completed(contacts: int) -> Tally:
    return Tally(ContactStatus.COMPLETED, None, contacts, CREATED, NOW - minutes(1))


def codes(answer: Diagnosis) -> list[str]:
    return [reason.code.value for reason in answer.reasons]


def shown(answer: Diagnosis, code: Reason) -> ReasonShown:
    return next(reason for reason in answer.reasons if reason.code is code)


def check(answer: Diagnosis) -> None:
    """What must hold of every answer."""
    sums = answer.accounting
    assert sums.unfinished == sums.on_call + sums.dialable_now + sum(sums.by_reason.values())
    assert 0 not in sums.by_reason.values()
    first_info = next((n for n, r in enumerate(answer.reasons) if r.severity is Severity.INFO), 99)
    serious = [n for n, r in enumerate(answer.reasons) if r.severity is not Severity.INFO]
    if not answer.is_wished:  # else what people wanted comes first, however calm
        assert all(n < first_info for n in serious)
    if answer.verdict is Verdict.HEALTHY:
        assert all(r.severity is Severity.INFO for r in answer.reasons)
        assert not answer.stuck_pending
    assert set(sums.by_reason) <= {r.code for r in answer.reasons}
    assert answer.next_dial_at is None or answer.next_dial_at >= answer.as_of
    assert answer.tip
    assert all("None" not in r.fix and "{" not in r.fix for r in answer.reasons), answer.reasons


def run(given_snapshot: Snapshot, now: datetime = NOW) -> Diagnosis:
    answer = explain(replace(given_snapshot, read_at=now))
    check(answer)
    return answer


# ------------------------------------------------------------------------------------ healthy


def test_a_batch_that_dials_is_healthy_and_says_when_the_next_call_goes_out() -> None:
    answer = run(snapshot(pending(3), dispatched(5), completed(2)))
    assert (answer.verdict, codes(answer)) == (Verdict.HEALTHY, [])
    assert answer.accounting.dialable_now == 3
    assert answer.next_dial_at == NOW
    assert answer.tip == (
        "Batch is healthy: 5 contacts are on a call, 3 more are dialled right now."
    )


def test_a_full_batch_with_retries_waiting_is_healthy() -> None:
    answer = run(snapshot(pending(500), dispatched(10), retrying(7)))
    assert answer.verdict is Verdict.HEALTHY
    assert codes(answer) == ["retry_not_due", "concurrency_full"]
    assert answer.accounting.by_reason == {
        Reason.RETRY_NOT_DUE: 7,
        Reason.CONCURRENCY_FULL: 500,
    }
    assert "as soon as a call ends" in answer.tip


def test_a_finished_batch_says_that_nothing_is_pending() -> None:
    answer = run(
        snapshot(completed(3), batch={"status": BatchStatus.COMPLETED}, processes=(), heads=())
    )
    assert (answer.verdict, codes(answer)) == (Verdict.FINISHED, [])
    assert answer.tip == "The batch is completed; nothing is waiting to be dialled."
    assert answer.pending_sample == ()


def test_pending_dispatched_and_completed_are_always_shown_and_others_when_they_count() -> None:
    answer = run(snapshot(pending(2), retrying(1)))
    lines = {line.status.value: (line.count, line.oldest_updated_at) for line in answer.breakdown}
    assert lines == {
        "pending": (2, CREATED),
        "dispatched": (0, None),
        "retrying": (1, CREATED),
        "completed": (0, None),
    }


def test_the_sample_is_oldest_first_and_then_by_id() -> None:
    heads = (
        Head(9, CREATED, is_fresh=True),
        Head(10, CREATED, is_fresh=True),
        Head(4, CREATED, is_fresh=False),
        Head(8, CREATED - minutes(1), is_fresh=False),
    )
    answer = run(snapshot(pending(9), heads=heads))
    assert answer.pending_sample == tuple(
        ids.contact_id(ids.ContactKey(BATCH, position)) for position in (8, 4, 9)
    )


# ------------------------------------------------------------------------- one case per reason

STOPPED = NOW - minutes(5)
UNHEARD = tuple(NOW - timedelta(seconds=s) for s in (40, 30, 20))


WEB = process("web", started_at=CREATED, hooks=HookCounts())


def call(at: datetime, *, heard: bool = False, **known: Any) -> LiveCall:
    """An open call placed then; one that was heard of rings."""
    heard_at = at + timedelta(seconds=1) if heard else None
    given: dict[str, Any] = {"heard_at": heard_at, "ringing_at": heard_at}
    given |= {"from_number": "+14155552671", "phone_number": "+919876500001"}
    return LiveCall(requested_at=at, **(given | known))


def unheard(*at: datetime, heard: tuple[datetime, ...] = ()) -> dict[str, Any]:
    """Open calls placed at these instants, and an API that was listening."""
    number = len(at) + len(heard)
    oldest_at = min(*at, *heard, NOW)
    return {
        "open_calls": (OpenCalls(batch_id=BATCH, calls=number, oldest_at=oldest_at),),
        "on_call": (OnCall(ContactStatus.DISPATCHED, number, oldest_at),),
        "live": (*(call(one) for one in at), *(call(one, heard=True) for one in heard)),
        "processes": (WORKER, WEB),
    }


def held_by_other(calls: int) -> dict[str, Any]:
    return {
        "open_calls": (OpenCalls(batch_id=OTHER, calls=calls, oldest_at=CREATED),),
        "campaign": {"concurrency_limit": 10},
    }


FULL = OpenCalls(batch_id=BATCH, calls=10, oldest_at=CREATED)
PARKED = (Parked(4, OTHER, uuid.UUID(int=9), CREATED), Parked(5))

CASES: dict[Reason, tuple[Snapshot, Verdict, int, list[str]]] = {
    Reason.BATCH_SCHEDULED: (
        snapshot(
            pending(4),
            batch={"status": BatchStatus.PENDING, "scheduled_start": NOW + minutes(90)},
        ),
        Verdict.WAITING,
        4,
        ["2026-05-12T11:30:00Z", "1 h 30 min"],
    ),
    Reason.BATCH_PAUSED: (
        snapshot(
            pending(4),
            batch={"status": BatchStatus.PAUSED, "paused_by": PausedBy.BATCH},
            acts=(Act("batch", "pause", "crm", STOPPED),),
        ),
        Verdict.WAITING,
        4,
        [
            "by an operator (token crm) at 2026-05-12T09:55:00Z",
            f"/batches/{ids.batch_id(BATCH)}/resume",
        ],
    ),
    Reason.CAMPAIGN_PAUSED: (
        snapshot(
            pending(4),
            batch={"status": BatchStatus.PAUSED, "paused_by": PausedBy.CAMPAIGN},
            campaign={"paused_at": STOPPED},
        ),
        Verdict.WAITING,
        4,
        ["by an operator", f"/campaigns/{ids.campaign_id(CAMPAIGN)}/resume"],
    ),
    Reason.PAUSED_BY_APOLLO: (
        snapshot(
            pending(4),
            batch={
                "status": BatchStatus.PAUSED,
                "paused_by": PausedBy.APOLLO,
                "pause_code": "bad_request_everywhere",
                "pause_text": "application_sid not found",
            },
        ),
        Verdict.BLOCKED,
        4,
        ["application_sid not found", "/resume"],
    ),
    Reason.DIALLING_STOPPED: (
        snapshot(pending(4), stop=Stop(STOPPED, "the organisation")),
        Verdict.BLOCKED,
        4,
        ["the organisation", "2026-05-12T09:55:00Z"],
    ),
    Reason.RECOVERY_MODE: (
        snapshot(pending(4), recovering=Recovering(NOW, STOPPED, unknown_calls=50)),
        Verdict.BLOCKED,
        4,
        [
            "50 calls since 2026-05-12T09:55:00Z",
            "read the missing calls in and look",
            "recover --confirm",
        ],
    ),
    Reason.BATCH_EXPIRED: (
        snapshot(
            Tally(ContactStatus.SKIPPED, None, 6, CREATED, NOW),
            batch={"status": BatchStatus.EXPIRED, "ends_at": STOPPED},
            heads=(),
        ),
        Verdict.FINISHED,
        6,
        ["2026-05-12T09:55:00Z"],
    ),
    Reason.CANCELLED: (
        snapshot(
            Tally(ContactStatus.SKIPPED, None, 6, CREATED, NOW),
            batch={"status": BatchStatus.CANCELLED},
            acts=(Act("batch", "cancel", "crm", STOPPED),),
            heads=(),
        ),
        Verdict.FINISHED,
        6,
        ["by an operator (token crm) at 2026-05-12T09:55:00Z"],
    ),
    Reason.OUTSIDE_WINDOW: (
        snapshot(pending(380), campaign={"hours": hours("09:00", "15:00", "Asia/Kolkata")}),
        Verdict.WAITING,
        380,
        ["Wednesday 13 May 09:00 (Asia/Kolkata)", "17 h 30 min"],
    ),
    Reason.WINDOW_NEVER_OPENS: (
        snapshot(
            pending(4),
            campaign={"hours": hours("09:00", "09:01")},
            settings=Settings(
                stuck_after=minutes(30), ring_timeout=minutes(1), bus_kind="postgres"
            ),
        ),
        Verdict.BLOCKED,
        4,
        ["1 min", "working_hours"],
    ),
    Reason.RETRY_NOT_DUE: (
        snapshot(retrying(120), heads=()),
        Verdict.WAITING,
        120,
        ["120", "2026-05-12T10:05:00Z (in 5 min)", "2026-05-12T10:09:00Z"],
    ),
    Reason.FOLLOW_UP_NOT_DUE: (
        snapshot(
            Tally(ContactStatus.FOLLOWUP_SCHEDULED, Reason.FOLLOW_UP_NOT_DUE, 2, CREATED, CREATED),
            heads=(),
        ),
        Verdict.WAITING,
        2,
        ["2026-05-12T10:05:00Z"],
    ),
    Reason.DUPLICATE_NUMBER_BLOCKED: (
        snapshot(pending(2, Reason.DUPLICATE_NUMBER_BLOCKED), parked=PARKED),
        Verdict.WAITING,
        2,
        [ids.batch_id(OTHER)],
    ),
    Reason.NUMBER_RESTING: (
        snapshot(
            pending(2, Reason.NUMBER_RESTING),
            waiting=[Waiting(Turn.FRESH, first_due_at=NOW + minutes(14))],
        ),
        Verdict.WAITING,
        2,
        ["2 contacts wait until their number has rested, due at", "(in 14 min)"],
    ),
    Reason.CONCURRENCY_FULL: (
        snapshot(pending(30), dispatched(3), batch={"concurrency_limit": 3}),
        Verdict.HEALTHY,
        30,
        ["All 3 slots are in use", "the batch's concurrency_limit"],
    ),
    Reason.CAMPAIGN_CONCURRENCY_FULL: (
        snapshot(pending(30), batch={"ready_at": NOW - minutes(1)}, **held_by_other(10)),
        Verdict.WAITING,
        30,
        [f"Batch {ids.batch_id(OTHER)} holds all 10 slots"],
    ),
    Reason.RATE_LIMITED_BY_PROVIDER: (
        snapshot(
            pending(3),
            processes=(
                process(
                    provider=provider("rate_limited", retry_at=NOW + minutes(1), last_error="429")
                ),
            ),
        ),
        Verdict.DEGRADED,
        3,
        ["2026-05-12T10:01:00Z", "429"],
    ),
    Reason.NO_WORKER_ALIVE: (
        snapshot(pending(1000), processes=(process(seen_at=NOW - timedelta(seconds=16)),)),
        Verdict.BLOCKED,
        1000,
        ["apollo worker", "dialler-1 as process 41", "last seen 2026-05-12T09:59:44Z, 16 s ago"],
    ),
    Reason.COMPLETED_NOT_CLOSED: (
        snapshot(completed(9), heads=()),
        Verdict.DEGRADED,
        9,
        ["All 9 contacts are final"],
    ),
    Reason.PROVIDER_UNAUTHORISED: (
        snapshot(
            pending(3),
            processes=(process(provider=provider("unauthorised", last_error="401 bad key")),),
        ),
        Verdict.BLOCKED,
        3,
        ["The provider", "401 bad key", "2026-05-12T09:57:00Z"],
    ),
    Reason.PROVIDER_DOWN: (
        snapshot(
            pending(3),
            processes=(
                process(
                    provider=provider(
                        "down",
                        cause="connect",
                        last_error="connection refused",
                        retry_at=NOW + timedelta(seconds=20),
                    )
                ),
            ),
        ),
        Verdict.BLOCKED,
        3,
        ["connection refused", "2026-05-12T10:00:20Z"],
    ),
    Reason.BAD_REQUEST_EVERYWHERE: (
        snapshot(
            pending(4),
            batch={
                "status": BatchStatus.PAUSED,
                "paused_by": PausedBy.APOLLO,
                "pause_code": "bad_request_everywhere",
                "pause_text": "application_sid not found",
            },
        ),
        Verdict.BLOCKED,
        4,
        ["application_sid not found"],
    ),
    Reason.WEBHOOKS_REJECTED_SIGNATURE: (
        snapshot(
            dispatched(3),
            **unheard(*UNHEARD)
            | {
                "processes": (
                    WORKER,
                    process(
                        "web",
                        started_at=CREATED,
                        hooks=HookCounts(
                            refused_signature=12, last_refused_at=NOW, refused_at=(NOW,) * 12
                        ),
                    ),
                )
            },
            heads=(),
        ),
        Verdict.DEGRADED,
        3,
        ["12 status webhooks", "secret"],
    ),
    Reason.WEBHOOKS_NOT_ARRIVING: (
        snapshot(
            dispatched(3),
            **unheard(*UNHEARD),
            heads=(),
        ),
        Verdict.DEGRADED,
        3,
        [HOOK, "3 of the last 3 calls", "No request has reached the hook", "2026-05-12T09:59:40Z"],
    ),
    Reason.PROVIDER_ERRORS_UNKNOWN: (
        snapshot(
            dispatched(2),
            open_calls=(
                OpenCalls(
                    batch_id=BATCH,
                    calls=2,
                    oldest_at=CREATED,
                    unknown=2,
                    unknown_since=CREATED,
                    next_look_at=NOW + minutes(1),
                ),
            ),
            processes=(process(provider=provider("ok", answers=(("server_error", 2),))),),
            heads=(),
        ),
        Verdict.DEGRADED,
        2,
        ["2 requests since", "2 server_error"],
    ),
    Reason.ACCOUNTING_GAP: (
        snapshot(pending(10), batch={"total_contacts": 17}),
        Verdict.DEGRADED,
        7,
        ["7 contacts", "in no counter: 7"],
    ),
    Reason.COUNTERS_VERIFIED: (
        snapshot(
            pending(1),
            completed(2),
            recount=(
                Recounted(ContactStatus.PENDING, None, 1),
                Recounted(ContactStatus.COMPLETED, None, 2),
            ),
        ),
        Verdict.HEALTHY,
        3,
        ["3 contacts were counted again"],
    ),
}

CASES[Reason.HOW_IT_ENDED] = (
    snapshot(
        Tally(ContactStatus.FAILED, None, 20, CREATED, NOW),
        batch={"status": BatchStatus.COMPLETED},
        heads=(),
        endings=(Ending(Outcome.FAILED, 488, "call_failed", 20),),
    ),
    Verdict.FINISHED,
    20,
    ["20 of the last 20 calls failed with SIP 488", "codec"],
)
CASES |= {
    code: (snapshot(pending(30), dispatched(1), **known), verdict, contacts, texts)
    for code, (known, verdict, contacts, texts) in (
        evidence_cases.inputs() | kafka_cases.inputs()
    ).items()
}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("code", CASES)
def test_each_reason_is_found_with_its_numbers_and_its_fix(code: Reason) -> None:
    given_snapshot, verdict, contacts, texts = CASES[code]
    answer = run(given_snapshot)
    found = shown(answer, code)
    assert answer.verdict is verdict
    assert found.contacts == contacts
    assert (found.layer, found.severity) == (RULES[code].layer, RULES[code].severity)
    for text in texts:
        assert text in found.fix


@pytest.mark.parametrize("code", [c for c in CASES if RULES[c].severity is not Severity.INFO])
def test_a_serious_reason_is_absent_from_a_batch_in_good_order(code: Reason) -> None:
    for other in (Reason.CONCURRENCY_FULL, Reason.OUTSIDE_WINDOW, Reason.RETRY_NOT_DUE):
        assert code.value not in codes(run(CASES[other][0]))


# -------------------------------------------------------------------------------- the arithmetic


def test_closed_hours_hold_retries_as_well_and_both_are_listed() -> None:
    answer = run(
        snapshot(
            pending(380),
            retrying(120),
            dispatched(20),
            campaign={"hours": hours("01:00", "02:00")},
        )
    )
    assert answer.accounting.unfinished == 520
    assert answer.accounting.on_call == 20
    assert answer.accounting.by_reason == {Reason.OUTSIDE_WINDOW: 500}
    assert shown(answer, Reason.RETRY_NOT_DUE).contacts == 120


def test_a_contact_with_two_causes_counts_under_the_outermost_and_both_are_listed() -> None:
    paused = {"status": BatchStatus.PAUSED, "paused_by": PausedBy.BATCH}
    answer = run(
        snapshot(
            pending(4), batch=paused, campaign={"hours": hours("01:00", "02:00")}, processes=()
        )
    )
    assert codes(answer) == ["batch_paused", "outside_window", "no_worker_alive"]
    assert "After that: Nothing to do: calling hours open" in answer.tip
    assert answer.verdict is Verdict.WAITING
    assert answer.accounting.by_reason == {Reason.BATCH_PAUSED: 4}
    assert answer.next_dial_at is None


def test_only_the_surplus_over_the_free_slots_waits_for_one() -> None:
    answer = run(snapshot(pending(30), dispatched(7)))
    assert answer.accounting.dialable_now == 3
    assert answer.accounting.by_reason == {Reason.CONCURRENCY_FULL: 27}
    assert answer.binding is None


def test_where_batch_and_campaign_are_both_full_both_are_named() -> None:
    mine = OpenCalls(batch_id=BATCH, calls=4, oldest_at=CREATED)
    theirs = OpenCalls(batch_id=OTHER, calls=6, oldest_at=CREATED)
    answer = run(
        snapshot(
            pending(5), dispatched(4), batch={"concurrency_limit": 4}, open_calls=(mine, theirs)
        )
    )
    assert codes(answer) == ["concurrency_full", "campaign_concurrency_full"]
    assert [(x.name, x.limit, x.in_use, x.free) for x in answer.limits] == [
        ("batch", 4, 4, 0),
        ("campaign", 10, 10, 0),
    ]


def test_a_batch_limit_above_the_campaigns_is_bounded_by_it() -> None:
    answer = run(snapshot(pending(5), dispatched(10), batch={"concurrency_limit": 50}))
    assert answer.accounting.by_reason == {Reason.CAMPAIGN_CONCURRENCY_FULL: 5}


def test_a_retry_that_fell_due_while_no_worker_ran_waits_for_the_worker() -> None:
    overdue = Waiting(
        Turn.RETRY,
        oldest_at=CREATED,
        first_due_at=NOW - minutes(9),
        last_due_at=NOW + minutes(9),
        overdue=30,
    )
    answer = run(snapshot(retrying(100), waiting=(overdue,), heads=(), processes=()))
    assert answer.accounting.by_reason == {
        Reason.RETRY_NOT_DUE: 70,
        Reason.NO_WORKER_ALIVE: 30,
    }


def test_a_contact_on_a_call_that_does_not_exist_is_a_gap() -> None:
    answer = run(snapshot(dispatched(3), on_call=(), open_calls=(), heads=()))
    assert answer.accounting.by_reason == {Reason.ACCOUNTING_GAP: 3}


def test_a_waiting_contact_that_stands_in_no_queue_is_a_gap() -> None:
    answer = run(snapshot(pending(3), retrying(2), heads=(), waiting=(Waiting(Turn.RETRY),)))
    assert answer.accounting.by_reason == {Reason.ACCOUNTING_GAP: 5}
    assert answer.verdict is Verdict.DEGRADED


def test_a_recount_that_differs_is_a_gap_that_names_the_status() -> None:
    answer = run(
        snapshot(completed(3), pending(1), recount=(Recounted(ContactStatus.COMPLETED, None, 2),))
    )
    gap = shown(answer, Reason.ACCOUNTING_GAP)
    assert gap.evidence["gaps"] == {"counted completed": -1, "counted pending": -1}
    assert "counters_verified" not in codes(answer)


# -------------------------------------------------------------------------------- stuck pending

OLD = NOW - minutes(80)


def old(*tallies: Tally, **known: Any) -> Snapshot:
    """A batch that was created and started 80 minutes ago."""
    aged = tuple(replace(t, oldest_at=OLD, latest_at=t.latest_at and OLD) for t in tallies)
    known.setdefault("heads", (Head(1, OLD, is_fresh=True),))
    return snapshot(*aged, **{**known, "batch": {"ready_at": OLD, **known.get("batch", {})}})


def test_pending_contacts_that_nobody_takes_are_stuck_and_the_tip_has_the_numbers() -> None:
    answer = run(old(pending(78), completed(22), processes=()))
    assert answer.stuck_pending
    assert answer.tip.startswith("Start a worker: `apollo worker`")
    assert "78 contacts have been pending for 1 h 20 min and could have been dialled" in answer.tip
    assert "apollo worker" in answer.tip
    assert f"POST /api/v1/batches/{ids.batch_id(BATCH)}/dispatch" in answer.tip


@pytest.mark.parametrize(("bus", "named"), [("postgres", False), ("kafka", True)])
def test_a_worker_that_takes_nothing_is_named_and_kafka_only_when_it_is_the_bus(
    bus: str, named: bool
) -> None:
    told = Settings(stuck_after=minutes(30), ring_timeout=minutes(1), bus_kind=bus)
    answer = run(old(pending(78), settings=told))
    assert (answer.stuck_pending, answer.verdict) == (True, Verdict.BLOCKED)
    assert "dialler-1 (process 41)" in answer.tip
    assert ("Kafka" in answer.tip) is named


@pytest.mark.parametrize(
    "state", ["unauthorised", "down", "rate_limited"], ids=["refused key", "breaker", "429"]
)
def test_a_provider_that_does_not_work_is_no_good_reason_to_wait(state: str) -> None:
    answer = run(old(pending(3), processes=(process(provider=provider(state)),)))
    assert answer.stuck_pending


@pytest.mark.parametrize(
    "known",
    [
        {"batch": {"status": BatchStatus.PAUSED, "paused_by": PausedBy.BATCH}},
        {"batch": {"status": BatchStatus.PENDING, "scheduled_start": NOW + minutes(1)}},
        {"campaign": {"hours": hours("01:00", "02:00")}},
        {"campaign": {"hours": hours("09:45", "18:00")}},
        {"batch": {"ready_at": NOW - minutes(10)}},
        {"slot_freed_at": NOW - minutes(10)},
        {"heads": (Head(1, NOW - minutes(10), is_fresh=True),)},
        {"open_calls": (OpenCalls(batch_id=OTHER, calls=10, oldest_at=OLD),)},
    ],
    ids=[
        "paused",
        "scheduled",
        "closed",
        "opened 15 minutes ago",
        "resumed 10 minutes ago",
        "slots were in use until 10 minutes ago",
        "came 10 minutes ago",
        "slots in use",
    ],
)
def test_waiting_for_a_good_reason_is_never_stuck(known: dict[str, Any]) -> None:
    assert run(old(pending(3), processes=(), **known)).stuck_pending is False


def test_a_dispatch_within_the_half_hour_means_not_stuck() -> None:
    taken = Tally(ContactStatus.DISPATCHED, None, 0, OLD, NOW - minutes(29))
    assert not run(replace(old(pending(3)), tallies=(pending(3), taken))).stuck_pending
    earlier = replace(taken, latest_at=NOW - minutes(31))
    assert run(replace(old(pending(3)), tallies=(pending(3), earlier))).stuck_pending


def test_parked_contacts_alone_are_never_stuck() -> None:
    parked = old(pending(3, Reason.DUPLICATE_NUMBER_BLOCKED), parked=PARKED, processes=())
    assert not run(parked).stuck_pending


# -------------------------------------------------------------------- the edges of single rules


def test_the_last_stretch_of_a_window_counts_as_closed_because_a_phone_would_ring_past_it() -> None:
    given_snapshot = snapshot(pending(1), campaign={"hours": hours("09:00", "10:00")})
    edge = NOW - timedelta(seconds=45)
    assert "outside_window" not in codes(run(given_snapshot, edge - timedelta(seconds=1)))
    answer = run(given_snapshot, edge)
    assert codes(answer) == ["outside_window"]
    assert answer.next_dial_at == datetime(2026, 5, 13, 9, 0, tzinfo=UTC)


def test_a_heartbeat_is_fresh_for_fifteen_seconds_and_a_goodbye_ends_it_at_once() -> None:
    fresh = process(seen_at=NOW - timedelta(seconds=14), provider=provider("ok"))
    assert codes(run(snapshot(pending(1), processes=(fresh,)))) == []
    stopped = replace(fresh, stopped_at=NOW - timedelta(seconds=1))
    answer = run(snapshot(pending(1), processes=(stopped,)))
    assert "stopped 2026-05-12T09:59:59Z" in shown(answer, Reason.NO_WORKER_ALIVE).fix


def test_a_refused_key_of_one_worker_of_two_does_not_hold_the_batch() -> None:
    answer = run(
        snapshot(pending(3), processes=(WORKER, process(provider=provider("unauthorised"))))
    )
    assert answer.verdict is Verdict.DEGRADED
    assert answer.accounting.dialable_now == 3


def seconds_ago(*seconds: int) -> tuple[datetime, ...]:
    return tuple(NOW - timedelta(seconds=s) for s in seconds)


@pytest.mark.parametrize(
    ("known", "severity"),
    [
        (unheard(*UNHEARD), Severity.CRITICAL),
        (unheard(*UNHEARD[:2]), Severity.WARNING),
        (unheard(UNHEARD[0]), Severity.WARNING),
        (unheard(*UNHEARD[:1], NOW - timedelta(seconds=9)), Severity.WARNING),
        (unheard(NOW - timedelta(seconds=9)), None),
        (unheard(*UNHEARD, heard=seconds_ago(50)), Severity.CRITICAL),
        (unheard(*UNHEARD, heard=seconds_ago(4, 3, 2)), Severity.INFO),
        (unheard(UNHEARD[0], heard=seconds_ago(50, 45, 35, 30, 5)), None),
    ],
    ids=[
        "three",
        "two speak, so far",
        "one speaks, so far",
        "the second is too young",
        "too young",
        "one was heard before",
        "three were heard since: over",
        "one lost among five is an accident",
    ],
)
def test_each_call_that_was_due_and_not_heard_of_speaks_for_itself(
    known: dict[str, Any], severity: Severity | None
) -> None:
    calls = known["open_calls"][0].calls
    answer = run(snapshot(dispatched(calls), heads=(), **known))
    found = [r.severity for r in answer.reasons if r.code is Reason.WEBHOOKS_NOT_ARRIVING]
    assert found == ([severity] if severity else [])


def test_calls_that_fill_the_slots_unheard_block_the_batch() -> None:
    at = tuple(NOW - timedelta(seconds=20 + n) for n in range(10, 0, -1))
    answer = run(snapshot(pending(5), dispatched(10), **unheard(*at)))
    assert answer.verdict is Verdict.BLOCKED
    assert "10 of the last 10 calls sent no status" in answer.tip


def test_a_stranger_on_the_hook_worries_nobody() -> None:
    web = process("web", hooks=HookCounts(refused_signature=3, last_refused_at=NOW))
    assert codes(run(snapshot(pending(1), processes=(WORKER, web)))) == []


def test_the_cause_comes_before_the_symptom() -> None:
    answer = run(CASES[Reason.WEBHOOKS_REJECTED_SIGNATURE][0])
    assert codes(answer) == ["webhooks_rejected_signature", "webhooks_not_arriving"]


def test_what_could_not_be_read_is_named_and_nothing_is_concluded_from_it() -> None:
    blind = snapshot(
        pending(5),
        dispatched(2),
        processes=None,
        open_calls=None,
        on_call=None,
        waiting=None,
        heads=None,
        parked=None,
        acts=None,
        stale_inputs=("processes", "open_calls"),
    )
    answer = run(blind)
    assert (answer.verdict, codes(answer), answer.limits) == (Verdict.DEGRADED, [], ())


def test_the_binding_reason_is_the_outermost_or_the_wait_that_ends_first() -> None:
    closed = run(CASES[Reason.OUTSIDE_WINDOW][0])
    assert (closed.binding, closed.binding_until) == (Reason.OUTSIDE_WINDOW, closed.next_dial_at)
    waiting = run(CASES[Reason.RETRY_NOT_DUE][0])
    assert (waiting.binding, waiting.binding_until) == (Reason.RETRY_NOT_DUE, NOW + minutes(5))
    full = run(CASES[Reason.CONCURRENCY_FULL][0])
    assert (full.binding, full.binding_until) == (Reason.CONCURRENCY_FULL, None)


def test_the_next_call_of_a_cooling_batch_waits_for_the_window_too() -> None:
    answer = run(
        snapshot(retrying(2), heads=(), campaign={"hours": hours("09:00", "10:04")}),
    )
    assert answer.next_dial_at == datetime(2026, 5, 13, 9, 0, tzinfo=UTC)


# ------------------------------------------------------------------------------ random systems

instants = st.integers(-10_000, 10_000).map(lambda s: NOW + timedelta(seconds=s))
maybe = st.none() | instants
few = st.integers(0, 40)
WAITS = (
    None,
    Reason.RETRY_NOT_DUE,
    Reason.FOLLOW_UP_NOT_DUE,
    Reason.DUPLICATE_NUMBER_BLOCKED,
    Reason.NUMBER_RESTING,
)


@st.composite
def systems(draw: st.DrawFn) -> Snapshot:
    """Anything that tables could hold, sensible or not."""
    tallies = draw(
        st.lists(
            st.builds(
                Tally,
                st.sampled_from(ContactStatus),
                st.sampled_from(WAITS),
                st.integers(-3, 500),
                maybe,
                maybe,
            ),
            max_size=8,
        )
    )
    status = draw(st.sampled_from(BatchStatus))
    paused_by = draw(st.sampled_from(PausedBy)) if status is BatchStatus.PAUSED else None
    off = draw(st.sampled_from((0, 0, 0, 5, -2)))
    own_limit = draw(st.none() | st.integers(1, 20))
    calls = draw(
        st.lists(
            st.builds(
                OpenCalls,
                batch_id=st.sampled_from((BATCH, OTHER)),
                calls=st.integers(1, 20),
                oldest_at=instants,
                unknown=st.integers(0, 3),
                unknown_since=maybe,
                next_look_at=maybe,
            ),
            max_size=2,
            unique_by=lambda row: row.batch_id,
        )
    )
    return Snapshot(
        read_at=NOW,
        settings=Settings(
            stuck_after=minutes(30),
            ring_timeout=timedelta(seconds=draw(st.sampled_from((20, 45, 90)))),
            bus_kind=draw(st.sampled_from(("postgres", "kafka"))),
            calls_per_second=draw(st.none() | st.sampled_from((0.01, 5.0))),
        ),
        batch=BatchFacts(
            id=BATCH,
            status=status,
            total_contacts=sum(t.contacts for t in tallies) + off,
            ready_at=draw(instants),
            concurrency_limit=own_limit,
            paused_by=paused_by,
            pause_code=draw(st.sampled_from(("", "bad_request_everywhere"))),
            scheduled_start=draw(maybe),
            ends_at=draw(maybe),
            updated_at=draw(instants),
        ),
        campaign=CampaignFacts(
            id=CAMPAIGN,
            hours=draw(st.sampled_from((ALWAYS, hours("09:00", "10:01"), hours("22:00", "06:00")))),
            concurrency_limit=draw(st.integers(1, 20)),
            paused_at=draw(maybe),
            cancelled_at=draw(st.none() | st.none() | instants),
        ),
        tallies=tuple(tallies),
        stop=draw(st.none() | st.builds(Stop, instants, st.just("the organisation"))),
        recovering=draw(st.none() | st.builds(Recovering, instants, instants, few)),
        open_calls=draw(st.sampled_from((tuple(calls), None))),
        on_call=draw(
            st.none()
            | st.lists(st.builds(OnCall, st.sampled_from(ContactStatus), few, instants)).map(tuple)
        ),
        waiting=draw(
            st.none()
            | st.lists(
                st.builds(Waiting, st.sampled_from(Turn), maybe, maybe, maybe, maybe, few),
                max_size=3,
                unique_by=lambda row: row.turn,
            ).map(tuple)
        ),
        heads=draw(
            st.none()
            | st.lists(
                st.builds(Head, st.integers(1, 99), instants, is_fresh=st.booleans()), max_size=6
            ).map(tuple)
        ),
        parked=draw(st.sampled_from((None, (), PARKED))),
        processes=draw(
            st.none()
            | st.lists(
                st.builds(
                    Process,
                    role=st.sampled_from(("web", "worker")),
                    host=st.just("h"),
                    pid=st.just(1),
                    version=st.just("1"),
                    seen_at=st.sampled_from((NOW, NOW - minutes(1))),
                    stopped_at=st.none() | st.just(NOW - minutes(1)),
                    loop_lag_s=st.sampled_from((0.0, 7.0)),
                    last_claim_at=maybe,
                    slowest_claim_s=st.none() | st.sampled_from((0.1, 2.0)),
                    clock_skew_s=st.none() | st.sampled_from((0.0, -9.0)),
                    pool=st.none() | st.builds(Queue, waiting=few, longest_s=st.just(2.0)),
                    live=st.none()
                    | st.builds(
                        LiveList, listed_at=instants, missing=st.just(((BATCH, 3), (OTHER, 2)))
                    ),
                    provider=st.none()
                    | st.builds(
                        ProviderHealth,
                        provider=st.just("jambonz"),
                        state=st.sampled_from(("ok", "down", "unauthorised", "rate_limited")),
                        since=maybe,
                        retry_at=maybe,
                    ),
                    hooks=st.none()
                    | st.builds(
                        HookCounts,
                        received=few,
                        last_received_at=maybe,
                        refused_signature=few,
                        last_refused_at=maybe,
                    ),
                ),
                max_size=3,
            ).map(tuple)
        ),
        recount=draw(
            st.none()
            | st.just(tuple(Recounted(t.status, t.wait_reason, t.contacts) for t in tallies))
        ),
        slot_freed_at=draw(maybe),
        ended=draw(
            st.none()
            | st.lists(
                st.builds(
                    EndedCall,
                    kind=st.sampled_from(CallKind),
                    outcome=st.sampled_from(Outcome),
                    from_number=st.sampled_from(evidence_cases.CALLER_IDS),
                    phone_number=st.sampled_from(("+919876543210", "+18005551234")),
                    requested_at=instants,
                    ended_at=instants,
                    sip_status=st.none() | st.sampled_from((200, 403, 480, 503, 608)),
                    hangup_by=st.sampled_from(("", "agent", "callee")),
                    duration_s=st.none() | st.integers(0, 5),
                    evidence=st.sampled_from(("webhook", "poll", "assumed")),
                    heard_at=maybe,
                ),
                max_size=12,
            ).map(lambda calls: tuple(calls * 6))
        ),
        database=draw(
            st.none()
            | st.builds(
                DatabaseHealth,
                is_standby=st.booleans(),
                schema_version=few,
                blockers=st.sampled_from(((), (evidence_cases.BLOCKER,))),
            )
        ),
        write_fault=draw(
            st.none()
            | st.builds(
                WriteFault,
                sqlstate=st.sampled_from(("53100", "25006", "")),
                error=st.just("no"),
                since=instants,
            )
        ),
    )


@st.composite
def sensible_systems(draw: st.DrawFn) -> tuple[Snapshot, int]:
    """What tables hold when nothing is wrong with them, and how many contacts are unfinished.

    Fresh contacts and those given back, retries and follow-ups waiting, overdue and promoted,
    numbers on another call, contacts on a call, and every final status: those that are held for an
    unknown outcome are failed. Anything may hold the batch meanwhile.
    """
    base = draw(systems())
    status = draw(st.sampled_from((BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)))
    fresh, given_back, parked, on_call = (draw(few) for _ in range(4))
    tallies = [Tally(ContactStatus.PENDING, None, fresh + given_back, NOW, NOW)]
    tallies.append(Tally(ContactStatus.PENDING, Reason.DUPLICATE_NUMBER_BLOCKED, parked, NOW, NOW))
    waiting = []
    back_at = NOW if given_back + parked else None
    waiting.append(Waiting(Turn.FRESH, back_at, NOW if given_back else None))
    unfinished = fresh + given_back + parked + on_call
    for turn, of, reason in (
        (Turn.RETRY, ContactStatus.RETRYING, Reason.RETRY_NOT_DUE),
        (Turn.FOLLOW_UP, ContactStatus.FOLLOWUP_SCHEDULED, Reason.FOLLOW_UP_NOT_DUE),
    ):
        cooling, overdue, promoted, blocked = (draw(few) for _ in range(4))
        tallies.append(Tally(of, reason, cooling + overdue, NOW, NOW))
        tallies.append(Tally(of, None, promoted, NOW, NOW))
        tallies.append(Tally(of, Reason.DUPLICATE_NUMBER_BLOCKED, blocked, NOW, NOW))
        first = NOW - minutes(1) if overdue else NOW + minutes(1) if cooling else None
        last = NOW + minutes(9) if cooling else first
        is_queued = cooling + overdue + promoted + blocked > 0
        since = NOW if is_queued else None
        waiting.append(Waiting(turn, since, NOW if promoted else None, first, last, overdue))
        unfinished += cooling + overdue + promoted + blocked
    tallies += [Tally(of, None, draw(few), NOW, NOW) for of in sorted(FINAL_CONTACT)]
    tallies.append(Tally(ContactStatus.DISPATCHED, None, on_call, NOW, NOW))
    calls = [OpenCalls(batch_id=BATCH, calls=on_call, oldest_at=NOW)] if on_call else []
    elsewhere = draw(few)
    calls += [OpenCalls(batch_id=OTHER, calls=elsewhere, oldest_at=NOW)] if elsewhere else []
    heads = (Head(1, NOW, is_fresh=True),) if fresh + given_back + parked else ()
    batch = replace(
        base.batch,
        status=status,
        paused_by=draw(st.sampled_from(PausedBy)) if status is BatchStatus.PAUSED else None,
        total_contacts=sum(tally.contacts for tally in tallies),
    )
    made = replace(
        base,
        batch=batch,
        tallies=tuple(tallies),
        waiting=tuple(waiting),
        heads=heads,
        open_calls=tuple(calls),
        on_call=(OnCall(ContactStatus.DISPATCHED, on_call, NOW),) if on_call else (),
        recount=None,
    )
    return made, unfinished


@settings(max_examples=150, deadline=None)
@given(sensible_systems())
def test_what_is_in_order_has_no_gap_whatever_holds_it(made: tuple[Snapshot, int]) -> None:
    given_snapshot, unfinished = made
    answer = run(given_snapshot)
    assert answer.accounting.unfinished == unfinished
    assert Reason.ACCOUNTING_GAP not in answer.accounting.by_reason
    assert "accounting_gap" not in codes(answer)
    assert min(answer.accounting.by_reason.values(), default=1) > 0
    free = min(limit.free for limit in answer.limits)
    assert 0 <= answer.accounting.dialable_now <= free
    held = (given_snapshot.stop, given_snapshot.recovering, given_snapshot.batch.paused_by)
    assert not any(held) or answer.accounting.dialable_now == 0


@settings(max_examples=150, deadline=None)
@given(systems())
def test_the_arithmetic_closes_on_any_system(given_snapshot: Snapshot) -> None:
    answer = run(given_snapshot)
    if answer.stuck_pending:
        assert given_snapshot.batch.status is BatchStatus.IN_PROGRESS
        assert answer.verdict is Verdict.BLOCKED
    if answer.verdict is Verdict.BLOCKED:
        assert answer.stuck_pending or any(r.severity is not Severity.INFO for r in answer.reasons)
