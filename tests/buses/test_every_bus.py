"""What every bus can do: wake whoever listens, lose none while it is up, block nobody when not."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from scripts.brokers import Broker
from tests.builders import World
from tests.buses.lines import a_bus, an_ear, ended_in, until

from apollo.ports import Bus


@pytest.fixture(params=["postgres", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def maybe_broker(kind: str, request: pytest.FixtureRequest) -> Broker | None:
    return request.getfixturevalue("broker") if kind == "kafka" else None


@pytest.fixture
async def bus(kind: str, world: World, maybe_broker: Broker | None) -> AsyncIterator[Bus]:
    async with a_bus(kind, world.db, maybe_broker) as bus:
        yield bus


async def test_who_listens_hears_every_campaign_that_is_woken(
    bus: Bus, kind: str, world: World, maybe_broker: Broker | None
) -> None:
    campaigns = [uuid.uuid4() for _ in range(40)]
    async with AsyncExitStack() as stack:
        ear = await stack.enter_async_context(an_ear(bus))
        speaker = await stack.enter_async_context(a_bus(kind, world.db, maybe_broker))
        # A process that only speaks connects too, in its own time.
        await until(lambda: kind == "postgres" or speaker.health().is_connected, "a speaker")
        for campaign_id in campaigns:
            await speaker.wake(ended_in(campaign_id))
        await speaker.wake(ended_in(*campaigns[:5]))  # once more harms nobody
        await until(lambda: set(campaigns) <= set(ear.heard), "every campaign heard")
        assert set(ear.heard) == set(campaigns)


async def test_the_health_of_a_bus_names_it_and_says_that_it_is_connected(
    bus: Bus, kind: str
) -> None:
    assert bus.health().is_connected is False
    async with an_ear(bus):
        health = bus.health()
        assert health.kind == kind
        assert health.is_connected
        assert health.last_contact_at is not None


async def test_a_wake_up_neither_raises_nor_waits_while_nobody_is_connected(bus: Bus) -> None:
    began = time.monotonic()
    async with asyncio.timeout(5):
        await bus.wake(ended_in(*(uuid.uuid4() for _ in range(100))))
    assert time.monotonic() - began < 2.0
