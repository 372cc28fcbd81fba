"""The page of `make faults` tells what was found, and never that nothing was when something was."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from scripts.reliability import told
from scripts.reliability_page import PARTS, is_clean, write

ABOUT = {
    "cores": 2,
    "memory_gib": 24,
    "system": "Linux x86_64",
    "python": "3.11.2",
    "postgresql": "18",
}


MEASURED = "`0123456789ab`, 2026-11-23 11:00"
OF = dict.fromkeys(PARTS, MEASURED)


def processes(**more: Any) -> dict[str, Any]:
    return {
        "runs": 3, "seconds": 60.0, "calls": 400, "held": 2, "unknowable": 1,
        "checks": {"I1": 400}, "struck": {"API killed": 2}, "weather": {"webhook_lost": 1},
        "recoveries": {"API killed": [0.5, 1.5, 4.0]},
        "violations": {}, "mutants": {"mark after POST": 1}, "caught_by": {"mark after POST": "I1"},
        **more,
    }  # fmt: skip


def singles(**more: Any) -> dict[str, Any]:
    recovered = {"kind": "API killed", "first_s": 1.0, "all_s": 2.0, "slots": 20, **more}
    return {"singles": [recovered], "violations": {}, "mutants": {}}


def test_a_run_without_findings_says_how_much_was_looked_at() -> None:
    parts = {"processes": processes(), "singles": singles()}
    page = write(parts, about=ABOUT, of=OF)
    assert is_clean(parts)
    assert f"| real processes | 3 runs, 400 calls, 400 checks | 60 s | {MEASURED} | 0 |" in page
    assert "Every mutant of these parts was caught. **Not run: model, simulation, tests.**" in page
    assert "| API killed | 2 | 0.5 / 1.5 / 4.0 s |" in page
    assert "| API killed | 1 | 1.0 / 1.0 / 1.0 s | 2.0 / 2.0 / 2.0 s |" in page
    assert "| mark after POST | not there | 1 | I1 |" in page


def test_a_violation_a_mutant_that_got_away_and_a_failed_test_are_told() -> None:
    violated = {"processes": processes(violations={"17": ["I2: exec_1 was asked for 2 times"]})}
    assert not is_clean(violated)
    assert "- processes, seed 17: I2: exec_1 was asked" in write(violated, about=ABOUT, of=OF)
    free = {"processes": processes(mutants={"last webhook wins": None})}
    assert not is_clean(free)
    page = write(free, about=ABOUT, of=OF)
    assert "Mutants that got away: last webhook wins (processes)." in page
    assert "| last webhook wins | not there | **not caught** |" in page
    failed = {"tests": {"restore": {"tests": 5, "skipped": 1, "failed": 1, "seconds": 9.0}}}
    assert not is_clean(failed)
    assert f"| restore | 5 tests, 1 skipped | 9 s | {MEASURED} | 1 |" in write(
        failed, about=ABOUT, of=OF
    )


@pytest.mark.parametrize(("all_s", "shown"), [(15.5, "15.5 / 15.5 / 15.5 s"), (None, "-")])
def test_a_recovery_that_took_too_long_is_a_finding(all_s: float | None, shown: str) -> None:
    parts = {"singles": singles(all_s=all_s)}
    assert not is_clean(parts)
    assert f"{shown} **1 late**" in write(parts, about=ABOUT, of=OF)


def test_where_every_slot_is_held_none_is_late() -> None:
    assert is_clean({"singles": singles(first_s=None, all_s=None, slots=0)})
    assert is_clean({"singles": singles(all_s=0.0)})


def test_the_tests_are_told_apart_by_where_they_are() -> None:
    junit = """<testsuite>
      <testcase classname="tests.recovery.test_a" time="1.5"/>
      <testcase classname="tests.recovery.test_b" time="1.5"><failure/></testcase>
      <testcase classname="tests.core.test_windows" time="9.0"><skipped/></testcase>
    </testsuite>"""
    cases = list(ET.fromstring(junit).iter("testcase"))  # noqa: S314 - written above
    assert told(cases, ("tests/recovery",)) == {
        "tests": 2, "skipped": 0, "failed": 1, "seconds": 3.0,
    }  # fmt: skip
    assert told(cases, ("tests/core/test_windows.py",))["skipped"] == 1
