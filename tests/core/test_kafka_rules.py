"""The edges of the rules about Kafka: where they stay silent."""

from typing import Any

import pytest
from tests.core.evidence_cases import ago, worker
from tests.core.kafka_cases import given, listener, on_kafka
from tests.core.test_evidence_rules import batch

from apollo.core.diagnosis import explain
from apollo.core.diagnosis.reported import Backlog, BusReport
from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import Layer, Severity


def serious(**known: Any) -> list[str]:
    return [
        reason.code.value
        for reason in explain(batch(**known)).reasons
        if reason.severity is not Severity.INFO and RULES[reason.code].layer is Layer.PIPELINE
    ]


QUIET: dict[str, dict[str, Any]] = {
    "in good order": given(listener(1), listener(2)),
    "postgres is the bus": {
        "processes": (worker(bus=BusReport(kind="postgres", is_connected=True)),)
    },
    "an older worker says nothing of its bus": given(worker()),
    "just started, still connecting": given(
        worker(started_at=ago(3), bus=on_kafka(is_connected=False))
    ),
    "the group is still forming": given(listener(1, partitions=0, unassigned_s=12.0)),
    "a process that only speaks": given(listener(1, partitions=None, lag_s=None)),
    "a busy moment": given(listener(1, lag_s=8.0, status_lag_s=8.0, rebalances=5)),
    "events on their way": given(backlog=Backlog(outbox_since=ago(5))),
    "nothing waits": given(backlog=Backlog()),
}


@pytest.mark.parametrize("case", QUIET)
def test_no_reason_is_given_where_nothing_is_wrong(case: str) -> None:
    assert serious(**QUIET[case]) == []


# With the next heartbeat five seconds away at most, each is on the page within half a minute.
NAMED_EARLY: dict[str, dict[str, Any]] = {
    "kafka_lag": given(listener(1, lag_s=25.0)),
    "no_partition_assigned": given(listener(1, partitions=0, unassigned_s=25.0)),
    "outbox_stalled": given(backlog=Backlog(outbox_since=ago(25))),
}


@pytest.mark.parametrize("code", NAMED_EARLY)
def test_what_has_lasted_for_twenty_five_seconds_is_named(code: str) -> None:
    assert serious(**NAMED_EARLY[code]) == [code]


def test_more_workers_than_partitions_is_named_as_such() -> None:
    workers = [listener(n, partitions=1, partitions_total=2) for n in (1, 2)]
    idle = listener(3, partitions=0, partitions_total=2, unassigned_s=90.0)
    (found,) = [
        reason
        for reason in explain(batch(**given(*workers, idle))).reasons
        if reason.code.value == "no_partition_assigned"
    ]
    assert "There are more workers than partitions" in found.fix
    assert found.evidence == {"idle": 1, "workers": 3, "partitions": 2}
