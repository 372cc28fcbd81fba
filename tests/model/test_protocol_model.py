# ruff: noqa: T201 - what a search found is printed, for the report
"""The protocol of the house has no wrong state at all, and each wrong variant is caught.

`pytest -s tests/model` prints the size of every search and the shortest way to each wrong state.
"""

import time

from tests.model.protocol_model import OURS, WRONG, Rules
from tests.model.search import Found, search

# Half of what the whole search may take, for each of the two tests, on a busy machine.
CPU_MAX_S = 60.0


def show(rules: Rules, found: Found) -> None:
    print(f"\n{rules.name}: {found.states} states, {found.transitions} transitions")
    for wrong, way in found.violations.items():
        print(f"  {wrong}, after {len(way)} steps:")
        for number, label in enumerate(way, start=1):
            print(f"    {number}. {label}")


def test_nothing_is_wrong_with_the_protocol_in_any_state_it_can_reach() -> None:
    began = time.process_time()
    for rules in OURS:
        found = search(rules)
        show(rules, found)
        assert not found.violations, rules.name
        assert found.states > 1000, f"{rules.name}: the model has become trivial"
    assert time.process_time() - began < CPU_MAX_S


def test_every_wrong_variant_of_the_protocol_is_caught() -> None:
    began = time.process_time()
    for rules in WRONG:
        found = search(rules, at_most=10_000)
        show(rules, found)
        assert found.violations, f"{rules.name}: nobody noticed"
    assert time.process_time() - began < CPU_MAX_S
