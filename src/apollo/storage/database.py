"""The connection to PostgreSQL: pool, transactions, named queries, listening.

Owns how driver errors become ours; nothing above it sees asyncpg's exceptions. Must never hold a
rule about campaigns or calls.
"""

import asyncio
import contextlib
import importlib.resources
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from apollo.core.longest import Longest
from apollo.errors import Misconfigured, Stale, Unavailable
from apollo.storage.latency import cut_if_cancelled, timing

Connection: TypeAlias = (
    "asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"
)
Record = asyncpg.Record

# Connections are borrowed for milliseconds: whoever waits this long waits in vain.
_CONNECTION_WITHIN_S: Final = 5.0
# What says how things are must not wait behind what makes them so: one heartbeat and one diagnosis
# at a time get a connection beyond the pool.
_RESERVED_MAX: Final = 2

# At a start they are a wrong setting; later somebody renames the database, or changes a password.
_NOT_OURS: Final = (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError)
_AWAY: Final = (
    *_NOT_OURS,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_RACED: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)


class Query:
    """One named statement of `sql/*.sql`; parameters are given by name."""

    __slots__ = ("body", "name", "params", "text")

    def __init__(self, name: str, body: str) -> None:
        names: dict[str, int] = {}

        def number(match: re.Match[str]) -> str:
            return f"${names.setdefault(match.group(1), len(names) + 1)}"

        self.name = name
        self.body = body
        self.text = re.sub(r"(?<![:\w]):([a-z_][a-z0-9_]*)", number, body)
        self.params = tuple(names)

    def _values(self, given: dict[str, Any]) -> list[Any]:
        if given.keys() != set(self.params):
            wrong = given.keys() ^ set(self.params)
            raise TypeError(f"query {self.name}: wrong or missing parameters {sorted(wrong)}")
        return [given[name] for name in self.params]

    async def rows(self, connection: Connection, **given: Any) -> list[Record]:
        """Run it and give every row."""
        return await connection.fetch(self.text, *self._values(given))

    async def row(self, connection: Connection, **given: Any) -> Record | None:
        """Run it and give the first row, if any."""
        return await connection.fetchrow(self.text, *self._values(given))

    async def value(self, connection: Connection, **given: Any) -> Any:
        """Run it and give the first column of the first row, or None."""
        return await connection.fetchval(self.text, *self._values(given))

    async def run(self, connection: Connection, **given: Any) -> int:
        """Run it and give the number of rows it changed."""
        tag = await connection.execute(self.text, *self._values(given))
        return int(tag.rpartition(" ")[2]) if tag[-1].isdigit() else 0

    def stream(self, connection: Connection, **given: Any) -> AsyncIterator[Record]:
        """Run it with a cursor, a few hundred rows at a time; needs a transaction."""
        return aiter(connection.cursor(self.text, *self._values(given), prefetch=500))


def load_queries(name: str) -> dict[str, Query]:
    """Read `sql/<name>.sql`: `-- name: query_name`, comment lines, the statement."""
    text = sql_folder().joinpath(f"{name}.sql").read_text(encoding="utf-8")
    queries = {}
    for part in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        statement = re.sub(r"^--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";")
        queries[title.strip()] = Query(title.strip(), statement)
    return queries


def sql_folder() -> Any:
    """Where the statements of this package lie."""
    return importlib.resources.files("apollo.storage").joinpath("sql")


class Database:
    """A pool of connections and the seam at which driver errors become ours."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", url: str, name: str) -> None:
        self._pool = pool
        self.url = url
        self._name = name
        self._reserved = asyncio.Semaphore(_RESERVED_MAX)
        # Since when each of those waits that wait for a connection, the longest first.
        self._waiting: dict[object, float] = {}
        self._waits = Longest()

    @classmethod
    async def connect(
        cls, url: str, *, connections_max: int = 10, name: str = "apollo"
    ) -> "Database":
        """Open a pool. Raises Unavailable when nobody answers, Misconfigured on a bad URL."""
        with translated(), checking_url():
            pool = await asyncpg.create_pool(
                url,
                # Connections come back within a second of an outage's end, so few are enough.
                min_size=1,
                max_size=connections_max,
                init=_prepare,
                reset=_leave_as_it_is,
                **_options(name),
            )
        return cls(pool, url, name)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection; each statement is its own transaction."""
        with translated():
            async with self._acquired() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[Connection]:
        """Lend a connection that may take locks for longer than a transaction; they end with it."""
        async with self.connection() as connection:
            try:
                yield connection
            finally:
                connection.terminate()

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, snapshot: bool = False, timed: Longest | None = None
    ) -> AsyncGenerator[Connection]:
        """Lend a connection inside a transaction; `snapshot` reads all from one instant.

        `timed` is told how long the database took for it, and for three parts of it: `begin`, which
        reads nothing and so takes one trip there and back; what is asked for; `commit`.
        """
        with translated():
            async with self._acquired() as connection:
                with timing(timed) as next_part:
                    async with _begun(connection, snapshot=snapshot):
                        next_part()
                        yield connection
                        next_part()

    @contextlib.asynccontextmanager
    async def reserved(self) -> AsyncGenerator[Connection]:
        """Lend a connection at once, one beyond the pool where the pool has none to give.

        For what tells how things are.
        """
        with translated():
            if self._pool.get_idle_size() or self._pool.get_size() < self._pool.get_max_size():
                async with self._acquired() as connection:
                    yield connection
                return
            async with self._reserved:
                extra = await asyncpg.connect(self.url, **_options(self._name))
                try:
                    await _prepare(extra)
                    async with cut_if_cancelled(extra):
                        yield extra
                finally:
                    await extra.close()

    @contextlib.asynccontextmanager
    async def reserved_snapshot(self) -> AsyncGenerator[Connection]:
        """Lend a connection as `reserved` does, with everything read from one instant."""
        async with self.reserved() as connection:
            with translated():
                async with _begun(connection, snapshot=True):
                    yield connection

    def queue(self) -> tuple[int, int, float]:
        """Tell of its connections: how many, who waits for one now, the minute's longest wait."""
        now = asyncio.get_running_loop().time()
        # Who still waits is the news: a wait that has ended may be over for good.
        waited = now - next(iter(self._waiting.values()), now)
        longest = max(self._waits.of_the_minute(now), waited)
        return self._pool.get_max_size(), len(self._waiting), longest

    @contextlib.asynccontextmanager
    async def _acquired(self) -> AsyncGenerator[Connection]:
        loop = asyncio.get_running_loop()
        began, me = loop.time(), object()
        self._waiting[me] = began
        try:
            connection = await self._pool.acquire(timeout=_CONNECTION_WITHIN_S)
        finally:
            del self._waiting[me]
            self._waits.note(loop.time(), loop.time() - began)
        try:
            async with cut_if_cancelled(connection):
                yield connection
        finally:
            await self._pool.release(connection)

    async def listen(self, channel: str, on_message: Callable[[str], None]) -> "Listener":
        """Open a connection of its own that calls `on_message` for each notification."""
        with translated():
            connection = await asyncpg.connect(self.url, timeout=5)
            await connection.add_listener(channel, lambda *args: on_message(str(args[3])))
        return Listener(connection)

    async def close(self) -> None:
        """Close every connection, cutting off what still runs after 2 s."""
        with contextlib.suppress(TimeoutError, *_AWAY):
            async with asyncio.timeout(2):
                await self._pool.close()
        self._pool.terminate()


