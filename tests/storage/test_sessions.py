"""What a borrowed connection leaves behind for the next one who borrows it: nothing."""

import asyncio

import pytest

from apollo.storage.database import Connection, Database


async def test_the_locks_of_a_session_end_with_it(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    other = await Database.connect(database_url, connections_max=1)
    async with db.session() as connection:
        await connection.execute("select pg_advisory_lock(1)")
    async with other.session() as connection, asyncio.timeout(10):
        await connection.execute("select pg_advisory_lock(1)")
    await db.close()
    await other.close()


async def test_a_transaction_that_broke_is_gone_when_its_connection_is_lent_again(
    database_url: str,
) -> None:
    db = await Database.connect(database_url, connections_max=1)

    async def break_off(connection: Connection) -> None:
        await connection.execute("select set_config('lock_timeout', '7ms', true)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with db.transaction() as connection:
            await break_off(connection)
    async with db.connection() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("show lock_timeout") == "0"
    await db.close()
