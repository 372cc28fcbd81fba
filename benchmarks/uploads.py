"""Measures uploads: a million rows against checking their numbers alone, and what they leave.

The numbers are checked in a process of their own with the function that the API uses. Memory is
read before and after the million: it must not know how many contacts there are.
"""

import asyncio
import sys
import time
from collections.abc import Iterator

from figures import Figure, say
from rig import Rig, running_rig

from apollo.core.numbers import parse_number
from apollo.errors import Unavailable

SMALL, LARGE = 1_000, 1_000_000
_ROLES = ("serve", "worker")
# People are called meanwhile: the worker has to have seen the large batch.
_CALLED_S = 10.0
# Five times what it takes on a busy machine.
_CHECKED_WITHIN_S = 300.0


async def uploads(small: int = SMALL, large: int = LARGE) -> list[Figure]:
    """How long the large one takes, to checking alone, and both processes' memory after each."""
    memory: dict[tuple[str, int], float] = {}
    took: dict[int, float] = {}
    async with running_rig({"preset": "instant"}) as rig:
        for size in (small, large):
            checked_s = await _check(size)
            took[size] = await _upload(rig, size)
            await asyncio.sleep(_CALLED_S)
            for role in _ROLES:
                memory[role, size] = rig.running.memory_mib(role)
            shown = ", ".join(f"{role} {memory[role, size]:.0f} MiB" for role in _ROLES)
            say(f"{size:,} rows: {took[size]:.1f} s, checked alone {checked_s:.1f} s; {shown}")
    ratio = took[large] / checked_s
    figures = [
        Figure(name=f"CSV of {large:,} rows", unit="s", rounds=[took[large]]),
        Figure(name="  checking their numbers alone", unit="s", rounds=[checked_s]),
        Figure(name="  upload to checking", unit="times", rounds=[ratio], at_most=1.5),
    ]
    for role in _ROLES:
        before, after = memory[role, small], memory[role, large]
        name = f"memory of {role}, at most, {large:,} contacts"
        figures.append(Figure(name=name, unit="MiB", rounds=[after], at_most=150))
        figures.append(
            Figure(name=f"  more than with {small:,}", unit="MiB", rounds=[after - before])
        )
    return figures


async def _upload(rig: Rig, size: int) -> float:
    campaign_id = await rig.campaign(10)
    began = time.perf_counter()
    batch_id = await rig.batch(campaign_id, _numbers(size))
    took_s = time.perf_counter() - began
    found = (await rig.status(batch_id))["total_contacts"]
    if found != size:
        raise Unavailable(f"{size:,} rows were sent and {found:,} contacts are there")
    return took_s


async def _check(size: int) -> float:
    """Check the same numbers and nothing else; gives seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(size), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_CHECKED_WITHIN_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return float(said)


def _numbers(size: int) -> Iterator[str]:
    """Valid numbers, all different: an Indian series with room for a hundred million."""
    return (f"+9198{n:08d}" for n in range(size))


def _check_all(size: int) -> float:
    began = time.perf_counter()
    for number in _numbers(size):
        parse_number(number)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.stdout.write(str(_check_all(int(sys.argv[1]))))
