"""Runs a command in this process, as the shell would."""

import sys
from dataclasses import dataclass

import pytest

from apollo.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> Ran:
    monkeypatch.setattr(sys, "argv", ["apollo", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    else:
        code = 0
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err)
