"""`/debug` answers within a second whatever hangs, and names what it could not read."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
from tests.gate import Gate, a_gate
from tests.usecases.batch_world import HeardBus
from tests.usecases.explained_world import NOW, StoppedClock, World

from apollo.errors import Unavailable
from apollo.storage.database import Database
from apollo.storage.heartbeats import Process
from apollo.usecases.authenticate import Authenticate
from apollo.usecases.beat import Heartbeat
from apollo.usecases.explain_batch import ExplainBatch

# The promise is a second, and the product gives up after 0.7 s. Without that it would be five or
# more, and a busy machine has something between.
SOON_S = 3.0


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    db = await Database.connect(database_url, connections_max=2)
    world = World(db)
    await world.make(3)
    await world.run("update batches set ready_at = $1", NOW)
    await world.worker()
    yield world
    await db.close()


@pytest.fixture
async def gate(database_url: str) -> AsyncIterator[Gate]:
    async with a_gate(database_url) as opened:
        yield opened


@asynccontextmanager
async def through(gate: Gate, world: World) -> AsyncIterator[ExplainBatch]:
    """The diagnosis of another process, whose way to the database leads through the gate."""
    db = await Database.connect(gate.leading(world.db.url), connections_max=2)
    yield ExplainBatch(db=db, clock=world.clock, settings=world.use_case.settings)
    await db.close()


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await work()
    return loop.time() - began


async def test_with_every_connection_in_use_everything_is_read_all_the_same(world: World) -> None:
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(world.db.connection())
        waits = asyncio.create_task(world.run("select 1"))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = await world.diagnostics()
        assert loop.time() - began < SOON_S
        assert found["stale_inputs"] == []
        assert not waits.done()
    await waits


async def test_an_exhausted_pool_is_named_while_it_is(world: World) -> None:
    """The heartbeat that has to tell of it does not wait behind those it tells of."""
    process = Process(
        id=uuid.uuid4(),
        role="web",
        host="api-1",
        pid=7,
        version="0.1.0",
        started_at=datetime.now(UTC),
    )
    beat = Heartbeat(
        db=world.db, process=process, bus=HeardBus(), clock=StoppedClock(), figures=[dict]
    )
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(world.db.connection())
        waits = asyncio.create_task(world.run("select 1"))
        async with asyncio.timeout(4):
            while world.db.queue()[2] <= 1:  # noqa: ASYNC110 - time itself is waited for
                await asyncio.sleep(0.05)
        await beat._beat()
        found = await world.reason("pool_exhausted")
        assert (found["evidence"]["size"], found["evidence"]["waiting"]) == (2, 1)
        assert not waits.done()
    await waits


async def test_a_database_that_goes_silent_midway_is_unavailable_as_well(
    world: World, gate: Gate
) -> None:
    async with through(gate, world) as explain:
        await explain.diagnose("org_a", world.batch_id)  # statements are prepared
        loop = asyncio.get_running_loop()
        gate.answers_left = 2  # begin, the time limit
        began = loop.time()
        with pytest.raises(Unavailable, match="has not answered within"):
            await explain.diagnose("org_a", world.batch_id)
        assert loop.time() - began < SOON_S


async def test_a_database_that_says_nothing_at_all_is_unavailable_within_a_second(
    world: World, gate: Gate
) -> None:
    async with through(gate, world) as explain:
        await explain.diagnose("org_a", world.batch_id)
        gate.silence()

        async def refused() -> None:
            with pytest.raises(Unavailable, match=r"the database has not answered within 0\.7 s"):
                await explain.diagnose("org_a", world.batch_id)

        # Again and again: what was given up holds nothing.
        for _ in range(4):
            assert await seconds(refused) < SOON_S


async def test_a_token_is_asked_about_in_time_or_not_at_all(world: World, gate: Gate) -> None:
    new = await Authenticate(db=world.db, clock=StoppedClock()).create_token("acme")
    async with through(gate, world) as explain:
        tokens = Authenticate(db=explain._db, clock=StoppedClock())
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(explain._db.connection())
            found = await tokens.principal_of(new.token, within_s=1)
        assert found.organization_id == "org_acme"
        tokens = Authenticate(db=explain._db, clock=StoppedClock())
        gate.silence()

        async def refused() -> None:
            with pytest.raises(Unavailable):
                await tokens.principal_of(new.token, within_s=0.2)

        assert await seconds(refused) < SOON_S
