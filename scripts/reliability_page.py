"""Writes docs/reference/reliability.md from what the parts of `make faults` measured.

Owns the words of the page. It measures nothing, and it never says "no violation" of a part that
did not run.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import median
from typing import Any, Final

Json = Mapping[str, Any]

PARTS: Final = ("model", "simulation", "processes", "singles", "tests")
_RULES: Final = {
    "I1": ("at most one open call per phone number", "ledger"),
    "I2": ("at most one provider call per execution, ever", "ledger, proxy"),
    "I3": ("no call after an answered one, follow-ups aside", "ledger"),
    "I4": ("no request outside the calling hours", "ledger"),
    "I5": ("no request after an answered pause or cancel", "ledger"),
    "I6": ("live calls within each limit", "ledger"),
    "I7": ("every provider call has its row and its outcome", "ledger, database"),
    "I8": ("attempts within what is allowed", "ledger"),
    "I9": ("nobody is forgotten, every batch ends", "database"),
    "I10": ("what is final changes only by a correction", "trigger in the database"),
    "I11": ("counters equal a recount, in every response", "database, API"),
    "I12": ("nothing of one organisation shows to another", "API"),
}
# What is promised after the return of a component, in seconds.
DIALS_WITHIN_S: Final = 15.0
_HEAD: Final = """\
# Reliability

How Apollo's invariants were tried, and what was found. Written by `make faults`; run it on your
machine. An invariant holds if nothing could break it *and* the same trial catches Apollo made
wrong on purpose: both are below.
"""
_METHOD: Final = """\
## Method

- **Model**: every reachable state of the protocol, by a search that knows nothing of Apollo's
  code.
- **Simulation**: Apollo's own use-cases on a loop whose time is made, with a database, a bus and a
  provider that fail by seed; thousands of seeds a minute.
- **Real processes**: API, one or two workers, PostgreSQL and RotaryRouter as processes, with
  proxies between them. A seed draws what is broken and when, and what the provider does wrong
  meanwhile; three batches of two organisations, some of the same people in both, are dialled to
  their end. Waits are shortened there (a lease is 4 s and a quarantine 8 s), so that a run takes
  seconds.
- **One fault at a time**: the same, with every patience as the product has it, and the time
  measured until it dials again.
- **Witnesses**: the provider's ledger wherever it can tell; beside it the proxy's record of
  requests, a trigger that notes every change to what was final, and the API's answers, read all
  the while by their owner and by a stranger.
- A seed that fails is replayed with `python -m tests.faults.run --seed N`, and
  `python -m tests.simulation.run --seed N --verbose`.
"""
_LIMITS: Final = """\
## What this does not say

- **A worker that is killed leaves some contacts for a person.** What it had claimed and not yet
  sent looks, from outside, like what it had sent: nobody can know. Meanwhile `/debug` says
  `provider_errors_unknown`; after the quarantine such a contact is `failed` with the hang-up reason
  `outcome_unknown`, and nobody calls it again by itself (`APOLLO_ON_UNRESOLVED=hold`, the default).
  `apollo calls unresolved` lists them and `apollo calls release` lets them be called;
  `APOLLO_ON_UNRESOLVED=release` does that by itself after an hour or more. The count is above.
- A process that stands still between its last look at the clock and the system call that sends the
  request (less than a millisecond) sends it late when it goes on. No protocol without a fence at
  the provider can prevent that; the quarantine still keeps a second call from being made.
- When RotaryRouter is killed, its ledger has every call it had placed, and lacks what happened to
  them in the last moment: it tells of those as cut short. Ends that neither a webhook nor a record
  told are counted as unknowable.
- What the provider told late, after a dump, of a call that had ended before it, is lost with the
  restored database. `apollo recover` asks for it again, an hour back; where the restore lacks no
  call at all, nobody has to recover, and nobody asks.
