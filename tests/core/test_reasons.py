"""The list of reasons is closed, told once, and the page about it is current."""

import pytest
from scripts.draw_reasons import PAGE, render

from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import Reason
from apollo.web.reasons_page import reasons_page


def test_every_reason_has_a_rule() -> None:
    assert set(RULES) == set(Reason)


def test_the_page_about_the_reasons_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python scripts/draw_reasons.py"


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_section(reason: Reason) -> None:
    assert f"\n### {reason}\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", Reason)
def test_the_help_of_each_reason_leads_to_a_section_that_the_api_serves(reason: Reason) -> None:
    assert f'<h3 id="{reason}">' in reasons_page()
