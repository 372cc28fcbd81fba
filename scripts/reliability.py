"""Runs everything that tries Apollo's invariants, and writes what it found: `make faults`.

The model, the simulation, real processes under fire, one fault at a time, and the full length of
the tests that have one. Exits with 1 when anything was found. `--share 0.01` runs a hundredth of it
and `--page FILE` writes elsewhere; `--only NAME` runs one part beside what was measured before: the
page says of which commit each part is.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from scripts.reliability_page import PARTS, is_clean, write
from tests.model.protocol_model import OURS, WRONG
from tests.model.search import search

from apollo.embedded import MAJOR_VERSION

ROOT: Final = Path(__file__).parents[1]
_PAGE: Final = ROOT / "docs/reference/reliability.md"
_KEPT: Final = ROOT / "build/reliability"
# At full length. What each takes on two quiet cores stands in the page.
_SEEDS: Final = 20_000
_MUTANT_SEEDS: Final = 500
_RUNS: Final = 200
_SINGLES: Final = 3
_RUN_MUTANT_SEEDS: Final = 40
# A random run mostly waits; one fault at a time is measured, and has two cores for two.
_RUNS_A_CORE: Final = 2
# The API's state machine takes half of it; after that a test is taken for one that hangs.
_LONGEST_TEST_S: Final = 3_600
# The longest first: it is one test, and the others run beside it.
_TESTS: Final = {
    "state machine of the API": ("tests/properties",),
    "calling hours, against the oracle": (
        "tests/core/test_windows.py",
        "tests/core/test_window_input.py",
    ),
    "named faults": ("tests/faults", "tests/e2e"),
    "restore": ("tests/recovery",),
}


def main() -> int:
    """Run what was asked for."""
    asked = _arguments().parse_args()
    _KEPT.mkdir(parents=True, exist_ok=True)
    commit = _commit()
    parts: dict[str, Callable[[float], dict[str, Any]]] = {
        "model": _model,
        "simulation": _simulation,
        "processes": _processes,
        "singles": _singles,
        "tests": _tests,
    }
    for name, run in parts.items():
        if asked.only in {None, name}:
            _say(f"{name} …")
            since = time.monotonic()
            part = run(asked.share)
            measured = {"commit": commit, "ended": _now(), "part": part}
            (_KEPT / f"{name}.json").write_text(json.dumps(measured), encoding="utf-8")
            _say(f"{name}: {time.monotonic() - since:.0f} s")
    found = {
        name: json.loads((_KEPT / f"{name}.json").read_text(encoding="utf-8"))
        for name in parts
        if (_KEPT / f"{name}.json").exists()
    }
    kept = {name: one["part"] for name, one in found.items()}
    of = {name: f"`{one['commit']}`, {one['ended']}" for name, one in found.items()}
    asked.page.write_text(write(kept, about=_about(), of=of), encoding="utf-8")
    _say(f"written: {asked.page.name}")
    return 0 if is_clean(kept) else 1


def _model(_share: float) -> dict[str, Any]:
    began = time.process_time()
    found = [search(rules) for rules in OURS]
    cpu_s = time.process_time() - began
    variants = {rules.name: search(rules, at_most=10_000).violations for rules in WRONG}
    return {
        "states": sum(one.states for one in found),
        "transitions": sum(one.transitions for one in found),
        "cpu_s": round(cpu_s, 1),
        "violations": {
            rules.name: list(one.violations)
            for rules, one in zip(OURS, found, strict=True)
            if one.violations
        },
        "mutants": {name: 1 if ways else None for name, ways in variants.items()},
        "variants": {name: min(map(len, ways.values())) for name, ways in variants.items() if ways},
    }


def _simulation(share: float) -> dict[str, Any]:
    """Run half of the seeds on each of two cores; the mutants go with the second half."""
    half = max(int(_SEEDS * share) // 2, 1)
    halves = [_fresh(f"simulation-{n}.json") for n in (0, 1)]
    running = [
        subprocess.Popen(  # noqa: S603 - our own command
            _python(
                *("tests.simulation.run", "--seeds", str(half), "--first", str(n * half)),
                *(("--mutants", str(_MUTANT_SEEDS)) if n else ()),
                *("--json", str(file)),
            ),
            cwd=ROOT,
        )
        for n, file in enumerate(halves)
    ]
    for process in running:
        process.wait()
    first, second = (json.loads(file.read_text(encoding="utf-8")) for file in halves)
    both = dict(second)
    for name in ("seeds", "virtual_hours", "cpu_s", "calls", "commits", "statements", "checks"):
        both[name] = first[name] + second[name]
    both["violations"] = first["violations"] | second["violations"]
    both["injected"] = {
        name: first["injected"].get(name, 0) + second["injected"].get(name, 0)
        for name in first["injected"] | second["injected"]
    }
    return both


def _processes(share: float) -> dict[str, Any]:
    runs = max(round(_RUNS * share), 1)
    at_a_time = str(_RUNS_A_CORE * (os.cpu_count() or 1))
    return _fire("--runs", str(runs), "--mutants", str(_RUN_MUTANT_SEEDS), "--jobs", at_a_time)


def _singles(share: float) -> dict[str, Any]:
    return _fire("--singles", str(max(round(_SINGLES * share), 1)))


def _fire(*asked: str) -> dict[str, Any]:
    file = _fresh("fire.json")
    command = _python("tests.faults.run", *asked, "--json", str(file))
    subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 - our own command
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _fresh(name: str) -> Path:
    """Name a file that is not there: what a run that broke had left behind is of another one."""
    file = _KEPT / name
    file.unlink(missing_ok=True)
    return file


def _tests(share: float) -> dict[str, Any]:
    """Run the tests that have a full length; a share of it is their usual one."""
    environ = os.environ | ({"APOLLO_TEST_FULL": "1"} if share >= 1 else {})
    file = _fresh("junit.xml")
    paths = [path for paths in _TESTS.values() for path in paths]
    command = _python(
        *("pytest", "-n", "2", "--dist", "worksteal", f"--junitxml={file}"),
        *("-o", f"faulthandler_timeout={_LONGEST_TEST_S}", *paths),
    )
    subprocess.run(command, cwd=ROOT, env=environ, check=False)  # noqa: S603 - our own command
    cases = list(ET.parse(file).getroot().iter("testcase"))  # noqa: S314 - pytest wrote it
    found = {title: told(cases, paths) for title, paths in _TESTS.items()}
    lost = len(cases) - sum(one["tests"] for one in found.values())
    if lost or not all(one["tests"] for one in found.values()):
        # A module that cannot be read is a case of its own, below no path.
        raise SystemExit(f"{lost} tests belong to no part; the parts: {found}")
    return found


def told(cases: Iterable[ET.Element], paths: tuple[str, ...]) -> dict[str, Any]:
    """Count what became of the tests below these paths; seconds are theirs, added up."""
    modules = tuple(path.removesuffix(".py").replace("/", ".") for path in paths)
    mine = [case for case in cases if case.get("classname", "").startswith(modules)]
    ends = Counter(end.tag for case in mine for end in case)
    return {
        "tests": len(mine),
        "skipped": ends["skipped"],
        "failed": ends["failure"] + ends["error"],
        "seconds": round(sum(float(case.get("time", 0)) for case in mine), 1),
    }


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _commit() -> str:
    """Name the commit that is tried; the page is what comes of it, and no part of it."""
    is_changed = _git("status", "--porcelain", "--", f":!{_PAGE.relative_to(ROOT)}")
    return (_git("rev-parse", "--short=12", "HEAD") or "unknown") + "-dirty" * bool(is_changed)


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return said.stdout.strip()


def _about() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": MAJOR_VERSION,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")  # noqa: TID251 - the page says when


def _say(what: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {what}\n")  # noqa: TID251 - progress


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="how much of the full length")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--page", type=Path, default=_PAGE, help="where the page is written")
    return parser


if __name__ == "__main__":
    sys.exit(main())
