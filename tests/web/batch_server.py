"""The whole application on a port, over a database of its own, with a token per organisation."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import uvicorn
from prometheus_client import CollectorRegistry
from tests.usecases.batch_world import BatchWorld

from apollo.config import load
from apollo.config.parts import diagnosis_settings
from apollo.usecases.authenticate import Authenticate
from apollo.usecases.explain_batch import ExplainBatch
from apollo.web.app import create_app
from apollo.wiring.serve import make_use_cases

# Far beyond any request of these tests; a test that hangs should say so.
PATIENCE_S = 30


@dataclass
class Answer:
    """What came back."""

    status: int
    json: Any
    text: str
    headers: Mapping[str, str]


@dataclass
class BatchServer:
    """A client of the running application, as `org_acme` unless told otherwise."""

    world: BatchWorld
    client: aiohttp.ClientSession
    token: str
    other_token: str

    async def ask(
        self, method: str, path: str, *, token: str | None = None, **request: Any
    ) -> Answer:
        """Send a request under `/api/v1` and read the answer."""
        headers = {"Authorization": f"Bearer {token or self.token}", **request.pop("headers", {})}
        async with self.client.request(
            method, f"/api/v1{path}", headers=headers, **request
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Answer(
                answer.status, await answer.json() if is_json else None, text, answer.headers
            )

    async def upload(self, content: Any, **query: str) -> Answer:
        """Upload a CSV file."""
        return await self.ask(
            "POST",
            "/batches/csv",
            params=query,
            data=content,
            headers={"Content-Type": "text/csv"},
        )


@contextlib.asynccontextmanager
async def serve(database_url: str) -> AsyncGenerator[BatchServer]:
    """Start the application, and stop it."""
    world = await BatchWorld.build(database_url)
    db, clock, bus = world.db, world.clock, world.bus
    authenticate = Authenticate(db=db, clock=clock)
    tokens = [(await authenticate.create_token(name)).token for name in ("acme", "other")]
    settings = load({})
    explain = ExplainBatch(db=db, clock=clock, settings=diagnosis_settings(settings))
    uses = replace(
        make_use_cases(settings, db=db, bus=bus, clock=clock, explain=explain),
        create_batches=world.create,
        read_batches=world.read.shown,
    )
    app = create_app(uses, registry=CollectorRegistry())
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as client:
        yield BatchServer(world, client, *tokens)
    server.should_exit = True
    await running
    await db.close()


def new_key() -> str:
    """An idempotency key nobody used."""
    return uuid.uuid4().hex
