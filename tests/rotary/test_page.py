"""The page of RotaryRouter names everything that can be set."""

from pathlib import Path

from apollo.rotary.faults import Faults
from apollo.rotary.scenario import Api, Scenario

PAGE = (Path(__file__).parents[2] / "docs/reference/rotary.md").read_text()


def test_the_page_names_every_fault_and_every_part_of_a_scenario() -> None:
    wanted = {*Faults.model_fields, *Scenario.model_fields, *Api.model_fields}
    assert {name for name in wanted if f"`{name}`" not in PAGE} == set()