"""


def write(parts: Mapping[str, Json], *, about: Json, of: Mapping[str, str]) -> str:
    """Give the page.

    `parts` by name, in the order of PARTS; `of` which commit each is, and when it ended.
    """
    sections = [
        _HEAD,
        _about(about),
        _METHOD,
        _results(parts, of),
        *(_processes(parts["processes"]) if "processes" in parts else ()),
        *(_singles(parts["singles"]) if "singles" in parts else ()),
        *(_mutants(parts) if parts.keys() & {"model", "simulation", "processes"} else ()),
        *(_simulation(parts["simulation"]) if "simulation" in parts else ()),
        _LIMITS,
    ]
    return "\n".join(sections)


def is_clean(parts: Mapping[str, Json]) -> bool:
    """Tell whether nothing was found, and every mutant was caught."""
    return not any(_found(name, part) for name, part in parts.items()) and not _free(parts)


def _found(name: str, part: Json) -> int:
    """Count what a part found."""
    if name == "tests":
        return sum(one["failed"] for one in part.values())
    return len(part["violations"]) + sum(map(_is_late, part.get("singles", ())))


def _is_late(single: Json) -> bool:
    """Tell whether slots that were free did not all dial within what is promised."""
    all_s = inf if single["all_s"] is None else single["all_s"]
    return single["slots"] > 0 and bool(all_s > DIALS_WITHIN_S)


def _free(parts: Mapping[str, Json]) -> list[str]:
    """Name the mutants that got away."""
    return [
        f"{mutant} ({name})"
        for name, part in parts.items()
        for mutant, seeds in part.get("mutants", {}).items()
        if seeds is None
    ]


def _about(about: Json) -> str:
    return (
        f"Measured on {about['cores']} cores and {about['memory_gib']} GiB, {about['system']},"
        f" Python {about['python']}, PostgreSQL {about['postgresql']}.\n"
    )


def _results(parts: Mapping[str, Json], of: Mapping[str, str]) -> str:
    rows: list[Sequence[object]] = []
    for name, part in parts.items():
        if name == "model":
            what = f"{part['states']:,} states, {part['transitions']:,} transitions"
            rows.append(("model", what, f"{part['cpu_s']:.0f} s", of[name], _found(name, part)))
        elif name == "simulation":
            what = f"{part['seeds']:,} seeds, {part['calls']:,} calls, {part['checks']:,} checks"
            took = f"{part['cpu_s']:.0f} s of processor"
            rows.append((name, what, took, of[name], _found(name, part)))
        elif name == "processes":
            checks = sum(part["checks"].values())
            what = f"{part['runs']:,} runs, {part['calls']:,} calls, {checks:,} checks"
            took = f"{part['seconds']:.0f} s"
            rows.append(("real processes", what, took, of[name], _found(name, part)))
        elif name == "singles":
            what = f"{len(part['singles'])} runs"
            rows.append(("one fault at a time", what, "-", of[name], _found(name, part)))
        else:
            rows += [
                (
                    title,
                    f"{one['tests']} tests" + f", {one['skipped']} skipped" * bool(one["skipped"]),
                    f"{one['seconds']:.0f} s",
                    of[name],
                    one["failed"],
                )
                for title, one in part.items()
            ]
    free = _free(parts)
    said = (
        f"Mutants that got away: {', '.join(free)}."
        if free
        else "Every mutant of these parts was caught."
    )
    if missing := [name for name in PARTS if name not in parts]:
        said += f" **Not run: {', '.join(missing)}.**"
    table = _table(("part", "what was run", "took", "commit, ended (UTC)", "violations"), rows)
    found = "".join(_violations(name, part) for name, part in parts.items())
    return f"## Results\n\n{table}\n{said}\n{found}"


def _violations(name: str, part: Json) -> str:
    if name == "tests" or not part["violations"]:
        return ""
    first = [f"- {name}, seed {seed}: {found[0]}" for seed, found in part["violations"].items()]
    return "\n".join(["", *first[:20], ""])


def _processes(part: Json) -> Iterable[str]:
    checks = part["checks"]
    rows = [(name, *_RULES[name], f"{checks.get(name, 0):,}") for name in _RULES]
    yield "## Invariants, with real processes\n"
    yield _table(("", "invariant", "witness", "checked"), rows)
    yield (
        f"Contacts held as `outcome_unknown`: {part['held']} of {part['calls']:,} calls."
        f" Ends that nobody could know: {part['unknowable']}.\n"
    )
    yield "## Faults injected, real processes\n"
    yield _table(
        ("fault", "times", "first request after its return"),
        [
            (kind, count, _spread(part["recoveries"].get(kind, ())))
            for kind, count in sorted(part["struck"].items())
        ],
    )
    weather = ", ".join(f"{name} ({runs})" for name, runs in sorted(part["weather"].items()))
    yield f"What the provider did wrong meanwhile, with the number of runs: {weather}.\n"


def _singles(part: Json) -> Iterable[str]:
    yield "## Time to recover, one fault at a time\n"
    yield _table(
        ("broken", "times", "first request after its return", "every free slot"),
        _recovered(part["singles"]),
    )
    yield (
        "Least / median / most, from the start of the component (or the end of the fault) to the"
        " requests after it. Every free slot: until no call from before holds one any more, those"
        f" of unknown fate aside, and all have dialled; promised are {DIALS_WITHIN_S:.0f} s.\n"
    )


def _recovered(singles: Sequence[Json]) -> Iterable[Sequence[object]]:
    for kind in dict.fromkeys(one["kind"] for one in singles):
        mine = [one for one in singles if one["kind"] == kind]
        first = [one["first_s"] for one in mine if one["first_s"] is not None]
        every = [one["all_s"] for one in mine if one["all_s"] is not None]
        late = sum(map(_is_late, mine))
        yield kind, len(mine), _spread(first), _spread(every) + f" **{late} late**" * bool(late)


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "-"
    return f"{min(times):.1f} / {median(times):.1f} / {max(times):.1f} s"


def _mutants(parts: Mapping[str, Json]) -> Iterable[str]:
    names = dict.fromkeys(
        name
        for part in ("simulation", "processes")
        for name in parts.get(part, {}).get("mutants", {})
    )
    rows = [
        (
            name,
            *(
                _seeds(parts.get(part, {}).get("mutants", {}), name)
                for part in ("simulation", "processes")
            ),
            parts.get("processes", {}).get("caught_by", {}).get(name, "")[:90].replace("|", "/"),
        )
        for name in names
    ]
    yield "## Negative control\n"
    if rows:
        yield "Apollo made wrong, and how many seeds it took to catch it:\n"
        yield _table(("mutant", "simulation", "real processes", "caught there by"), rows)
    variants = parts.get("model", {}).get("variants")
    if variants:
        words = ", ".join(f"{name} ({steps} steps)" for name, steps in variants.items())
        yield f"In the model, with the length of the shortest counter-example: {words}.\n"


def _seeds(caught: Json, name: str) -> str:
    if name not in caught:
        return "not there"
    return "**not caught**" if caught[name] is None else str(caught[name])


def _simulation(part: Json) -> Iterable[str]:
    yield "## Faults injected, simulation\n"
    yield _table(("fault", "times"), [(k, f"{v:,}") for k, v in part["injected"].items()])


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
