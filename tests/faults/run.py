"""Runs real processes under fire: `python -m tests.faults.run --runs 200 --jobs 2`.

Each run draws from its seed what is broken and when, dials to the end and judges every invariant.
`--seed N` replays one and shows what happened; `--mutants N` is the negative control: each mutant
of the protocol, until it is caught, in at most N seeds; `--singles N` breaks one thing at a time,
with the product's own patience, and measures how long until it dials again. `--json FILE` writes
all that for the report. The exit status is 1 when anything was found, or a mutant got away.
"""

import argparse
import asyncio
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import WATCHER
from tests.faults.fire import Fire
from tests.faults.judge import judge
from tests.faults.mutants import MUTANTS
from tests.faults.plan import Plan, draw
from tests.faults.singles import SINGLES, single
from tests.faults.site import Postgres, open_site

from apollo import embedded


@dataclass
class Result:
    """What came of one run; plain, so that it travels between processes."""

    seed: int
    plan: str
    mutant: str = ""
    seconds: float = 0.0
    calls: int = 0
    held: int = 0
    unknowable: int = 0
    checks: dict[str, int] = field(default_factory=dict)
    struck: list[str] = field(default_factory=list)
    weather: list[str] = field(default_factory=list)
    recoveries: list[dict[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def breaches(self) -> list[str]:
        """What was found about invariants alone: a mutant that crashes is not caught by that.

        A value of the provider's that only the database refused is a breach of its own.
        """
        return [one for one in self.violations if one.startswith("I") or "_encode_bind_msg" in one]


async def play(plan: Plan, postgres: Postgres, folder: Path) -> Result:
    """Run one plan and judge it."""
    logs = Path(tempfile.mkdtemp(prefix=f"seed-{plan.seed}-", dir=folder))
    result = Result(plan.seed, plan.shown(), plan.mutant, weather=sorted(plan.weather))
    began = time.monotonic()
    fire: Fire | None = None
    try:
        async with open_site(plan, postgres, logs) as site:
            fire = Fire(site)
            await fire.burn()
            verdict = await judge(fire)
        result.calls, result.held = verdict.calls, verdict.held
        result.unknowable = verdict.unknowable
        result.checks = dict(verdict.checks)
        result.violations = verdict.violations
    except Exception as e:  # noqa: BLE001 - whatever breaks a run is a finding, and others go on
        last = "".join(traceback.format_exception(e)[-3:])
        result.violations = [f"the run broke: {type(e).__name__}: {e}\n{last}"]
    if fire is not None:
        result.struck, result.log = fire.struck, fire.log
        result.recoveries = [asdict(one) for one in fire.recoveries]
    result.seconds = round(time.monotonic() - began, 1)
    if result.violations and not plan.mutant:
        result.log.append(f"logs: {logs}")
    else:
        shutil.rmtree(logs)
    return result


_postgres: Postgres | None = None
_logs = Path()


def _begin(servers: Path, logs: Path) -> None:
    """Start the server of this job; it outlives every run, and most of its own deaths."""
    global _postgres, _logs
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _postgres, _logs = Postgres(Path(tempfile.mkdtemp(prefix="job-", dir=servers))), logs


def _play(plan: Plan) -> Result:
    assert _postgres is not None
    embedded.ensure_running(_postgres.folder)
    return asyncio.run(play(plan, _postgres, _logs))


def _catch(name: str, at_most: int) -> list[Result]:
    """Run a mutant until it is caught."""
    results: list[Result] = []
    for seed in range(at_most):
        results.append(_play(draw(seed, name)))
        if results[-1].breaches:
            break
    return results


class Jobs:
    """So many runs at a time, each process with a server of its own."""

    def __init__(self, count: int) -> None:
        # Logs of runs in which something was found are left here.
        self.folder = Path(tempfile.mkdtemp(prefix="apollo-fire-"))
        servers = Path(tempfile.mkdtemp(prefix="apollo-fire-servers-"))
        (servers / "servers").mkdir()
        # Ends the servers when this process has ended, however it did.
        self._watcher = subprocess.Popen(
            [sys.executable, "-c", WATCHER, str(servers)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._pool = ProcessPoolExecutor(
            count,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(servers / "servers", self.folder),
        )

    def close(self) -> None:
        """End everything; what is running now is waited for."""
        self._pool.shutdown(cancel_futures=True)
        self._watcher.communicate()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def runs(self, plans: Iterable[Plan]) -> Iterator[Result]:
        """Give the results as they come, in order."""
        return self._pool.map(_play, plans)

    def mutants(self, at_most: int) -> Iterator[list[Result]]:
        """Give for each mutant its runs; the last one caught it, if any did."""
        return self._pool.map(_catch, MUTANTS, [at_most] * len(MUTANTS))


@dataclass
class Report:
    """What all runs came to."""

    runs: int = 0
    seconds: float = 0.0
    calls: int = 0
    held: int = 0
    unknowable: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    weather: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    singles: list[dict[str, Any]] = field(default_factory=list)
    violations: dict[str, list[str]] = field(default_factory=dict)
    # In how many seeds each mutant was caught; None: it got away.
    mutants: dict[str, int | None] = field(default_factory=dict)
    caught_by: dict[str, str] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Count one run."""
        self.runs += 1
        self.seconds += result.seconds
        self.calls += result.calls
        self.held += result.held
        self.unknowable += result.unknowable
        self.checks.update(result.checks)
        self.struck.update(result.struck)
        self.weather.update(result.weather)
        for one in result.recoveries:
            if one["first_s"] is not None:
                self.recoveries.setdefault(one["kind"], []).append(one["first_s"])
        if result.violations:
            self.violations[str(result.seed)] = result.violations


def show(result: Result, *, in_full: bool) -> None:
    """Print one line for a run; all that happened if something was found."""
    found = f"{len(result.violations)} VIOLATIONS" if result.violations else "ok"
    name = f" {result.mutant}" * bool(result.mutant)
    print(
        f"seed {result.seed}{name}: {found}, {result.calls} calls, {result.held} held,"
        f" {result.seconds:.0f} s; {result.plan}",
        flush=True,
    )
    if in_full or (result.violations and not result.mutant):
        print(
            "\n".join(f"    {line}" for line in (*result.log, *result.violations[:10])), flush=True
        )


def main() -> int:
    """Run what was asked for."""
    asked = _arguments().parse_args()
    report = Report()
    with closing(Jobs(1 if asked.seed is not None else asked.jobs)) as jobs:
        if asked.seed is not None:
            plan = draw(asked.seed, asked.mutant or "")
            if asked.single:
                plan = single(asked.single, asked.seed)
            for result in jobs.runs([plan]):
                show(result, in_full=True)
                report.add(result)
            return bool(report.violations)
        for result in jobs.runs(
            draw(seed) for seed in range(asked.first, asked.first + asked.runs)
        ):
            show(result, in_full=False)
            report.add(result)
        _run_singles(jobs, asked.singles, report)
        if asked.mutants:
            for name, results in zip(MUTANTS, jobs.mutants(asked.mutants), strict=True):
                found = results[-1].breaches
                caught = bool(found)
                report.mutants[name] = len(results) if caught else None
                report.caught_by[name] = found[0][:200] if caught else ""
                number = f"caught with {len(results)}: {report.caught_by[name]}"
                print(f"mutant {name}: {number if caught else 'NOT CAUGHT'}", flush=True)
    _conclude(report)
    if asked.json is not None:
        asked.json.write_text(json.dumps(vars(report), indent=2) + "\n", encoding="utf-8")
    return bool(report.violations) or None in report.mutants.values()


def _run_singles(jobs: Jobs, rounds: int, report: Report) -> None:
    plans = [single(name, seed) for seed in range(rounds) for name in SINGLES]
    for plan, result in zip(plans, jobs.runs(plans), strict=True):
        show(result, in_full=False)
        report.singles += result.recoveries
        if result.violations:
            report.violations[f"{plan.blows[0].kind} {result.seed}"] = result.violations


def _conclude(report: Report) -> None:
    print(
        f"{report.runs} runs, {report.calls} calls, {sum(report.checks.values())} checks,"
        f" {len(report.violations)} runs with violations, {report.held} contacts held,"
        f" {report.unknowable} ends that nobody could know"
    )
    for kind, times in sorted(report.recoveries.items()):
        print(f"  {kind:32} {report.struck[kind]:4} times, dialled again within {max(times):.1f} s")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=0, help="how many random runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--mutant", choices=MUTANTS, help="replay it with Apollo made wrong")
    parser.add_argument("--single", choices=SINGLES, help="break only this, with this seed")
    parser.add_argument(
        "--singles", type=int, default=0, metavar="N", help="break each thing alone, N times"
    )
    parser.add_argument(
        "--mutants", type=int, default=0, metavar="N", help="catch each mutant in at most N seeds"
    )
    parser.add_argument("--json", type=Path, help="write the summary here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
