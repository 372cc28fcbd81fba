"""Reads one instant of a batch for the diagnosis: constant cost, and no judgement.

The batch, its campaign and its counters must be readable, or there is no answer. Everything else is
read behind a savepoint and a time limit: what fails is left out and named.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeAlias

from apollo.core.diagnosis.reported import Backlog, EndedCall
from apollo.core.diagnosis.snapshot import HeldByCarrier, Settings, Snapshot
from apollo.core.diagnosis.view import ALIVE_WITHIN
from apollo.core.reasons import Reason
from apollo.core.states import BatchStatus, ContactStatus
from apollo.errors import Stale, Unavailable
from apollo.storage import diagnosis_rows as shape
from apollo.storage.database import Connection, Record, load_queries, translated
from apollo.storage.latency import Stopwatch
from apollo.storage.reports import read_process, read_recovering

_Q: Final = load_queries("diagnosis")
# The readings take fractions of a millisecond each. Something that takes this long is wrong, and to
# say so within a second is worth more than to wait; after a first failure there is less time left.
_READ_WITHIN_MS: Final = 300
_THEN_WITHIN_MS: Final = 100
_ENOUGH_S: Final = 0.6
# So many answers of the database make one reading: see Stopwatch.
_ANSWERS: Final = 16
# A call whose end never came: so much beyond the longest it may ring or last.
_TOO_LONG: Final = timedelta(seconds=30)
# A recount reads the whole batch, about 4 million contacts a second; the pool gives up at 30 s.
_RECOUNT_WITHIN_MS: Final = 25_000
# The sweep promotes what is due within seconds, so more than a few are due only while no worker
# runs; then the last due time says whether all are.
_OVERDUE_MAX: Final = 1_000
# What a person can decide about at one sitting: as many as `apollo calls unresolved` lists.
_UNRESOLVED_MAX: Final = 1_000
# A phone stops ringing at the timeout, and what says so takes seconds at most.
_RINGS_ON: Final = timedelta(seconds=15)

# The name of a reading, how a row of it is shaped, and its parameters.
_Wanted: TypeAlias = tuple[str, Callable[[Record], Any], Mapping[str, Any]]
# Where a reading goes in the snapshot, if not by its own name.
_FIELDS: Final = {"contacts_on_call": "on_call", "ended_calls": "ended", "blockers": "database"}


class Reading:
    """One instant of a batch being read. What was read so far can be used at any time."""

    def __init__(
        self,
        *,
        organization_id: str,
        batch_id: uuid.UUID,
        settings: Settings,
        now: datetime,
        verify: bool,
    ) -> None:
        self._organization_id = organization_id
        self._batch_id = batch_id
        self._settings = settings
        self._now = now
        self._verify = verify
        # None until the batch, its campaign and its counters were read.
        self._read: Snapshot | None = None
        # What is wanted and not there, in the order in which it is read.
        self._unread: dict[str, None] = {}
        self._began = 0.0

    @property
    def snapshot(self) -> Snapshot | None:
        """What is known by now; what is not is None and named. None when the batch is not."""
        if self._read is None:
            return None
        return replace(self._read, stale_inputs=tuple(self._unread))

    async def read(self, connection: Connection) -> bool:
        """Read all in a `snapshot` transaction; False when the organisation has no such batch.

        Raises Unavailable when not even the counters can be read.
        """
        self._began = asyncio.get_running_loop().time()
        watch = Stopwatch()
        try:
            if not await self._facts(connection):
                return False
            await self._rest(connection)
        finally:
            took_s = watch.stop(answers=_ANSWERS)
        if not self._unread:  # what failed took its time limit, and is named by itself
            self._note(read_s=took_s)
        if self._verify:
            await self._recount(connection)
        return True

    async def compare(self, connection: Connection) -> None:
        """Read whether the last people called picked up, and what to compare that with."""
        campaign_id = self._known().campaign.id
        # Whoever seems to ring for longer than this was lost sight of: nobody waits for that one.
        rings_since = self._now - self._settings.ring_timeout - _RINGS_ON

        async def read() -> None:
            batch = {"batch_id": self._batch_id}
            last = await _Q["decided_calls"].rows(connection, **batch, rings_since=rings_since)
            first = min((row["position"] for row in last), default=1)
            earlier = await _Q["decided_earlier"].rows(connection, **batch, before=first)
            elsewhere = await _Q["decided_elsewhere"].rows(
                connection, **batch, campaign_id=campaign_id, rings_since=rings_since
            )
            self._note(
                decided=tuple(shape.decided(row) for row in last),
                earlier=tuple(shape.decided(row) for row in earlier),
                elsewhere=tuple(shape.decided(row) for row in elsewhere),
            )

        await self._attempt(connection, "decided_calls", read)

    async def read_slot_freed_at(self, connection: Connection) -> None:
        """Read when any batch of the campaign last gave back a slot."""
        campaign_id = self._known().campaign.id
        after = self._now - self._settings.stuck_after

        async def read() -> None:
            freed_at: datetime | None = await _Q["slot_freed_at"].value(
                connection, campaign_id=campaign_id, after=after
            )
            self._note(slot_freed_at=freed_at)

        await self._attempt(connection, "slot_freed_at", read)

    async def _facts(self, connection: Connection) -> bool:
        await _limit(connection, _READ_WITHIN_MS)
        row = await _Q["batch_facts"].row(
            connection, batch_id=self._batch_id, organization_id=self._organization_id
        )
        if row is None:
            return False
        tallies = await _Q["tallies"].rows(connection, batch_id=self._batch_id)
        self._read = Snapshot(
            settings=self._settings,
            batch=shape.batch(row),
            campaign=shape.campaign(row, self._settings),
            stop=shape.stop(row),
            recovering=read_recovering(row),
            tallies=tuple(shape.tally(tally) for tally in tallies),
        )
        return True

    async def _rest(self, connection: Connection) -> None:
        """Read the rest behind one savepoint; if anything fails, each behind its own."""
        wanted = self._wanted()
        self._forget(wanted)
        try:
            with translated():
                async with connection.transaction():
                    for one in wanted:
                        await self._one(connection, one)
        except (Unavailable, Stale):
            failed = next(iter(self._unread))  # it had its time
            self._forget(wanted)
        else:
            return
        with contextlib.suppress(Unavailable, Stale), translated():
            await _limit(connection, _THEN_WITHIN_MS)
        for one in wanted:
            if one[0] != failed:
                await self._attempt(connection, one[0], partial(self._one, connection, one))

    def _forget(self, wanted: Sequence[_Wanted]) -> None:
        self._unread = dict.fromkeys(name for name, _, _ in wanted)
        self._note(**{_FIELDS.get(name, name): None for name in self._unread})

    def _wanted(self) -> list[_Wanted]:
        facts, now = self._known(), self._now
        batch, campaign = {"batch_id": self._batch_id}, {"campaign_id": facts.campaign.id}
        wanted: list[_Wanted] = [
            ("processes", read_process, {"alive_after": now - ALIVE_WITHIN}),
            (
                "open_calls",
                shape.open_calls,
                campaign
                | {
                    "ringing_since": now - facts.settings.ring_timeout - _TOO_LONG,
                    "talking_since": now - facts.settings.time_limit - _TOO_LONG,
                },
            ),
            ("contacts_on_call", shape.on_call, campaign | batch),
            ("waiting", shape.waiting, batch | {"now": now, "overdue_max": _OVERDUE_MAX}),
            ("heads", shape.head, batch),
            ("ended_calls", shape.ended, batch),
            ("shut_gates", lambda row: HeldByCarrier(**row), campaign | batch),
            ("database", shape.database, {}),
            ("blockers", shape.blocker, {}),
        ]
        if any(t.wait_reason is Reason.DUPLICATE_NUMBER_BLOCKED for t in facts.tallies):
            wanted.append(
                ("parked", shape.parked, batch | {"organization_id": self._organization_id})
            )
        if any(t.status is ContactStatus.FAILED and t.contacts for t in facts.tallies):
            wanted.append(("held", shape.held, batch | {"looked_at_max": _UNRESOLVED_MAX}))
        if (
            facts.batch.paused_by
            or facts.campaign.paused_at
            or facts.batch.status is BatchStatus.CANCELLED
        ):
            wanted.append(("acts", shape.act, batch | campaign))
        if facts.settings.bus_kind == "kafka":
            wanted.append(("backlog", lambda row: Backlog(**row), {}))
        return wanted

    async def _one(self, connection: Connection, wanted: _Wanted) -> None:
        name, shaped, given = wanted
        rows = tuple(shaped(row) for row in await _Q[name].rows(connection, **given))
        if name == "blockers":
            health = self._known().database
            self._note(database=None if health is None else replace(health, blockers=rows))
        else:
            is_single = name in {"database", "backlog", "held"}
            self._note(**{_FIELDS.get(name, name): rows[0] if is_single else rows})
        self._unread.pop(name, None)

    async def _recount(self, connection: Connection) -> None:
        async def read() -> None:
            await _limit(connection, _RECOUNT_WITHIN_MS)
            rows = await _Q["recount"].rows(connection, batch_id=self._batch_id)
            self._note(recount=tuple(shape.recounted(row) for row in rows))

        # This one was asked for, however long it takes.
        self._began = asyncio.get_running_loop().time()
        await self._attempt(connection, "recount", read)
        self._began = asyncio.get_running_loop().time()

    async def _attempt(
        self, connection: Connection, name: str, read: Callable[[], Awaitable[None]]
    ) -> None:
        """Read something behind a savepoint of its own; what fails is named and left out."""
        self._unread[name] = None
        if asyncio.get_running_loop().time() - self._began > _ENOUGH_S:
            return
        with contextlib.suppress(Unavailable, Stale), translated():
            async with connection.transaction():
                await read()
            self._unread.pop(name, None)

    def _known(self) -> Snapshot:
        if self._read is None:
            raise RuntimeError("nothing was read yet")
        return self._read

    def _note(self, **read: Any) -> None:
        self._read = replace(self._known(), **read)


async def _limit(connection: Connection, milliseconds: int) -> None:
    await _Q["limit_statements"].run(connection, milliseconds=str(milliseconds))


@dataclass(frozen=True, slots=True)
class CampaignLoad:
    """What a campaign has left, what would hold it, and how its last calls went."""

    unfinished: int
    # Of the batches in progress alone.
    dialled: int
    batches_dialled: int
    is_paused: bool
    is_cancelled: bool
    is_stopped: bool
    read_at: datetime
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
        dialled=row["dialled"],
        batches_dialled=row["batches_dialled"],
        is_paused=row["is_paused"],
        is_cancelled=row["is_cancelled"],
        is_stopped=row["is_stopped"],
        read_at=row["read_at"],
        ended=tuple(shape.ended(one) for one in ended),
    )
