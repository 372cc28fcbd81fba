"""The fault bench makes the cause of every reason, or says where it is tested instead."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from apollo.core.reasons import Reason

ROOT = Path(__file__).parents[2]
BY_MAKING = "here, in a pair"


@pytest.fixture
def causes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("causes")


def test_every_reason_is_made_or_tested_elsewhere(causes: ModuleType) -> None:
    on_kafka = importlib.import_module("kafka_causes").KAFKA_CAUSES
    made = {code for one in (*causes.CAUSES, *on_kafka) for code in one.codes}
    assert made | causes.ELSEWHERE.keys() == set(Reason)
    assert made & causes.ELSEWHERE.keys() == set()


def test_what_is_tested_elsewhere_is_named_there(causes: ModuleType) -> None:
    pairs = {code for one in causes.PAIRS for code in one.codes}
    for code, where in causes.ELSEWHERE.items():
        if where.startswith(BY_MAKING):
            assert code in pairs
        else:
            assert code.upper() in (ROOT / where).read_text(), (code, where)
