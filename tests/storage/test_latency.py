"""How long the database took is told apart from how long our own event loop was busy."""

import asyncio
import time

import asyncpg
import pytest

from apollo.core.longest import Longest
from apollo.errors import Unavailable
from apollo.storage.database import Database
from apollo.storage.latency import answered_within


async def _longest(db: Database, statement: str) -> float:
    times = Longest()
    async with db.transaction(timed=times) as connection:
        await connection.execute(statement)
    return times.of_the_minute(asyncio.get_running_loop().time())


async def test_a_slow_statement_and_a_slow_commit_count(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    assert 0.2 < await _longest(db, "select pg_sleep(1)") < 5
    async with db.connection() as connection:
        await connection.execute(
            "create table slow (a integer);"
            "create function dawdle() returns trigger language plpgsql as"
            " $$ begin perform pg_sleep(1); return null; end $$;"
            "create constraint trigger dawdled after insert on slow initially deferred"
            " for each row execute function dawdle()"
        )
    assert 0.2 < await _longest(db, "insert into slow values (1)") < 5
    await db.close()


async def test_the_parts_of_a_transaction_tell_what_was_slow(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    times = Longest()
    async with db.transaction(timed=times) as connection:
        await connection.execute("select pg_sleep(1)")
    parts = times.took(asyncio.get_running_loop().time()).named("begin", "work", "commit")
    assert parts is not None
    assert parts["work"] > 0.2
    assert parts["work"] > 10 * max(parts["begin"], parts["commit"])
    assert Longest().took(asyncio.get_running_loop().time()).named("begin") is None
    await db.close()


async def test_a_busy_event_loop_is_not_the_databases_doing(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    is_over = asyncio.Event()

    async def hog() -> None:
        while not is_over.is_set():
            busy_until = time.perf_counter() + 0.12
            while time.perf_counter() < busy_until:
                pass
            await asyncio.sleep(0)

    hogging = asyncio.create_task(hog())
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    took_s = await _longest(db, "select 1")
    assert loop.time() - began > 0.3
    assert took_s < 0.1
    is_over.set()
    await hogging
    await db.close()


async def test_who_waits_for_a_connection_is_told_while_it_waits(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    loop = asyncio.get_running_loop()

    async def ask() -> None:
        async with db.connection() as connection:
            await connection.execute("select 1")

    async with db.connection():
        waits = asyncio.create_task(ask())
        async with asyncio.timeout(5):
            while db.queue()[2] < 0.2:  # noqa: ASYNC110 - time itself is waited for
                await asyncio.sleep(0.01)
        assert db.queue()[:2] == (1, 1)
        began = loop.time()
        async with db.reserved() as connection:
            assert await connection.fetchval("select 1") == 1
            assert await connection.fetchval("show statement_timeout") == "0"
        assert loop.time() - began < 1
    await waits
    await db.close()


async def test_work_that_is_given_up_lets_go_of_its_connection(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)

    async def hang() -> None:
        async with db.reserved() as connection:
            await connection.execute("select pg_sleep(20)")

    with pytest.raises(Unavailable, match=r"not answered within 0\.2 s"):
        await answered_within(0.2, hang())
    async with asyncio.timeout(3):
        async with db.connection() as connection:
            assert await connection.fetchval("select 1") == 1
    await db.close()


async def test_a_defect_in_the_work_is_raised(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)

    async def broken() -> None:
        async with db.reserved() as connection:
            await connection.execute("select nonsense")

    with pytest.raises(asyncpg.UndefinedColumnError):
        await answered_within(1, broken())
    await db.close()
