"""A stand-in for PostgreSQL: tables in memory, transactions, row locks, and notifications.

It knows what a transaction is and nothing of campaigns or calls; `statements` says what each named
query does. Reads see what is committed and what the transaction itself wrote; writers of one row
wait for each other; a dead process or an outage rolls back. `test_store_agrees` compares it with
the real one. It must never be easier on the code above than PostgreSQL is.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, Final, Protocol

from tests.simulation.loop import PROCESS, Process

from apollo.core.longest import Longest
from apollo.errors import Stale, Unavailable

Row = Mapping[str, Any]
Key = Any
KEY_SHARE: Final = 0  # `for key share`: stands beside everything but `for update`
NO_KEY: Final = 1  # `for no key update`, and an ordinary update
UPDATE: Final = 2  # `for update`, and a delete
TABLES: Final = (
    *("organizations", "campaigns", "batches", "batch_cursors", "contacts", "due_contacts"),
    *("calls", "call_events", "providers", "actions", "installation", "heartbeats"),
    "carrier_gates",
    *("marked_numbers", "call_results"),
)


# Statements that lock and write nothing: alone, they need no transaction of their own.
READS: Final = frozenset(
    {
        *("read_expired_batches", "read_next_instant", "read_dialable_campaigns", "read_silent"),
        *("read_known_provider_ids", "find_batch", "read_reach", "read_recovery"),
        *("read_caller_ids", "find_contacts", "read_existing_between", "read_open_calls"),
    }
)


class Blocked(Exception):
    """A statement needs a row that another transaction holds."""

    def __init__(self, holder: "Transaction") -> None:
        super().__init__("blocked")
        self.holder = holder


class Wire(Protocol):
    """The way to the server, which takes time and may break."""

    async def to_server(self, *, is_alone: bool = False) -> None:
        """Carry a statement there; raises Unavailable when it does not arrive."""

    async def from_server(self) -> None:
        """Carry the answer to a commit back; raises Unavailable when it is lost."""


@dataclass
class Commit:
    """What a transaction changed, for whoever watches."""

    before: dict[tuple[str, Key], Row | None]
    after: dict[tuple[str, Key], Row | None]


@dataclass(eq=False, slots=True)
class Transaction:
    """One transaction: what it wrote, what it holds, and whether it still is."""

    server: "Server"
    process: Process | None
    own: dict[str, dict[Key, Row | None]] = field(default_factory=dict)
    held: list[tuple[str, Key]] = field(default_factory=list)
    counts: dict[tuple[Any, str], int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    # What a statement saw when it began; one that had to wait goes on with it.
    first_sight: dict[str, Any] = field(default_factory=dict)
    lock_timeout_s: float | None = None
    waits_for: "Transaction | None" = None
    is_over: bool = False
    has_written: bool = False
    over: "asyncio.Future[None] | None" = None

    def rows(self, table: str) -> Iterable[Row]:
        """Give every row of a table that this transaction sees."""
        committed = self.server.tables[table]
        own = self.own.get(table)
        if not own:
            return committed.values()
        return [row for row in {**committed, **own}.values() if row is not None]

    def get(self, table: str, key: Key) -> Row | None:
        """Give one row."""
        own = self.own.get(table)
        if own is not None and key in own:
            return own[key]
        return self.server.tables[table].get(key)

    def put(self, table: str, key: Key, row: Row) -> None:
        """Write a row, which the statement has locked."""
        self.lock(table, key, NO_KEY)
        self.own.setdefault(table, {})[key] = row
        self.has_written = True

    def change(self, table: str, key: Key, **columns: Any) -> None:
        """Update columns of a row."""
        row = self.get(table, key)
        assert row is not None
        self.put(table, key, {**row, **columns})

    def count(self, campaign_id: Any, counted: str, by: int) -> None:
        """Add to a counter of calls."""
        key = campaign_id, counted
        self.counts[key] = self.counts.get(key, 0) + by

    def delete(self, table: str, key: Key) -> None:
        """Delete a row, if it is there."""
        if self.get(table, key) is not None:
            self.lock(table, key, UPDATE)
            self.own.setdefault(table, {})[key] = None
            self.has_written = True

    def lock(self, table: str, key: Key, mode: int) -> None:
        """Lock a row; raises Blocked before anything is written by the statement."""
        holder = self._holder(table, key, mode)
        if holder is not None:
            assert not self.has_written, f"lock {table} before writing"
            raise Blocked(holder)
        held = self.server.locks.setdefault((table, key), {})
        if self not in held:
            self.held.append((table, key))
        held[self] = max(held.get(self, KEY_SHARE), mode)

    def try_lock(self, table: str, key: Key, mode: int) -> bool:
        """Lock a row unless somebody else holds it (`skip locked`)."""
        if self._holder(table, key, mode) is not None:
            return False
        self.lock(table, key, mode)
        return True

    def _holder(self, table: str, key: Key, mode: int) -> "Transaction | None":
        held = self.server.locks.get((table, key))
        if held:
            for other, theirs in held.items():
                if other is not self and theirs + mode >= UPDATE:
                    return other
        return None

    def end(self, *, commits: bool) -> None:
        """Commit or roll back; a second end changes nothing."""
        if self.is_over:
            return
        self.is_over = True
        server = self.server
        server.open.pop(self, None)
        if commits:
            server.apply(self)
        for place in self.held:
            held = server.locks[place]
            del held[self]
            if not held:
                del server.locks[place]
        if self.over is not None and not self.over.done():
            self.over.set_result(None)


Statement = Callable[..., list[dict[str, Any]]]


class Server:
    """The committed tables and everything the connections share."""

    def __init__(self, clock: Callable[[], datetime], random: Random) -> None:
        self.clock = clock
        self.random = random
        self.tables: dict[str, dict[Key, Row]] = {name: {} for name in TABLES}
        self.call_counters: Counter[tuple[Any, str]] = Counter()
        self.locks: dict[tuple[str, Key], dict[Transaction, int]] = {}
        self.open: dict[Transaction, None] = {}
        self.listeners: dict[Listener, Callable[[str], None]] = {}
        self.watchers: list[Callable[[Transaction, Commit], None]] = []
        self.statements_run = 0
        self.reader = Transaction(self, None)
        # Told of each number for which a call is written, before that is committed.
        self.on_claim: Callable[[str], None] | None = None
        # Another one after each restart.
        self.identity = "server 1"
        # Another one after each restore of a dump.
        self.lineage = "history 1"
        # Mutant switch: the unique index on open (provider, number).
        self.has_number_index = True

    def begin(self) -> Transaction:
        """Begin a transaction of the process whose code runs."""
        transaction = Transaction(self, PROCESS.get())
        self.open[transaction] = None
        return transaction

    def apply(self, transaction: Transaction) -> None:
        """Make a transaction's writes everybody's, and tell the listeners."""
        if transaction.own and self.watchers:
            changed = [(t, k, row) for t, own in transaction.own.items() for k, row in own.items()]
            commit = Commit(
                before={(t, k): self.tables[t].get(k) for t, k, _ in changed},
                after={(t, k): row for t, k, row in changed},
            )
            for watch in list(self.watchers):
                watch(transaction, commit)
        for table, own in transaction.own.items():
            committed = self.tables[table]
            for key, row in own.items():
                if row is None:
                    committed.pop(key, None)
                else:
                    committed[key] = row
        for counted, by in transaction.counts.items():
            self.call_counters[counted] += by
        # One transaction tells a listener the same thing once.
        for notice in dict.fromkeys(transaction.notices):
            for listener, hear in list(self.listeners.items()):
                listener.tell(hear, notice)

    def dump(self) -> "Dump":
        """Keep the committed tables, to be restored later."""
        tables = {name: dict(rows) for name, rows in self.tables.items()}
        return Dump(tables, Counter(self.call_counters))

    def restore(self, dump: "Dump") -> None:
        """Forget everything since a dump; nobody may be connected."""
        self.tables = {name: dict(rows) for name, rows in dump.tables.items()}
        self.call_counters = Counter(dump.call_counters)

    def abort(self, process: Process | None = None) -> None:
        """Roll back what a process had open, or everything."""
        for transaction in list(self.open):
            if process is None or transaction.process is process:
                transaction.end(commits=False)
        for listener in list(self.listeners):
            if process is None or listener.process is process:
                del self.listeners[listener]

    async def run(
        self, transaction: Transaction, statement: Statement, given: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Run one statement, waiting for rows that others hold."""
        transaction.first_sight.clear()
        waited_until = None
        while True:
            if transaction.is_over:
                raise Unavailable("the database is not available: the connection was closed")
            transaction.has_written = False
            try:
                rows = statement(transaction, self.clock(), **given)
            except Blocked as blocked:
                if waited_until is None and transaction.lock_timeout_s is not None:
                    loop = asyncio.get_running_loop()
                    waited_until = loop.time() + transaction.lock_timeout_s
                await self._wait(transaction, blocked.holder, waited_until)
            else:
                self.statements_run += 1
                return rows

    async def _wait(
        self, transaction: Transaction, holder: Transaction, until: float | None
    ) -> None:
        seen: Transaction | None = holder
        while seen is not None:
            if seen is transaction:
                transaction.end(commits=False)
                raise Stale("deadlock detected")
            seen = seen.waits_for
        if holder.over is None:
            holder.over = asyncio.get_running_loop().create_future()
        transaction.waits_for = holder
        try:
            async with asyncio.timeout_at(until):
                await asyncio.shield(holder.over)
        except TimeoutError:
            transaction.end(commits=False)
            raise Stale("canceling statement due to lock timeout") from None
        finally:
            transaction.waits_for = None


