"""Several processes over Kafka, one of which is killed now and then; the ledger is the witness."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from scripts.brokers import JARS
from scripts.cluster import under_fire
from scripts.cluster_plan import Plan, Result
from scripts.ledger_checks import longest_silence, silence_at, violations


async def test_pointers_sent_by_the_hundred_to_any_partition_never_dial_twice(
    data_dir: Path,
) -> None:
    plan = Plan(
        contacts=60, limit=15, workers=2, serves=1, kill_every_s=0, within_s=90.0, floods=True
    )
    result = await under_fire(data_dir, plan)
    assert result.completed, result
    assert result.violations == [], result
    assert not any(reason.startswith("accounting_gap") for reason in result.reasons)


# What a dead worker had claimed is given back after its lease, half a minute later; and Tansu
# forgets what it acknowledged when it dies.
@pytest.mark.skipif(JARS not in os.environ, reason="needs Apache Kafka itself: make test-kafka")
async def test_workers_and_a_broker_that_die_cost_delay_and_nobody_is_called_twice(
    data_dir: Path,
) -> None:
    plan = Plan(
        contacts=200,
        limit=15,
        workers=3,
        kill_every_s=4.0,
        fire_s=15.0,
        broker_restarts=1,
        # A call whose request was lost with its worker is looked for two minutes.
        within_s=240.0,
    )
    result = await under_fire(data_dir, plan)
    assert result.completed, result
    assert result.violations == [], result
    assert {one.what.partition(" ")[2] for one in result.faults} == {"killed", "restarted"}
    assert len(result.invariants) == 11
    assert not any(reason.startswith("accounting_gap") for reason in result.reasons)


# -------------------------------------------------------------------- the witness can say no, too


def call(number: str, start: float, end: float, tag: str = "", **more: Any) -> dict[str, Any]:
    began = datetime(2026, 5, 10, 9, tzinfo=UTC)
    times = {
        name: (began + timedelta(seconds=second)).isoformat()
        for name, second in (("placed_at", start), ("ended_at", end))
    }
    tagged = {"execution_id": tag or f"{number}-{start}"}
    return {"to": number, "tag": tagged, **times, **more}


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([call("a", 0, 5), call("a", 4, 6)], "I1"),
        ([call("a", 0, 1, "x"), call("b", 2, 3, "x")], "I2"),
        ([call("a", 0, 1, answered_at="2026-05-10T09:00:00Z"), call("a", 2, 3)], "I3"),
        ([call("a", 0, 9), call("b", 1, 9), call("c", 2, 9)], "I6"),
        ([call("a", n, n + 0.5) for n in range(4)], "I8"),
    ],
)
def test_the_checks_of_the_ledger_notice(lines: list[dict[str, Any]], code: str) -> None:
    assert [one[:2] for one in violations(lines, limit=2, attempts_max=3)] == [code]


def test_calls_that_still_go_on_are_judged_too() -> None:
    live = call("a", 0, 9, answered_at="2026-05-10T09:00:01Z") | {"ended_at": None}
    assert violations([live], limit=2, attempts_max=3) == []


def test_a_run_that_does_not_hold_says_why() -> None:
    good = Result(
        seconds=9.0,
        completed=True,
        contacts={},
        calls=1,
        silence_s=1.0,
        faults=[],
        violations=[],
        invariants={},
        reasons=[],
    )
    assert good.wrongs() == []
    bad = replace(
        good, completed=False, contacts={"in_flight": 2}, silence_s=99.0, violations=["I1: twice"]
    )
    assert bad.wrongs() == [
        "I1: twice",
        "not completed after 9.0 s: {'in_flight': 2}",
        "no call for 99.0 s; 15.0 s are allowed",
    ]


def test_a_ledger_in_good_order_passes_and_its_silence_is_measured() -> None:
    lines = [call("a", 0, 1), call("a", 1, 2), call("b", 1, 30), {"to": "c", "placed_at": None}]
    assert violations(lines, limit=2, attempts_max=3) == []
    assert longest_silence(lines[:3]) == timedelta(seconds=1)
    began = datetime(2026, 5, 10, 9, tzinfo=UTC)
    late = [*lines[:3], call("d", 20, 21)]
    assert silence_at(late, began + timedelta(seconds=5)) == timedelta(seconds=19)
    assert silence_at(late, began - timedelta(seconds=9)) == timedelta(seconds=1)
    assert silence_at(late, began + timedelta(seconds=30)) == timedelta()
