"""A receiver of webhooks for the tests of RotaryRouter, and a router with everyday defaults."""

from collections.abc import AsyncIterator

import pytest
from tests.rotary.world import Receiver, World, receiving, running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def world(receiver: Receiver) -> AsyncIterator[World]:
    async with running(receiver=receiver) as one:
        yield one
