"""Apollo made wrong in its real processes: the negative control of the runs under fire.

Those that need nothing but a replaced function are the simulation's own; those that live in the
database, or in a process, are made here. The product has no switch for any of them.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from tests.simulation.mutants import switched

from apollo.core import bounds
from apollo.core.events import CallEnded, CallEvent, RequestLost
from apollo.errors import DriverError
from apollo.storage import dialling as dialling_storage
from apollo.storage.database import Connection, Database
from apollo.storage.dialling import ClaimedCall
from apollo.usecases.dial_contacts import Claimed, DialContacts, ToPlace

# In the words of spec/dialling.md.
MUTANTS: Final = (
    "mark after POST",
    "requeue on lease expiry",
    "timeout = failed",
    "not found = retry",
    "last webhook wins",
    "correlate by provider id only",
    "ignore events after cancel",
    "claim without the unique index",
    "believe every value of the provider",
)
# Let go of at the end of the process, and not before.
_wrong: Final = ExitStack()
_ONLY_ONE_OPEN: Final = "on conflict (provider, phone_number) where ended_at is null do nothing"


def make_wrong(name: str) -> None:
    """Turn this process into the mutant, until it ends."""
    match name:
        case "mark after POST":
            _mark_after_post()
        case "timeout = failed":
            _lost_is_failed()
        case "believe every value of the provider":
            bounds.whole = _any_number
        case "claim without the unique index":
            claim = dialling_storage._Q["claim_contacts"]
            assert _ONLY_ONE_OPEN in claim.text
            claim.text = claim.text.replace(_ONLY_ONE_OPEN, "")
        case _:
            _wrong.enter_context(switched(name))


async def prepare(name: str, database_url: str) -> None:
    """Do to the database what the mutant needs."""
    if name == "claim without the unique index":
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute("drop index calls_open_number")
        finally:
            await connection.close()


def _any_number(value: object, allowed: range) -> int | None:
    del allowed
    return int(value) if isinstance(value, int | float) else None


def _lost_is_failed() -> None:
    """No usable answer means that the call failed, and may be tried again."""
    failed = DialContacts._failed

    def ended(self: DialContacts, call: ClaimedCall, error: DriverError) -> CallEvent:
        event = failed(self, call, error)
        if isinstance(event, RequestLost):
            return CallEnded(at=event.at, evidence=event.evidence, call_status="failed")
        return event

    setattr(DialContacts, "_failed", ended)  # noqa: B010 - a plain assignment is refused by types


@dataclass
class _Group:
    """The calls of one claim whose commit waits for the answers to all of them."""

    transaction: AbstractAsyncContextManager[Connection]
    left: int = 0
    committed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answered(self) -> None:
        self.left -= 1
        if self.left <= 0:
            await self.transaction.__aexit__(None, None, None)
            self.committed.set()
        await self.committed.wait()


class _Late:
    """A database whose transactions do not commit when they are left."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.kept: AbstractAsyncContextManager[Connection] | None = None

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        return self._db.connection()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        manager = self._db.transaction()
        connection = await manager.__aenter__()
        try:
            yield connection
        except BaseException:
            await manager.__aexit__(*sys.exc_info())
            raise
        self.kept = manager


def _mark_after_post() -> None:
    """The claim commits when the provider has answered, not before it is asked."""
    claim, place = DialContacts.claim, DialContacts.place
    groups: dict[uuid.UUID, _Group] = {}

    async def claim_late(self: Any, campaign_id: uuid.UUID, request_slots: int) -> Claimed:
        real, late = self._db, _Late(self._db)
        self._db = late
        try:
            claimed = await claim(self, campaign_id, request_slots)
        finally:
            self._db = real
        if late.kept is not None:
            group = _Group(late.kept, len(claimed.calls))
            groups.update((job.call.id, group) for job in claimed.calls)
            if not claimed.calls:
                await group.answered()
        return claimed

    async def place_first(self: Any, job: ToPlace) -> CallEvent:
        event = await place(self, job)
        await groups.pop(job.call.id).answered()
        return event

    setattr(DialContacts, "claim", claim_late)  # noqa: B010 - a plain assignment is refused by types
    setattr(DialContacts, "place", place_first)  # noqa: B010 - as above
