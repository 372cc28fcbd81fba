"""One question to the API from a command, the ids that a shell completes, and keys given by name.

Owns how a command reaches the API once. Must not know what it asks for.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

import aiohttp
import typer

from apollo.cli.api_client import ApiClient, Query, connect
from apollo.config import load
from apollo.errors import ApolloError, Misconfigured

# As many as a person looks through.
_COMPLETED: Final = 50


def ask(work: Callable[[ApiClient], Awaitable[Any]]) -> Any:
    """Return what `work` makes of a session with the API. Raises RefusedByApi, Unavailable."""

    async def run() -> Any:
        async with connect(load(os.environ)) as api:
            return await work(api)

    return asyncio.run(run())


def read(path: str, query: Query | None = None) -> Any:
    """Return the answer to a GET."""
    return ask(lambda api: api.read(path, query))


def send(path: str, body: Any = None, query: Query | None = None) -> Any:
    """Return the answer to a POST, which is sent once."""
    return ask(lambda api: api.send(path, body, query))


def change(path: str, body: Any) -> Any:
    """Return the answer to a PATCH."""
    return ask(lambda api: api.change(path, body))


def campaign_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return the campaigns whose id begins so, as `(id, name)`, for a shell."""
    return _ids("/api/v1/campaigns/", "campaign_id", ("name", "status"), incomplete)


def batch_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return the batches whose id begins so, as `(id, what it is)`, for a shell."""
    return _ids("/api/v1/batches/", "batch_id", ("status", "created_at"), incomplete)


def _ids(path: str, key: str, words: Sequence[str], incomplete: str) -> list[tuple[str, str]]:
    try:
        found = read(path, {"limit": _COMPLETED})
    except (ApolloError, aiohttp.ClientError, OSError):
        return []  # a shell that completes has nowhere to put a fault
    return [
        (one[key], " ".join(str(one[word]) for word in words))
        for one in found
        if one[key].startswith(incomplete)
    ]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=JSON", help="Any other key of the API; repeat it."),
]


def settings_given(settings: Sequence[str] | None) -> dict[str, Any]:
    """Return what `--set` names, by key. Raises Misconfigured for what is no KEY=JSON."""
    given: dict[str, Any] = {}
    for one in settings or ():
        key, separator, value = one.partition("=")
        if not separator:
            raise Misconfigured([f"--set {one}: write KEY=JSON, such as amd=true"])
        try:
            given[key] = json.loads(value)
        except ValueError as wrong:
            text = f'--set {key}: {value} is not JSON; write a text in quotes, such as "en"'
            raise Misconfigured([text]) from wrong
    return given
