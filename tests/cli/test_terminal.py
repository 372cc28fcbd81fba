"""What the command line writes: JSON for programs, tables for people and pipes."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from apollo.cli.render import listing, rejected_table
from apollo.cli.terminal import print_json, print_table

AT = datetime(2026, 5, 10, 9, 5, 0, 123_456, tzinfo=UTC)


def test_json_has_times_as_the_api_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    print_json({"created_at": elsewhere, "revoked_at": None})
    assert json.loads(capsys.readouterr().out) == {
        "created_at": "2026-05-10T09:05:00Z",
        "revoked_at": None,
    }


def test_a_row_is_one_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    contact = "con_5rBL7SZke20LxgOBlS8ExY000001"
    print_table(listing(("attempted", "contact"), [(AT, contact), (AT, contact)]))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [["2026-05-10T09:05:00Z", contact]] * 2


def test_why_a_row_was_left_out_is_one_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    why = (
        "phone_number: not a valid number: no such number is in use; write it such as +14155550123"
    )
    row = {"index": 131, "phone_number": "+1 000 555 0100", "reason": why}
    table = rejected_table({"rejected": [row], "rejected_count": 1}, rows_max=20)
    assert table is not None
    print_table(table)
    assert f"131  +1 000 555 0100  {why}" in capsys.readouterr().out
