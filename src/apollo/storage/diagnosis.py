"""Reads one instant of a batch for the diagnosis: constant cost, and no judgement.

The batch, its campaign and its counters must be readable, or there is no answer. Everything else is
read behind a savepoint and a time limit: what fails is left out and named.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from apollo.core.diagnosis.evidence import Backlog, DatabaseHealth, EndedCall
from apollo.core.diagnosis.snapshot import (
    Recounted,
    Settings,
    Snapshot,
)
from apollo.core.diagnosis.view import ALIVE_WITHIN
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus
from apollo.errors import Stale, Unavailable
from apollo.storage import diagnosis_rows as shape
from apollo.storage.database import Connection, Record, load_queries, translated
from apollo.storage.reports import read_process, read_recovering

_Q: Final = load_queries("diagnosis")
# The readings take fractions of a millisecond each. Something that takes this long is wrong, and to
# say so within a second is worth more than to wait; after a first failure there is less time left.
_READ_WITHIN_MS: Final = 300
_THEN_WITHIN_MS: Final = 100
_ENOUGH_S: Final = 0.6
# A call whose end never came: so much beyond the longest it may ring or last.
_TOO_LONG: Final = timedelta(seconds=30)
# A recount reads the whole batch, about 4 million contacts a second; the pool gives up at 30 s.
_RECOUNT_WITHIN_MS: Final = 25_000
# The sweep promotes what is due within seconds, so more than a few are due only while no worker
# runs; then the last due time says whether all are.
_OVERDUE_MAX: Final = 1_000

_T = TypeVar("_T")


async def read_snapshot(
    connection: Connection,
    *,
    organization_id: str,
    batch_id: uuid.UUID,
    settings: Settings,
    now: datetime,
    verify: bool,
) -> Snapshot | None:
    """Read a batch in a `snapshot` transaction; None when the organisation has no such batch.

    Raises Unavailable when not even the counters can be read.
    """
    began = asyncio.get_running_loop().time()
    await _Q["limit_statements"].run(connection, milliseconds=str(_READ_WITHIN_MS))
    row = await _Q["batch_facts"].row(
        connection, batch_id=batch_id, organization_id=organization_id
    )
    if row is None:
        return None
    tallies = await _Q["tallies"].rows(connection, batch_id=batch_id)
    snapshot = Snapshot(
        settings=settings,
        batch=shape.batch(row),
        campaign=shape.campaign(row, settings),
        stop=shape.stop(row),
        recovering=read_recovering(row),
        tallies=tuple(shape.tally(tally) for tally in tallies),
    )
    reader = _Reader(connection, organization_id, now, began=began)
    return await reader.complete(snapshot, verify=verify)


async def read_slot_freed_at(
    connection: Connection, snapshot: Snapshot, now: datetime
) -> datetime | None:
    """Read when any batch of the campaign last gave back a slot."""
    freed_at: datetime | None = await _Q["slot_freed_at"].value(
        connection,
        campaign_id=snapshot.campaign.id,
        after=now - snapshot.settings.stuck_after,
    )
    return freed_at


async def read_comparison(connection: Connection, snapshot: Snapshot) -> Snapshot:
    """Read what the last calls of the batch are to be compared with."""
    first = snapshot.ended[-1].ended_at if snapshot.ended else snapshot.batch.ready_at
    earlier = await _Q["earlier_calls"].rows(connection, batch_id=snapshot.batch.id, before=first)
    elsewhere = await _Q["calls_elsewhere"].rows(
        connection, batch_id=snapshot.batch.id, campaign_id=snapshot.campaign.id
    )
    return replace(
        snapshot,
        earlier=tuple(shape.ended(row) for row in earlier),
        elsewhere=tuple(shape.ended(row) for row in elsewhere),
    )


@dataclass(frozen=True, slots=True)
class CampaignLoad:
    """What a campaign has left, what would hold it, and how its last calls went."""

    unfinished: int
    is_paused: bool
    is_cancelled: bool
    is_stopped: bool
    ended: tuple[EndedCall, ...]


async def read_campaign_load(connection: Connection, campaign_id: uuid.UUID) -> CampaignLoad | None:
    """Read what a forecast for a campaign needs; None when there is no such campaign."""
    row = await _Q["campaign_load"].row(connection, campaign_id=campaign_id)
    if row is None:
        return None
    # No batch has this key: the calls of all of them are wanted.
    nobody = uuid.UUID(int=0)
    ended = await _Q["calls_elsewhere"].rows(connection, batch_id=nobody, campaign_id=campaign_id)
    return CampaignLoad(
        unfinished=row["unfinished"],
        is_paused=row["is_paused"],
        is_cancelled=row["is_cancelled"],
        is_stopped=row["is_stopped"],
        ended=tuple(shape.ended(one) for one in ended),
    )


class _Reader:
    """Reads what may be missing, and remembers what was."""

    def __init__(
        self, connection: Connection, organization_id: str, now: datetime, *, began: float
    ) -> None:
        self._connection = connection
        self._began = began
        self._organization_id = organization_id
        self._now = now
        self._stale: list[str] = []
        self._is_careful = False

    async def complete(self, snapshot: Snapshot, *, verify: bool) -> Snapshot:
        """Read all behind one savepoint; if anything fails, each behind its own."""
        try:
            with translated():
                async with self._connection.transaction():
                    return await self._complete(snapshot, verify=verify)
        except (Unavailable, Stale):
            self._is_careful = True
            await self._limit(_THEN_WITHIN_MS)
        return await self._complete(snapshot, verify=verify)

    async def _complete(self, snapshot: Snapshot, *, verify: bool) -> Snapshot:
        batch_id, campaign_id = snapshot.batch.id, snapshot.campaign.id
        is_parked = any(
            tally.wait_reason is Reason.DUPLICATE_NUMBER_BLOCKED and tally.contacts
            for tally in snapshot.tallies
        )
        is_held = bool(
            snapshot.batch.paused_by
            or snapshot.campaign.paused_at
            or snapshot.batch.status is BatchStatus.CANCELLED
        )
        snapshot = replace(
            snapshot,
            processes=await self._rows(
                "processes", read_process, alive_after=self._now - ALIVE_WITHIN
            ),
            open_calls=await self._rows(
                "open_calls",
                shape.open_calls,
                campaign_id=campaign_id,
                ringing_since=self._now - snapshot.settings.ring_timeout - _TOO_LONG,
                talking_since=self._now - snapshot.settings.time_limit - _TOO_LONG,
            ),
            on_call=await self._rows(
                "contacts_on_call", shape.on_call, campaign_id=campaign_id, batch_id=batch_id
            ),
            waiting=await self._rows(
                "waiting", shape.waiting, batch_id=batch_id, now=self._now, overdue_max=_OVERDUE_MAX
            ),
            heads=await self._rows("heads", shape.head, batch_id=batch_id),
            parked=await self._rows(
                "parked", shape.parked, batch_id=batch_id, organization_id=self._organization_id
            )
            if is_parked
            else (),
            acts=await self._rows("acts", shape.act, batch_id=batch_id, campaign_id=campaign_id)
            if is_held
            else (),
            ended=await self._rows("ended_calls", shape.ended, batch_id=batch_id),
            database=await self._database(),
            backlog=await self._backlog() if snapshot.settings.bus_kind == "kafka" else None,
        )
        # What failed took its time limit, and is named by itself.
        read_s = 0.0 if self._stale else self._elapsed_s()
        if verify:
            snapshot = replace(snapshot, recount=await self._recount(batch_id))
        return replace(snapshot, stale_inputs=tuple(self._stale), read_s=read_s)

    def _elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def _database(self) -> DatabaseHealth | None:
        rows = await self._rows("database", shape.database)
        blockers = await self._rows("blockers", shape.blocker)
        return replace(rows[0], blockers=blockers or ()) if rows else None

    async def _backlog(self) -> Backlog | None:
        rows = await self._rows("backlog", lambda row: Backlog(**row))
        return rows[0] if rows else None

    async def _recount(self, batch_id: uuid.UUID) -> tuple[Recounted, ...] | None:
        await self._limit(_RECOUNT_WITHIN_MS)
        self._began += self._elapsed_s()  # this one was asked for, however long it takes
        return await self._rows("recount", shape.recounted, batch_id=batch_id)

    async def _limit(self, milliseconds: int) -> None:
        await _Q["limit_statements"].run(self._connection, milliseconds=str(milliseconds))

    async def _rows(
        self, name: str, read: Callable[[Record], _T], **given: Any
    ) -> tuple[_T, ...] | None:
        if not self._is_careful:
            return tuple(read(row) for row in await _Q[name].rows(self._connection, **given))
        if self._elapsed_s() > _ENOUGH_S:
            self._stale.append(name)
            return None
        try:
            with translated():
                async with self._connection.transaction():
                    rows = await _Q[name].rows(self._connection, **given)
        except (Unavailable, Stale):
            self._stale.append(name)
            return None
        return tuple(read(row) for row in rows)