class Listener:
    """A connection that only listens."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def check(self) -> None:
        """Ask the server something, so that a dead connection is noticed. Raises Unavailable."""
        with translated():
            await self._connection.execute("select 1", timeout=5)

    async def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(*_AWAY):
            await self._connection.close(timeout=2)


@contextlib.contextmanager
def translated() -> Generator[None]:
    """Turn the driver's exceptions into ours, once, here.

    Whoever is cancelled meanwhile hears of that alone: the driver may tell of its own trouble in
    letting go instead, and a loop would go on as after any other outage.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (*_RACED, *_AWAY) as e:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from e
        raise _in_our_words(e) from e


@contextlib.contextmanager
def checking_url() -> Generator[None]:
    """Turn what a server, or the driver, says of a wrong URL into the fault of the setting."""
    try:
        yield
    except (ValueError, *_NOT_OURS) as e:
        expected = "expected postgresql://user:password@host:port/database"
        raise Misconfigured([f"APOLLO_DATABASE_URL: {e}; {expected}"]) from e


def _in_our_words(error: Exception) -> Stale | Unavailable:
    if isinstance(error, _RACED):
        return Stale(str(error))
    sqlstate = getattr(error, "sqlstate", None) or ""
    said = str(error) or "no answer in time"
    return Unavailable(f"the database is not available: {said}", sqlstate=sqlstate)


def _options(name: str) -> dict[str, Any]:
    settings: Mapping[str, str] = {
        "application_name": name,
        "timezone": "UTC",
        "jit": "off",
        # Every statement is a look-up by key, and a set of two or of two hundred wants the same
        # plan: making it anew each time costs more than running it.
        "plan_cache_mode": "force_generic_plan",
        # A plan made while a table was small must not scan it when it is not.
        "enable_seqscan": "off",
        # Nor walk through a whole batch to meet the few rows of a set in order.
        "enable_mergejoin": "off",
        "enable_hashjoin": "off",
        # A transaction that nobody drives must not hold a campaign's lock.
        "idle_in_transaction_session_timeout": "10s",
    }
    return {
        # 30 s without an answer means the database is away, not slow.
        "command_timeout": 30,
        "timeout": 5,
        "statement_cache_size": 512,
        "server_settings": settings,
    }


@contextlib.asynccontextmanager
async def _begun(connection: Connection, *, snapshot: bool) -> AsyncGenerator[None]:
    isolation: Any = "repeatable_read" if snapshot else "read_committed"
    # Cut before the driver asks a server that hangs to roll back, which takes as long as a query.
    async with (
        connection.transaction(isolation=isolation, readonly=snapshot),
        cut_if_cancelled(connection),
    ):
        yield


async def _prepare(connection: Connection) -> None:
    # Binary jsonb is text behind a version byte.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda raw: msgspec.json.decode(raw[1:]),
    )


async def _leave_as_it_is(_connection: Connection) -> None:
    """Save a round trip: but for a `session`, nothing of ours outlives its transaction."""
