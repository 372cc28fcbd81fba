"""The judge of the random runs excuses what nobody could know, and only until somebody was told."""

from typing import Any

import pytest
from tests.faults.judge import _is_excused, _Seen

from apollo.core.audit import Finding

FIRST, SECOND = "2026-11-29T21:15:32.200000Z", "2026-11-29T21:15:41.400000Z"


def line(sid: str, requested_at: str, *faults: str, told_at: str | None = None) -> dict[str, Any]:
    """An answered call in the ledger; a webhook told of it at this time, or none did."""
    attempts = [{"at": told_at, "took_ms": 80.0, "status": 200}] if told_at else []
    return {
        "call_sid": sid,
        "requested_at": requested_at,
        "answered_at": requested_at,
        "reached_carrier": True,
        "cut_short": False,
        "faults": faults,
        "webhooks": [{"event": "in-progress", "attempts": attempts}],
    }


@pytest.mark.parametrize(
    ("faults", "told_at", "is_excused"),
    [
        (("record_expires", "cdr_lost"), None, True),
        # Connections were cut: the provider repeated it, after the person had been called again.
        (("record_expires", "cdr_lost"), "2026-11-29T21:15:42.2Z", True),
        # It was on its way, and confirmed a moment after the second call was asked for.
        (("record_expires", "cdr_lost"), "2026-11-29T21:15:41.35Z", True),
        (("record_expires", "cdr_lost"), "2026-11-29T21:15:41.30Z", False),
        (("record_expires", "cdr_lost"), "2026-11-29T21:15:33.0Z", False),
        (("record_expires",), None, False),
    ],
)
def test_a_call_after_an_answer_is_excused_while_nobody_could_know_of_the_answer(
    faults: tuple[str, ...], told_at: str | None, *, is_excused: bool
) -> None:
    first = line("sid-1", FIRST, *faults, told_at=told_at)
    second = line("sid-2", SECOND)
    seen = _Seen({"sid-1": first, "sid-2": second}, {"con_1": [first, second]})
    names = ("exec_2", "con_1", "call_sid sid-2")
    assert _is_excused(Finding("I3", "rule"), names, seen) is is_excused
