"""One snapshot for each reason that lies in Kafka; see `evidence_cases`."""

from dataclasses import replace
from typing import Any

from tests.core.evidence_cases import NOW, TOLD, ago, worker

from apollo.core.diagnosis import Verdict
from apollo.core.diagnosis.reported import Backlog, BusReport, Process
from apollo.core.reasons import Reason

ON_KAFKA = replace(TOLD, bus_kind="kafka")


def on_kafka(**known: Any) -> BusReport:
    """A worker's bus in good order."""
    given: dict[str, Any] = {
        "kind": "kafka",
        "is_connected": True,
        "last_contact_at": NOW,
        "partitions": 6,
        "partitions_total": 12,
        "lag_s": 0.0,
        "status_lag_s": 0.0,
        "rebalances": 1,
    }
    return BusReport(**(given | known))


def listener(number: int = 1, **bus: Any) -> Process:
    return worker(pid=40 + number, started_at=ago(600), bus=on_kafka(**bus))


def given(*processes: Process, **known: Any) -> dict[str, Any]:
    return {"settings": ON_KAFKA, "processes": processes or (listener(),), **known}


def inputs() -> dict[Reason, tuple[dict[str, Any], Verdict, int, list[str]]]:
    """What a snapshot gets, its verdict, the contacts it names, and words of the fix."""
    idle = [listener(n, partitions=0, unassigned_s=90.0) for n in (3, 4)]
    return {
        Reason.WORKERS_OTHER_BUS: (
            given(worker(bus=BusReport(kind="postgres", is_connected=True))),
            Verdict.DEGRADED,
            30,
            ["through Kafka", "dialler-1 (process 41) listens to PostgreSQL"],
        ),
        Reason.KAFKA_UNREACHABLE: (
            given(
                listener(1, is_connected=False, last_contact_at=ago(80), last_error="refused"),
                listener(2),
            ),
            Verdict.DEGRADED,
            30,
            ["dialler-1 (process 41)", "(refused)", "2026-05-12T09:58:40Z"],
        ),
        Reason.NO_PARTITION_ASSIGNED: (
            given(listener(1, partitions=6), listener(2, partitions=6), *idle),
            Verdict.DEGRADED,
            0,
            ["2 of 4 workers have no partition (the topic has 12)", "it cannot join the group"],
        ),
        Reason.KAFKA_LAG: (
            given(listener(1), listener(2, status_lag_s=95.0, lag_s=40.0)),
            Verdict.DEGRADED,
            1,
            ["(process 42) is 1 min 35 s behind with status events"],
        ),
        Reason.REBALANCE_STORM: (
            given(listener(1), listener(2, rebalances=9)),
            Verdict.DEGRADED,
            0,
            ["9 times within two minutes"],
        ),
        Reason.OUTBOX_STALLED: (
            given(backlog=Backlog(outbox_since=ago(130))),
            Verdict.DEGRADED,
            0,
            ["waiting for 2 min 10 s"],
        ),
        Reason.DEAD_LETTERS: (
            given(
                backlog=Backlog(
                    letters=2,
                    first_letter_at=ago(300),
                    last_letter_at=ago(60),
                    last_letter_why="not a pointer",
                )
            ),
            Verdict.DEGRADED,
            0,
            ["2 messages", "2026-05-12T09:59:00Z: not a pointer", "apollo dlq replay --all"],
        ),
    }
