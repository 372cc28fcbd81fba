"""Bringing the schema up to date: who has to wait for whom, and what is said when it cannot be."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from apollo.errors import Misconfigured, Unavailable
from apollo.storage import migrations
from apollo.storage.database import Connection, sql_folder
from apollo.storage.migrations import migrate, schema_version, schema_version_wanted


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def last_is_missing(session: Connection) -> None:
    """Take the last migration for one that was not applied yet."""
    await session.execute(
        "delete from schema_migrations where name = (select max(name) from schema_migrations)"
    )


async def test_who_has_nothing_to_change_waits_for_nobody(
    database_url: str, session: Connection
) -> None:
    async with session.transaction():
        await session.execute("select pg_advisory_xact_lock($1)", migrations._LOCK)
        async with asyncio.timeout(10):
            await migrate(database_url)
    assert await schema_version(session) == schema_version_wanted()


async def test_a_change_that_somebody_is_in_the_way_of_is_given_up_soon(
    database_url: str, session: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "_LOCKED_WITHIN", "50ms")
    await last_is_missing(session)
    async with session.transaction():
        await session.execute("select pg_advisory_xact_lock($1)", migrations._LOCK)
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="another session holds a table of it"):
                await migrate(database_url)


async def test_two_that_start_at_once_apply_each_migration_once(
    database_url: str, session: Connection
) -> None:
    await session.execute("drop schema public cascade; create schema public")
    assert await schema_version(session) == 0
    await asyncio.gather(migrate(database_url), migrate(database_url))
    assert await schema_version(session) == schema_version_wanted()


@pytest.mark.parametrize(("part", "wrong"), [("/test_", "/no_test_"), ("apollo@", "nobody@")])
async def test_a_database_or_a_user_that_does_not_exist_is_a_wrong_setting(
    database_url: str, part: str, wrong: str
) -> None:
    with pytest.raises(Misconfigured, match=r"APOLLO_DATABASE_URL: .*does not exist; expected"):
        await migrate(database_url.replace(part, wrong))


async def test_a_database_of_a_newer_apollo_is_refused(
    database_url: str, session: Connection
) -> None:
    await session.execute("insert into schema_migrations values ('9999_later.sql', '')")
    with pytest.raises(Misconfigured, match="upgrade this one too"):
        await migrate(database_url)


def test_every_migration_has_a_number_of_its_own_without_a_gap() -> None:
    names = sorted(path.name for path in (sql_folder() / "migrations").iterdir())
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
