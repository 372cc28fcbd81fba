"""The API for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest
from tests.web.api_world import ApiWorld, running_api


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[ApiWorld]:
    """A running API with the token of `org_acme`."""
    async with running_api(database_url) as world:
        yield world
