"""A broker for each test that wants one, and a database with the two organisations."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from scripts.brokers import Broker, make_broker
from tests.builders import World, a_world


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = make_broker(folder)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as world:
        yield world
