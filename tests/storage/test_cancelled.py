"""Who is told to stop while the server hangs hears of that alone, and soon."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from tests.gate import a_gate

from apollo.errors import Stale, Unavailable
from apollo.storage.database import Connection, Database

Lend = Callable[[Database], AbstractAsyncContextManager[Connection]]
# The driver by itself waits for half a minute.
SOON_S = 15.0


@pytest.mark.parametrize("lend", [Database.transaction, Database.connection, Database.session])
async def test_a_loop_that_is_cancelled_while_the_server_hangs_ends(
    database_url: str, lend: Lend
) -> None:
    async with a_gate(database_url) as gate:
        db = await Database.connect(gate.leading(database_url), connections_max=2)
        asked = asyncio.Event()

        async def work() -> None:
            async with lend(db) as connection:
                gate.silence()
                asked.set()
                await connection.execute("select 1")

        async def go_on() -> None:
            """As the loops of a worker do."""
            while True:
                try:
                    await work()
                except (Unavailable, Stale):
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(go_on())
        # Whoever waits for this runs when the question is on its way.
        await asked.wait()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=SOON_S)
        assert done
        assert task.cancelled()
        await db.close()


async def test_who_stops_hears_of_an_outage_that_comes_afterwards(database_url: str) -> None:
    """What is done at the end, such as a last word, is done like everything else."""
    async with a_gate(database_url) as gate:
        db = await Database.connect(gate.leading(database_url), connections_max=1)
        said = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                gate.shut()
                try:
                    async with db.connection() as connection:
                        await connection.execute("select 1")
                except Unavailable as fault:
                    said.set_result(str(fault))

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(SOON_S):
            assert "the database is not available" in await said
        await db.close()
