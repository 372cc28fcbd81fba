"""The whole API over a real database, asked in this process, one request after the other."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

from starlette.types import ASGIApp, Message
from tests.drivers.jambonz_stand_in import ACCOUNT, API_KEY, SECRET, signed

from apollo.bus.postgres import PostgresBus
from apollo.config import load
from apollo.config.parts import diagnosis_settings
from apollo.core.breaker import Breaker
from apollo.core.events import CallAccepted, Evidence
from apollo.core.model import Deadlines, OnUnresolved
from apollo.storage.database import Database
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.advance_time import AdvanceTime
from apollo.usecases.authenticate import Authenticate
from apollo.usecases.change_lifecycle import ChangeLifecycle
from apollo.usecases.dial_contacts import DialContacts, DialSettings, ToPlace
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.record_call_events import Arrival, RecordCallEvents
from apollo.usecases.record_call_result import RecordCallResult
from apollo.web.callbacks import Callbacks
from apollo.wiring.parts import SystemClock
from apollo.wiring.serve import make_app


@dataclass
class ApiSite:
    """The API, and the parts of a worker that no client can ask for."""

    app: ASGIApp
    db: Database
    dial: DialContacts
    record: RecordCallEvents
    time: AdvanceTime
    token: str

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """One request; gives status and body."""
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        sent: list[Message] = []
        given = {
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            "content-length": str(len(raw)),
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        parts = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> Message:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()  # the client stays on the line
            raise AssertionError("nobody hangs up")

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        text = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
        return sent[0]["status"], json.loads(text) if text.startswith((b"{", b"[")) else text

    async def claim(self, campaign_id: uuid.UUID) -> list[ToPlace]:
        """Claim as a worker does; the provider takes every call."""
        # As by a worker that has just begun: what the carrier fails is no part of the model.
        self.dial.breaker = Breaker()
        calls = (await self.dial.claim(campaign_id, 64)).calls
        clock = SystemClock()
        await self.record.record(
            [
                Arrival(
                    job.call.id,
                    CallAccepted(
                        at=clock.now(), evidence=Evidence.REPLY, provider_call_id=str(job.call.id)
                    ),
                )
                for job in calls
            ]
        )
        return calls

    async def hear(self, execution_id: str, sid: str, word: str, sip_status: int) -> int:
        """Send a signed status event, as the provider does."""
        body = json.dumps(
            {
                "call_sid": sid,
                "call_status": word,
                "sip_status": sip_status,
                "direction": "outbound",
                "customerData": {"execution_id": execution_id},
            }
        ).encode()
        status, _ = await self.ask("POST", "/webhooks/call-status", body, headers=signed(body))
        return status

    async def pass_time(self) -> None:
        """Let everything that waits fall due."""
        async with self.db.connection() as connection:
            await connection.execute("update due_contacts set due_at = now() where not is_due")
        await self.time.run()


@asynccontextmanager
async def an_api(database_url: str) -> AsyncIterator[ApiSite]:
    """The API on this database, with an organisation and its token."""
    db, clock = await Database.connect(database_url, connections_max=4), SystemClock()
    bus = PostgresBus(db, clock)
    driver = JambonzDriver(
        base_url="http://127.0.0.1:9/v1",
        account_sid=ACCOUNT,
        api_key=API_KEY,
        webhook_secret=SECRET,
        public_url="http://127.0.0.1:8000",
        clock=clock,
    )
    deadlines = Deadlines(
        ring_timeout=timedelta(seconds=30),
        time_limit=timedelta(minutes=30),
        quarantine=timedelta(minutes=10),
        on_unresolved=OnUnresolved.HOLD,
    )
    record = RecordCallEvents(db=db, deadlines=deadlines, wakes_by_notify=True)
    callbacks = Callbacks(
        driver=driver,
        record=record,
        results=RecordCallResult(db=db, record=record),
        result_secret=None,
        clock=clock,
    )
    settings = load({"APOLLO_DEFAULT_CALL_HOOK": "https://agent.example.com/call"})
    explain = ExplainBatch(db=db, clock=clock, settings=diagnosis_settings(settings))
    dial = DialContacts(
        db=db,
        driver=driver,
        clock=clock,
        settings=DialSettings(
            ring_timeout=deadlines.ring_timeout,
            time_limit=deadlines.time_limit,
            calls_per_second=None,
            default_route=None,
            agent_key_secret=b"example",
            number_gap=timedelta(),
        ),
        worker_id=uuid.uuid4(),
        random=Random(1),
    )
    app = make_app(settings, db=db, bus=bus, clock=clock, callbacks=callbacks, explain=explain)
    token = (await Authenticate(db=db, clock=clock).create_token("acme", "tests")).token
    time = AdvanceTime(db=db, expire=ChangeLifecycle(db=db, bus=bus).expire)
    try:
        yield ApiSite(app, db, dial, record, time, token)
    finally:
        await callbacks.drain()
        await db.close()
