"""The schema: which version a database has, and how it gets the one of this program.

Owns the table of applied migrations. Must never wait silently behind somebody else's lock: every
command that needs the database comes through here.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import asyncpg

from apollo.errors import Misconfigured, Unavailable
from apollo.storage.database import Connection, checking_url, sql_folder, translated

# PostgreSQL 15 is the oldest whose features the schema uses (and the oldest still maintained by
# the distributions operators run).
SERVER_VERSION_MIN: Final = 15
_LOCK: Final = 0x41504F4C4C4F  # "APOLLO": two starting processes must not both migrate
# Whoever dials queues behind a change that waits for a table: better to try again later.
_LOCKED_WITHIN: Final = "5s"


class _Step(NamedTuple):
    name: str
    text: str


async def migrate(url: str) -> None:
    """Bring the schema to the current version. Safe to run from several processes at once.

    Raises Unavailable, also when somebody holds what is to be changed, and Misconfigured.
    """
    with translated():
        with checking_url():
            connection = await asyncpg.connect(url, timeout=5)
        try:
            _check_server(connection)
            # A lock for those who have something to change only: the others must not wait for it.
            if await _missing(connection):
                await _apply_missing(connection)
        finally:
            await connection.close(timeout=5)


async def migrate_patiently(
    url: str, *, within_s: float, on_wait: Callable[[Unavailable], None]
) -> None:
    """Bring the schema up to date; a database that is still starting is waited for.

    Raises Unavailable when it has not come after so many seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        try:
            await migrate(url)
        except Unavailable as fault:
            if loop.time() >= deadline:
                raise
            on_wait(fault)
            await asyncio.sleep(1)
        else:
            return


async def schema_version(connection: Connection) -> int:
    """Give the number of migrations applied; 0 for an empty database."""
    return len(await _applied(connection))


def schema_version_wanted() -> int:
    """Give the number of migrations this program brings."""
    return len(_steps())


def _steps() -> Sequence[_Step]:
    entries = sql_folder().joinpath("migrations").iterdir()
    return sorted(
        _Step(entry.name, entry.read_text(encoding="utf-8"))
        for entry in entries
        if entry.name.endswith(".sql")
    )


async def _applied(connection: Connection) -> set[str]:
    if not await connection.fetchval("select to_regclass('schema_migrations') is not null"):
        return set()
    return {row["name"] for row in await connection.fetch("select name from schema_migrations")}


async def _missing(connection: Connection) -> Sequence[_Step]:
    done, steps = await _applied(connection), _steps()
    if unknown := done - {step.name for step in steps}:
        names = ", ".join(sorted(unknown))
        mend = "a newer Apollo upgraded this database: upgrade this one too"
        raise Misconfigured([f"the database has migrations unknown here ({names}); {mend}"])
    return [step for step in steps if step.name not in done]


async def _apply_missing(connection: Connection) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{_LOCKED_WITHIN}'")
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(
                "create table if not exists schema_migrations"
                " (name text primary key, content_hash text not null,"
                " applied_at timestamptz not null default now())"
            )
            for name, text in await _missing(connection):
                await connection.execute(text)
                await connection.execute(
                    "insert into schema_migrations values ($1, $2)",
                    *(name, hashlib.sha256(text.encode()).hexdigest()),
                )
    except asyncpg.LockNotAvailableError as e:
        raise Unavailable(
            "the schema cannot be brought up to date: another session holds a table of it, or"
            " another process is changing it (pg_stat_activity names them)"
        ) from e


def _check_server(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    version = connection.get_server_version()
    if version.major < SERVER_VERSION_MIN:
        found = f"the server is PostgreSQL {version.major}"
        wanted = f"Apollo needs {SERVER_VERSION_MIN} or newer"
        raise Misconfigured([f"APOLLO_DATABASE_URL: {found}; {wanted}"])
