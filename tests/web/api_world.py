"""The API on a real socket, over a database of its own, with one organisation and its token."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvicorn
from multidict import CIMultiDictProxy
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp
from tests.usecases.batch_world import HeardBus, SetClock

from apollo.config import load
from apollo.config.parts import diagnosis_settings
from apollo.core import ids
from apollo.storage.database import Database
from apollo.usecases.explain_batch import ExplainBatch
from apollo.web.app import UseCases, create_app
from apollo.web.listening import config_of
from apollo.wiring.serve import make_use_cases

CAMPAIGN = {"name": "Renewals", "agent_id": "agent_1", "phone_numbers": ["+14155550123"]}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    body: Any
    headers: CIMultiDictProxy[str]


@dataclass
class ApiWorld:
    """A running API and what stands behind it."""

    url: str
    http: aiohttp.ClientSession
    db: Database
    clock: SetClock
    bus: HeardBus
    uses: UseCases
    token: str

    async def ask(
        self, method: str, path: str, *, token: str | None = None, **request: Any
    ) -> Reply:
        """Send one request with the token of `org_acme`, or another; "" sends none."""
        headers = dict(request.pop("headers", {}))
        chosen = self.token if token is None else token
        if chosen:
            headers["Authorization"] = f"Bearer {chosen}"
        if "body" in request:
            request["data"] = request.pop("body")
            headers.setdefault("Content-Type", "application/json")
        async with self.http.request(
            method, self.url + path, headers=headers, allow_redirects=False, **request
        ) as response:
            is_json = response.content_type == "application/json"
            body = await (response.json() if is_json else response.text())
            return Reply(response.status, body, response.headers)

    async def campaign(self, **fields: Any) -> dict[str, Any]:
        """Create a campaign; gives its answer."""
        reply = await self.ask("POST", "/api/v1/campaigns/", json=CAMPAIGN | fields)
        assert reply.status == 201, reply.body
        created: dict[str, Any] = reply.body
        return created

    async def batch(self, campaign: dict[str, Any], status: str = "in_progress") -> str:
        """Insert a batch of one contact; gives its public id."""
        key = uuid.uuid4()
        await self.sql(
            "insert into batches (id, organization_id, campaign_id, status, total_contacts,"
            " call_context, metadata, ready_at, created_at, updated_at, paused_by, completed_at)"
            " values ($1, 'org_acme', $2, $3, 1, '{}', '{}', now(), now(), now(),"
            " case when $3 = 'paused' then 'batch' end,"
            " case when $3 = 'completed' then now() end)",
            key,
            ids.parse_id("cmp", campaign["campaign_id"]),
            status,
        )
        await self.sql("insert into batch_cursors (batch_id) values ($1)", key)
        await self.sql(
            "insert into contacts (batch_id, position, phone_number, call_variables, updated_at)"
            """ values ($1, 1, '+919876543210', '{"callee_name": "Rajesh"}', now())""",
            key,
        )
        return ids.batch_id(key)

    async def sql(self, text: str, *values: Any) -> list[Any]:
        """Run a statement of the test's own."""
        async with self.db.connection() as connection:
            return await connection.fetch(text, *values)


@contextlib.asynccontextmanager
async def running_api(
    database_url: str, build: Callable[[UseCases, CollectorRegistry], ASGIApp] | None = None
) -> AsyncIterator[ApiWorld]:
    """Serve the API, or what `build` makes of its use-cases, on a free port until the end."""
    db = await Database.connect(database_url, connections_max=6)
    clock, bus = SetClock(), HeardBus()
    settings = load({"APOLLO_DEFAULT_CALL_HOOK": "https://agent.test/hook"})
    explain = ExplainBatch(db=db, clock=clock, settings=diagnosis_settings(settings))
    uses = make_use_cases(settings, db=db, bus=bus, clock=clock, explain=explain)
    token = (await uses.authenticate.create_token("acme", "tests")).token
    registry = CollectorRegistry()
    app = build(uses, registry) if build else create_app(uses, registry=registry)
    async with _served(app) as url, aiohttp.ClientSession() as http:
        yield ApiWorld(url, http, db, clock, bus, uses, token)
    await db.close()


@contextlib.asynccontextmanager
async def _served(app: Any) -> AsyncIterator[str]:
    config = config_of(app, "127.0.0.1", 0)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Not `serve`: that takes the signals of the test run for itself.
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    await server.shutdown()
