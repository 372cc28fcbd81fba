"""One snapshot for each reason that is proved by processes, the database or ended calls.

Beside `test_diagnosis`, which checks them with its own: snapshot, verdict, contacts, words of the
fix.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from apollo.core.diagnosis import Verdict
from apollo.core.diagnosis.reported import (
    ApplicationHook,
    Blocker,
    CallHook,
    DatabaseHealth,
    DecidedCall,
    EndedCall,
    LiveCall,
    LiveList,
    Process,
    ProviderHealth,
    Queue,
    Restarts,
    Wait,
    WriteFault,
)
from apollo.core.diagnosis.snapshot import OpenCalls, Settings
from apollo.core.reasons import Reason
from apollo.core.states import CallKind, Outcome

NOW = datetime(2026, 5, 12, 10, 0, tzinfo=UTC)
BATCH, OTHER = uuid.UUID(int=1), uuid.UUID(int=3)
HOOK = "https://apollo.example/webhooks/call-status#rc=5&rp=all"
CALLER_IDS = ("+14155552671", "+442079460000")
TOLD = Settings(
    stuck_after=timedelta(minutes=30), ring_timeout=timedelta(seconds=45), bus_kind="postgres"
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def worker(**known: Any) -> Process:
    given: dict[str, Any] = {
        "role": "worker",
        "host": "dialler-1",
        "pid": 41,
        "version": "0.1.0",
        "seen_at": NOW,
        "last_claim_at": ago(2),
        "status_hook_url": HOOK,
        "provider": ProviderHealth(provider="jambonz", state="ok"),
    }
    return Process(**(given | known))


def ended(
    count: int, outcome: Outcome = Outcome.COMPLETED, *, first: int = 0, **known: Any
) -> tuple[EndedCall, ...]:
    """Calls that ended one second after the other, newest first, to different numbers."""
    number = known.pop("number", "+9198765{:05d}")
    given: dict[str, Any] = {
        "kind": CallKind.FIRST,
        "from_number": CALLER_IDS[0],
        "duration_s": 60 if outcome is Outcome.COMPLETED else None,
        "sip_status": 200 if outcome is Outcome.COMPLETED else 480,
        "evidence": "webhook",
    }
    return tuple(
        EndedCall(
            **{
                "outcome": outcome,
                "phone_number": number.format(first + n),
                "requested_at": ago(n + 30),
                "heard_at": known.get("requested_at", ago(n + 30)) + timedelta(seconds=1),
                "ended_at": ago(n),
                **given,
                **known,
            }
        )
        for n in range(count)
    )


def decided(
    count: int, *, rang_out: bool = False, first: int = 0, **known: Any
) -> tuple[DecidedCall, ...]:
    """First calls to different numbers, placed one second after the other, newest first."""
    number = known.pop("number", "+9198765{:05d}")
    given: dict[str, Any] = {"from_number": CALLER_IDS[0], "rang_out": rang_out}
    return tuple(
        DecidedCall(
            phone_number=number.format(first + n),
            **{**given, "requested_at": ago(30 + first + n), **known},
        )
        for n in range(count)
    )


FAILED, NO_ANSWER, BUSY = Outcome.FAILED, Outcome.NO_ANSWER, Outcome.BUSY
DROPPED = ended(24, duration_s=1, hangup_by="agent")
FULL = OpenCalls(
    batch_id=BATCH, calls=10, oldest_at=ago(600), next_deadline_at=NOW + timedelta(minutes=2)
)
BLOCKER = Blocker(
    pid=77,
    application="psql",
    state="idle in transaction",
    since=ago(90),
    waiting=3,
    statement="update campaigns",
)
SID = str(uuid.UUID(int=8))


def inputs() -> dict[Reason, tuple[dict[str, Any], Verdict, int, list[str]]]:
    """What to put into a batch of 30 pending contacts and one on a call."""
    return {
        Reason.INVALID_NUMBERS: (
            {
                "batch": {"rejected_count": 18, "rejected": ((4, "too short"),)},
                "ended": ended(2, FAILED, hangup_reason="bad_number", sip_status=404) + ended(6),
            },
            Verdict.HEALTHY,
            18,
            ["18 rows were left out", "row 4: too short", "2 of the last"],
        ),
        Reason.SHARED_LIMIT_STARVED: (
            {
                "open_calls": (OpenCalls(batch_id=OTHER, calls=10, oldest_at=ago(600)),),
                "on_call": (),
            },
            Verdict.DEGRADED,
            30,
            ["10 slots", "(10)", "2026-05-12T09:40:00Z"],
        ),
        Reason.PACING_LOW: (
            {
                "settings": Settings(
                    stuck_after=TOLD.stuck_after,
                    ring_timeout=TOLD.ring_timeout,
                    bus_kind="postgres",
                    calls_per_second=0.01,
                ),
                "batch": {"ends_at": NOW + timedelta(minutes=10)},
                "database": DatabaseHealth(booked_ahead_s=(("jambonz", 80.0),)),
            },
            Verdict.HEALTHY,
            30,
            [
                "0.01 calls a second",
                "30 contacts that can be called take 50 min",
                "the batch ends in 10 min",
            ],
        ),
        Reason.CONCURRENCY_LEAKED: (
            {
                "open_calls": (FULL,),
                "processes": (
                    worker(live=LiveList(listed_at=ago(4), listed=4, missing=((BATCH, 6),))),
                ),
            },
            Verdict.DEGRADED,
            6,
            ["6 of 10 open calls", "4 in it", "2026-05-12T10:02:00Z"],
        ),
        Reason.WORKER_STUCK: (
            {"processes": (worker(last_claim_at=ago(45)),)},
            Verdict.BLOCKED,
            30,
            ["dialler-1 (process 41)", "45 s ago", "30 contacts could be dialled"],
        ),
        Reason.PROCESS_RESTARTED: (
            {
                "processes": (
                    worker(
                        started_at=ago(20),
                        restarts=Restarts(count=3, ending="was killed by SIGKILL"),
                    ),
                )
            },
            Verdict.DEGRADED,
            0,
            ["worker process on dialler-1 was killed by SIGKILL", "3 times in a row"],
        ),
        Reason.VERSION_MISMATCH: (
            {"processes": (worker(), worker(pid=42, version="0.2.0"))},
            Verdict.DEGRADED,
            0,
            ["process 42) runs 0.2.0", "one version"],
        ),
        Reason.DB_READONLY: (
            {"database": DatabaseHealth(is_standby=True), "processes": ()},
            Verdict.BLOCKED,
            30,
            ["this is a standby", "at the primary"],
        ),
        Reason.DB_DISK_FULL: (
            {
                "write_fault": WriteFault(sqlstate="53100", error="no space left", since=ago(9)),
                "processes": (),
            },
            Verdict.BLOCKED,
            30,
            ["2026-05-12T09:59:51Z", "no space left"],
        ),
        Reason.DB_LOCKS: (
            {"database": DatabaseHealth(blockers=(BLOCKER,))},
            Verdict.DEGRADED,
            0,
            [
                "process 77",
                "(psql)",
                "idle in transaction for 1 min 30 s",
                "pg_terminate_backend(77)",
            ],
        ),
        Reason.DB_SLOW: (
            {"processes": (worker(slowest_claim_s=1.7),), "read_s": 0.7},
            Verdict.DEGRADED,
            0,
            ["process 41) took 1.7 s", "reading this page took 0.7 s"],
        ),
        Reason.POOL_EXHAUSTED: (
            {"processes": (worker(pool=Queue(waiting=14, longest_s=2.5, size=20)),)},
            Verdict.DEGRADED,
            0,
            ["20 connections", "14 requests wait", "2.5 s"],
        ),
        Reason.CLOCK_SKEW: (
            {"processes": (worker(clock_skew_s=-200.0),)},
            Verdict.DEGRADED,
            0,
            ["process 41) is 3 min 20 s behind the database's", "NTP"],
        ),
        Reason.STATUS_EVENTS_LAGGING: (
            {
                "processes": (
                    worker(),
                    worker(role="web", events=Queue(waiting=900, longest_s=8.0)),
                )
            },
            Verdict.DEGRADED,
            0,
            ["web on dialler-1", "900 status events", "8.0 s"],
        ),
        Reason.STATUS_HOOK_OVERRIDDEN: (
            {
                "campaign": {"application_sid": SID},
                "processes": (
                    worker(
                        applications=(
                            ApplicationHook(
                                application_sid=SID,
                                checked_at=ago(5),
                                url="https://other.example/status",
                            ),
                        )
                    ),
                ),
            },
            Verdict.DEGRADED,
            31,
            [SID, "https://other.example/status", HOOK],
        ),
        Reason.WEBHOOK_RETRY_OFF: (
            {
                "campaign": {"application_sid": SID},
                "processes": (
                    worker(
                        applications=(
                            ApplicationHook(
                                application_sid=SID,
                                checked_at=ago(5),
                                url=HOOK.partition("#")[0],
                            ),
                        )
                    ),
                ),
            },
            Verdict.DEGRADED,
            0,
            [SID, "#rc=5"],
        ),
        Reason.STATUS_NEVER_ENDS: (
            {
                "ended": (*ended(3, evidence="poll"), *ended(1, evidence="assumed")),
                "processes": (worker(), worker(role="web", started_at=ago(9_000))),
            },
            Verdict.DEGRADED,
            0,
            ["4 of the last 4 calls ended without a last status", "1 by assumed, 3 by poll"],
        ),
        Reason.AGENT_UNREACHABLE: (
            {
                "campaign": {"call_hook": "http://agent.example/hook"},
                "ended": DROPPED[:3],
                "processes": (
                    worker(
                        call_hooks=(
                            CallHook(
                                call_hook="http://agent.example/hook",
                                checked_at=ago(5),
                                error="connection refused",
                            ),
                        )
                    ),
                ),
            },
            Verdict.DEGRADED,
            31,
            ["http://agent.example/hook", "connection refused", "3 of 3"],
        ),
        Reason.ANSWERED_THEN_DROPPED: (
            {"ended": DROPPED[:4] + ended(20, ended_at=ago(60), answered_at=ago(90))},
            Verdict.DEGRADED,
            4,
            ["4 of the last 24 people who answered"],
        ),
        Reason.CALLER_ID_INVALID: (
            {
                "ended": ended(12, FAILED, sip_status=403, from_number=CALLER_IDS[1]) + ended(12),
            },
            Verdict.DEGRADED,
            12,
            ["allow +442079460000", "12 of its last 12", "0 of 12 from other numbers"],
        ),
        Reason.CALLER_ID_BLOCKED: (
            {"ended": ended(15, FAILED, sip_status=608) + ended(15, first=20, ended_at=ago(60))},
            Verdict.DEGRADED,
            15,
            ["Let +14155552671 rest", "50% of its last 30 calls"],
        ),
        Reason.CARRIER_REJECTS: (
            {
                "ended": ended(30, FAILED, sip_status=503, sip_reason="Max Calls")
                + ended(10, ended_at=ago(60))
            },
            Verdict.DEGRADED,
            30,
            ["30 of the last 40 calls failed with SIP 503 Max Calls", "lower the concurrency"],
        ),
        Reason.NO_ANSWER_HIGH: (
            {
                "decided": decided(60, rang_out=True) + decided(40, first=60),
                "earlier": decided(20, rang_out=True, first=200) + decided(180, first=300),
            },
            Verdict.DEGRADED,
            60,
            ["60% of the last 100 first calls", "against 10% of 200 of earlier ones"],
        ),
        Reason.CALLS_MISSING: (
            {
                "live": tuple(
                    LiveCall(from_number="+1", phone_number="+2", requested_at=ago(40 + n))
                    for n in range(3)
                ),
                "processes": (
                    worker(live=LiveList(listed_at=ago(4), never_seen=((BATCH, 3),))),
                    worker(role="web", started_at=ago(9_000)),
                ),
            },
            Verdict.DEGRADED,
            3,
            ["3 of this batch's 3 calls", "Webhooks are not the cause"],
        ),
        Reason.WEBHOOKS_LATE: (
            {"ended": ended(4, requested_at=ago(70), heard_at=ago(58))},
            Verdict.DEGRADED,
            4,
            ["4 of the last 4 calls", "up to 12 s after"],
        ),
        Reason.API_WAS_AWAY: (
            {
                "ended": ended(4, evidence="poll", requested_at=ago(300)) + ended(9),
                "processes": (worker(), worker(role="web", started_at=ago(60))),
            },
            Verdict.HEALTHY,
            0,
            ["not running until 2026-05-12T09:59:00Z", "4 calls"],
        ),
        Reason.PROVIDER_FORGOT: (
            {
                "processes": (
                    worker(
                        is_cleared=False,
                        started_at=ago(40),
                        waits=Wait(until=ago(-1_800), why="the list lacks calls"),
                    ),
                )
            },
            Verdict.BLOCKED,
            30,
            ["Wait until 2026-05-12T10:30:00Z", "and the list lacks calls"],
        ),
        Reason.WORKER_COMPARING: (
            {"processes": (worker(is_cleared=False, started_at=ago(40)),)},
            Verdict.BLOCKED,
            30,
            ["worker on dialler-1 (process 41) has just started", "a restart would only begin"],
        ),
    }
