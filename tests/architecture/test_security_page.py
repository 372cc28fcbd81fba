"""SECURITY.md: whoever reads a promise finds the test that shows it."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PROMISED: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("## What it leaves")[0]
PROMISES: Final = re.findall(r"(?ms)^- \*\*(.+?)\.?\*\*(.*?)(?=^- \*\*|\Z)", PROMISED)
NAMED: Final = re.compile(r"`(tests/[\w/]+\.py)`((?:[^`]|`(?!tests/))*)")


@pytest.mark.parametrize(("promise", "text"), PROMISES, ids=[name for name, _ in PROMISES])
def test_each_promise_names_a_test_that_there_is(promise: str, text: str) -> None:
    files = NAMED.findall(text)
    assert files, f"{promise}: no test is named"
    for file, rest in files:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {
            one.name
            for one in ast.walk(tree)
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        missing = set(re.findall(r"\btest_\w+", rest)) - there
        assert not missing, f"{promise}: {file} has no {', '.join(sorted(missing))}"
        assert any(name.startswith("test_") for name in there)


def test_it_has_promises() -> None:
    assert len(PROMISES) >= 10
