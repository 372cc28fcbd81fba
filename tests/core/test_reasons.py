"""The list of reasons is closed, told once, and the page about it is current."""

from pathlib import Path

import pytest

from apollo.core.diagnosis.reference import reasons_page
from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import FACTS, Reason, help_for

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "reasons.md"


def test_every_reason_has_its_facts() -> None:
    assert set(FACTS) == set(Reason)


def test_every_reason_has_a_rule() -> None:
    assert set(RULES) == set(Reason)


def test_the_page_about_the_reasons_is_current() -> None:
    write = (
        'python -c "from apollo.core.diagnosis.reference import reasons_page;'
        " print(reasons_page(), end='')\" > docs/reference/reasons.md"
    )
    assert PAGE.read_text(encoding="utf-8") == reasons_page(), f"write it again: {write}"


@pytest.mark.parametrize("reason", Reason)
def test_the_help_of_a_reason_leads_to_its_section(reason: Reason) -> None:
    path, _, anchor = help_for(reason).partition("#")
    assert path == "docs/reference/reasons.md"
    assert f"\n### {anchor}\n" in PAGE.read_text(encoding="utf-8")
