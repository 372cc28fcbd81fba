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
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from tests.simulation.mutants import MUTANTS, PAST_FAILURES, first_to_catch, switched
from tests.simulation.story import Outcome, play

# What is handed to a process at a time: a second of work, so that what is found is shown early.
SET: Final = 25
SHOWN_EVERY: Final = 1000


@dataclass
class Summary:
    """What a number of seeds came to."""

    seeds: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    processes: int = 1
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
            # Of one process that has a core to itself.
            "seeds_a_minute": round(self.seeds / self.cpu_s * 60) if self.cpu_s else None,
            "processes": self.processes,
            "wall_s": round(self.wall_s, 1),
            "calls": self.calls,
            "commits": self.commits,
            "statements": self.statements,
            "checks": self.checks,
            "injected": dict(self.injected.most_common()),
            "violations": {str(seed): found for seed, found in self.violations.items()},
            "mutants": self.mutants,
            "past_failures": [name for name in PAST_FAILURES if name in self.mutants],
        }


def seeds_to_catch(name: str, at_most: int) -> int | None:
    """Count the seeds until a mutant is caught; None when it is not."""
    seed = first_to_catch(name, range(at_most))
    return None if seed is None else seed + 1


def main() -> int:
    """Run what was asked for."""
    asked = _arguments().parse_args()
    if asked.seed is not None:
        outcome = _replay(asked.seed, asked.mutant, is_verbose=asked.verbose)
        print("\n".join(outcome.violations) or "no violation")
        return bool(outcome.violations)
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        summary = _run(pool, asked)
    _show(summary)
    if asked.json is not None:
        asked.json.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")
    return bool(summary.violations) or None in summary.mutants.values()


def _run(pool: ProcessPoolExecutor, asked: argparse.Namespace) -> Summary:
    summary, began = Summary(processes=asked.processes), time.monotonic()
    last = asked.first + asked.seeds
    sets = [range(n, min(n + SET, last)) for n in range(asked.first, last, SET)]
    for cpu_s, outcomes in pool.map(_play_set, sets):
        summary.cpu_s += cpu_s
        for outcome in outcomes:
            summary.add(outcome)
            if outcome.violations:
                print(f"seed {outcome.seed}: {outcome.violations[0]}", flush=True)
        if summary.seeds % SHOWN_EVERY == 0:
            print(f"{summary.seeds} seeds, {len(summary.violations)} with violations", flush=True)
    summary.wall_s = time.monotonic() - began
    if asked.mutants:
        needed = pool.map(seeds_to_catch, MUTANTS, [asked.mutants] * len(MUTANTS))
        summary.mutants = dict(zip(MUTANTS, needed, strict=True))
    return summary


def _play_set(seeds: range) -> tuple[float, list[Outcome]]:
    began = time.process_time()
    outcomes = [play(seed) for seed in seeds]
    return time.process_time() - began, outcomes


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
        print(
            f"mutant {name:36} {'NOT CAUGHT' if seeds is None else f'caught by seed {seeds - 1}'}"
        )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--mutant", choices=MUTANTS, help="replay it with Apollo made wrong")
    parser.add_argument("--verbose", action="store_true", help="print what happens, with times")
    parser.add_argument(
        "--mutants",
        type=int,
        default=0,
        metavar="N",
        help="catch each mutant in at most N seeds, and show the first that does",
    )
    parser.add_argument("--processes", type=int, default=1, help="how many run at once")
    parser.add_argument("--json", type=Path, help="write the summary here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
