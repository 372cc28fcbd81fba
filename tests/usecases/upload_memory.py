"""Uploads files of two sizes and prints by how many MiB the larger one raised the process's peak.

A process of its own, because the peak of the test run is somebody else's.
"""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator

import uvloop
from tests.usecases.batch_world import ACME, BatchWorld

from apollo.usecases.wanted_batches import NewBatch

NOTES = "said: call again after six, " * 40  # 1 KiB, so that whatever is kept is seen


async def rows(many: int) -> AsyncIterator[bytes]:
    """A file of so many rows, a hundred at a time."""
    yield b"callee_name,phone_number,notes\n"
    for first in range(0, many, 100):
        lines = (f'Asha,+9198{n:08d},"{NOTES}"\n' for n in range(first, first + 100))
        yield "".join(lines).encode()


async def measure(database_url: str) -> int:
    """Give the growth of the peak, in MiB."""
    world = await BatchWorld.build(database_url)
    wanted = NewBatch(campaign_id=await world.campaign())
    await world.create.from_csv(ACME, wanted, rows(5_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch = await world.create.from_csv(ACME, wanted, rows(50_000))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await world.db.close()
    # The first rows are those of the batch before, which is still to be called.
    if batch["total_contacts"] != 45_000:
        raise AssertionError(batch["total_contacts"])
    return (after - before) // 1024


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(str(runner.run(measure(sys.argv[1]))))
