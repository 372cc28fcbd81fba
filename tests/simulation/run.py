# ruff: noqa: T201 - it is a command
"""Runs seeds from the command line: `python -m tests.simulation.run --seeds 20000`.

Prints what was run, what was injected and what was found; `--json FILE` writes the same for the
report. `--seed N --verbose` replays one seed. The exit status is 1 when anything was found, or a
mutant got away.
"""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.simulation.mutants import MUTANTS, switched
from tests.simulation.story import Outcome, play

PAST_FAILURES: Final = Path(__file__).with_name("regression_seeds.txt")


@dataclass
class Summary:
    """What a number of seeds came to."""

    seeds: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    calls: int = 0
    commits: int = 0
    statements: int = 0
    checks: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    violations: dict[int, list[str]] = field(default_factory=dict)
    # How many seeds each mutant needed; None: not caught.
    mutants: dict[str, int | None] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.calls += outcome.calls
        self.commits += outcome.commits
        self.statements += outcome.statements
        # Those at the end, and one for each commit that was watched.
        self.checks += outcome.checks + outcome.commits
        self.injected.update(outcome.injected)
        if outcome.violations:
            self.violations[outcome.seed] = outcome.violations

    def as_json(self) -> dict[str, Any]:
        """Give it for the report."""
        return {
            "seeds": self.seeds,
            "virtual_hours": round(self.virtual_s / 3600, 1),
            "cpu_s": round(self.cpu_s, 1),
            "seeds_a_minute": round(self.seeds / self.cpu_s * 60) if self.cpu_s else None,
            "calls": self.calls,
            "commits": self.commits,
            "statements": self.statements,
            "checks": self.checks,
            "injected": dict(self.injected.most_common()),
            "violations": {str(seed): found for seed, found in self.violations.items()},
            "mutants": self.mutants,
        }


def past_failures() -> list[int]:
    """Read the seeds that once failed."""
    lines = PAST_FAILURES.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line.strip() and not line.startswith("#")]


def seeds_to_catch(name: str, at_most: int) -> int | None:
    """Count the seeds until a mutant is caught; None when it is not."""
    with switched(name):
        for seed in range(at_most):
            if play(seed).violations:
                return seed + 1
    return None


def main() -> int:
    """Run what was asked for."""
    asked = _arguments().parse_args()
    if asked.seed is not None:
        outcome = _replay(asked.seed, asked.mutant, is_verbose=asked.verbose)
        print("\n".join(outcome.violations) or "no violation")
        return bool(outcome.violations)
    summary = Summary()
    began = time.process_time()
    for seed in range(asked.first, asked.first + asked.seeds):
        outcome = play(seed)
        summary.add(outcome)
        if outcome.violations:
            print(f"seed {seed}: {outcome.violations[0]}", flush=True)
    summary.cpu_s = time.process_time() - began
    if asked.mutants:
        summary.mutants = {name: seeds_to_catch(name, asked.mutants) for name in MUTANTS}
    _show(summary)
    if asked.json is not None:
        asked.json.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    return bool(summary.violations) or None in summary.mutants.values()


def _replay(seed: int, mutant: str | None, *, is_verbose: bool) -> Outcome:
    if mutant is None:
        return play(seed, is_verbose=is_verbose)
    with switched(mutant):
        return play(seed, is_verbose=is_verbose)


def _show(summary: Summary) -> None:
    facts = summary.as_json()
    injected, mutants = facts.pop("injected"), facts.pop("mutants")
    facts["violations"] = f"{len(summary.violations)} seeds {sorted(summary.violations)[:20]}"
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):16} {value}")
    print("faults injected")
    for name, count in injected.items():
        print(f"  {name:24} {count}")
    for name, seeds in mutants.items():
        print(f"mutant {name:32} {'NOT CAUGHT' if seeds is None else f'caught with {seeds}'}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--mutant", choices=MUTANTS, help="replay it with Apollo made wrong")
    parser.add_argument("--verbose", action="store_true", help="print what happens, with times")
    parser.add_argument(
        "--mutants", type=int, default=0, metavar="N", help="catch each mutant in at most N seeds"
    )
    parser.add_argument("--json", type=Path, help="write the summary here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
