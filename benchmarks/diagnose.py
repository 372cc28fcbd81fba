"""Breaks a running Apollo, one cause at a time and in pairs, and checks that `/debug` names it.

Real processes, RotaryRouter as the provider, everything in a folder that is gone afterwards. For
each cause it prints how long it took until `/debug` named it, what came first, and whether that was
right; at the end a healthy run in which nothing of `warning` or above may appear.

    python benchmarks/diagnose.py [--only NAME] [--healthy SECONDS] [--json FILE]
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kafka_causes
from causes import CAUSES, ELSEWHERE, PAIRS, Cause
from figures import say
from ward import Ward, opened_ward

from apollo.cli.interrupts import Interrupted, until_interrupted
from apollo.core.diagnosis.rules import RULES
from apollo.core.reasons import Reason, Severity
from apollo.errors import ApolloError

# The goal: every cause named within this.
GOAL_S = 30.0
# And how long it is waited for, so that a late answer is told from none.
PATIENCE_S = 60.0
ASK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one cause."""

    cause: str
    named_after_s: float | None
    first: str
    is_right: bool
    listed: list[str]

    def __str__(self) -> str:
        took = "never" if self.named_after_s is None else f"{self.named_after_s:5.1f} s"
        right = "right" if self.is_right else "WRONG"
        return f"{self.cause:<52} {took:>8}  {self.first:<30} {right}"


async def _measured(ward: Ward, cause: Cause) -> Result:
    """Measure; what breaks the bench itself is a wrong result too, and the others go on."""
    try:
        async with asyncio.timeout(PATIENCE_S * 4):
            return await measure(ward, cause)
    except (ApolloError, OSError) as fault:
        return Result(cause.name, None, f"the bench: {fault!r}"[:60], False, [])


async def measure(ward: Ward, cause: Cause) -> Result:
    """Make the cause, wait until it is named, and undo it."""
    async with contextlib.AsyncExitStack() as undo:
        batch_id = await cause.make(ward, undo)
        began = time.monotonic()
        listed: list[str] = []
        while time.monotonic() - began < PATIENCE_S:
            listed = await ward.reasons(batch_id, verify=cause.verify)
            if _is_named(cause, listed):
                break
            await asyncio.sleep(ASK_EVERY_S)
        took = time.monotonic() - began
    await ward.tidy()
    named = _is_named(cause, listed)
    first = listed[0] if listed else "none"
    return Result(cause.name, round(took, 1) if named else None, first, named, listed)


def _is_named(cause: Cause, listed: Sequence[str]) -> bool:
    """All are listed; a single serious one comes first, a harmless one without serious ones."""
    if not set(cause.codes) <= set(listed):
        return False
    if len(cause.codes) > 1:
        return True
    code = cause.codes[0]
    if _is_serious(code):
        return listed[0] == code
    return not any(_is_serious(other) for other in listed)


def _is_serious(code: str) -> bool:
    return RULES[Reason(code)].severity is not Severity.INFO


async def healthy(ward: Ward, seconds: float) -> list[str]:
    """Run batches with retries, a pause and closed hours; gives the serious reasons that showed."""
    say(f"a healthy run of {seconds:.0f} s")
    alarms: set[str] = set()
    deadline = time.monotonic() + seconds
    nth = 0
    while time.monotonic() < deadline:
        nth += 1
        batches = await ward.everyday(nth)
        while time.monotonic() < deadline:
            for batch_id in batches:
                listed = await ward.reasons(batch_id)
                alarms |= {code for code in listed if _is_serious(code)}
            if await ward.are_over(batches):
                break
            await asyncio.sleep(ASK_EVERY_S)
    return sorted(alarms)


async def run(only: str | None, healthy_s: float) -> tuple[list[Result], list[str] | None]:
    results: list[Result] = []
    alarms: list[str] | None = None
    every = (*CAUSES, *PAIRS, *kafka_causes.makeable())
    chosen = [c for c in every if only is None or only in c.name or only == c.world]
    for world in dict.fromkeys(cause.world for cause in chosen):
        opened = (
            kafka_causes.opened_kafka_ward() if world == kafka_causes.WORLD else opened_ward(world)
        )
        async with opened as ward:
            say(f"world {world}")
            for cause in (c for c in chosen if c.world == world):
                result = await _measured(ward, cause)
                say(str(result) if result.is_right else f"{result} {result.listed}")
                results.append(result)
    if only is None or only == "healthy":
        async with opened_ward("everyday") as ward:
            alarms = await healthy(ward, healthy_s)
    return results, alarms


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument(
        "--only", help="only causes with this in their name, those of a world, or healthy"
    )
    options.add_argument("--healthy", type=float, default=120.0, metavar="SECONDS")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    given = options.parse_args()
    try:
        results, alarms = asyncio.run(until_interrupted(run(given.only, given.healthy)))
    except Interrupted:
        sys.exit("Everything is stopped.")
    except ApolloError as fault:
        sys.exit(f"The bench failed: {fault}")
    print(f"\n{'cause':<52} {'named':>8}  {'first reason':<30}")
    for result in results:
        print(result)
    for code, why in ELSEWHERE.items():
        print(f"{code:<52} {'-':>8}  tested elsewhere: {why}")
    for code in kafka_causes.left_out():
        print(f"{code:<52} {'-':>8}  skipped: needs Apache Kafka itself, so Java 17 and Maven")
    late = [r for r in results if r.named_after_s is None or r.named_after_s > GOAL_S]
    wrong = [r for r in results if not r.is_right]
    print(f"\n{len(results)} causes, {len(wrong)} wrong, {len(late)} later than {GOAL_S:.0f} s")
    if alarms is not None:
        print(f"healthy run of {given.healthy:.0f} s: {', '.join(alarms) or 'no false alarm'}")
    if given.json:
        made = {"causes": [asdict(one) for one in results], "false_alarms": alarms}
        given.json.write_text(json.dumps(made, indent=2) + "\n")
    sys.exit(1 if wrong or late or alarms else 0)


if __name__ == "__main__":
    main()