@dataclass(frozen=True)
class Dump:
    """The tables as they were once."""

    tables: dict[str, dict[Key, Row]]
    call_counters: Counter[tuple[Any, str]]


class Listener:
    """A connection that only listens."""

    def __init__(self, server: Server, wire: Wire | None) -> None:
        self._server = server
        self._wire = wire
        self.process = PROCESS.get()

    def tell(self, hear: Callable[[str], None], notice: str) -> None:
        """Deliver a notice in the listener's own process."""
        if self.process is None or self.process.is_alive:
            hear(notice)

    async def check(self) -> None:
        """Ask the server something. Raises Unavailable."""
        if self._wire is not None:
            await self._wire.to_server()
        if self not in self._server.listeners:
            raise Unavailable("the database is not available: the connection was closed")

    async def close(self) -> None:
        """Stop listening."""
        self._server.listeners.pop(self, None)


class Connection:
    """What the queries of `apollo.storage` need of an asyncpg connection."""

    def __init__(
        self,
        server: Server,
        statements: Mapping[str, tuple[tuple[str, ...], Statement]],
        wire: Wire | None,
        transaction: Transaction | None,
    ) -> None:
        self._server = server
        self._statements = statements
        self._wire = wire
        self._transaction = transaction

    async def fetch(
        self,
        text: str,
        *values: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's own argument
    ) -> list[dict[str, Any]]:
        """Run a statement and give its rows."""
        del timeout
        params, statement = self._statements[text]
        given = dict(zip(params, values, strict=True))
        if self._wire is not None:
            await self._wire.to_server(is_alone=self._transaction is None)
        if self._transaction is None and statement.__name__ in READS:
            server = self._server
            server.statements_run += 1
            return statement(server.reader, server.clock(), **given)
        transaction = self._transaction or self._server.begin()
        try:
            rows = await self._server.run(transaction, statement, given)
            if self._transaction is None:
                transaction.end(commits=True)
        except BaseException:
            transaction.end(commits=False)
            raise
        return rows

    async def fetchrow(self, text: str, *values: Any) -> dict[str, Any] | None:
        """Run a statement and give its first row."""
        rows = await self.fetch(text, *values)
        return rows[0] if rows else None

    async def fetchval(self, text: str, *values: Any) -> Any:
        """Run a statement and give the first column of its first row."""
        row = await self.fetchrow(text, *values)
        return None if row is None else next(iter(row.values()))

    async def execute(self, text: str, *values: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's own argument
        """Run a statement and give the tag that says how many rows it changed."""
        del timeout
        return f"UPDATE {len(await self.fetch(text, *values))}"


class MemoryDatabase:
    """What the use-cases need of `apollo.storage.database.Database`."""

    def __init__(
        self,
        server: Server,
        statements: Mapping[str, tuple[tuple[str, ...], Statement]],
        wire: Wire | None = None,
    ) -> None:
        self.server = server
        self._statements = statements
        self._wire = wire

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection; each statement is its own transaction."""
        yield Connection(self.server, self._statements, self._wire, None)

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, snapshot: bool = False, timed: Longest | None = None
    ) -> AsyncGenerator[Connection]:
        """Lend a connection inside a transaction."""
        del snapshot, timed
        transaction = self.server.begin()
        try:
            yield Connection(self.server, self._statements, self._wire, transaction)
            if self._wire is not None:
                await self._wire.to_server()
            if transaction.is_over:
                raise Unavailable("the connection was closed")  # noqa: TRY301 - ends like any other
            transaction.end(commits=True)
        except BaseException:
            transaction.end(commits=False)
            raise
        if self._wire is not None:
            await self._wire.from_server()

    async def listen(self, channel: str, on_message: Callable[[str], None]) -> Listener:
        """Hear notifications."""
        del channel
        if self._wire is not None:
            await self._wire.to_server()
        listener = Listener(self.server, self._wire)
        self.server.listeners[listener] = on_message
        return listener
