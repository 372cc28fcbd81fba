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
from typing import Any, Final

from apollo.core.diagnosis.reported import DatabaseHealth, EndedCall
from apollo.core.diagnosis.snapshot import Settings, Snapshot
from apollo.core.diagnosis.view import ALIVE_WITHIN
from apollo.errors import Stale, Unavailable
from apollo.storage import diagnosis_rows as shape
from apollo.storage.comparison import NEIGHBOURS, PEOPLE, WHO_PICKS_UP
from apollo.storage.database import Connection, load_queries, translated
from apollo.storage.latency import Stopwatch
from apollo.storage.together import Together

_Q: Final = load_queries("diagnosis")
# The readings take fractions of a millisecond each. Something that takes this long is wrong, and to
# say so within a second is worth more than to wait; after a first failure there is less time left.
_READ_WITHIN_MS: Final = 300
_THEN_WITHIN_MS: Final = 100
_ENOUGH_S: Final = 0.6
# So many answers of the database make one reading: see Stopwatch.
_ANSWERS: Final = 3
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

# Without these there is no answer.
_NEEDED: Final = ("batch_facts", "tallies")
# In the order in which they are worth most where not all can be read: who blocks the database
# first, then what does not touch the calls, which a lock may hold.
_REST: Final = (
    "processes",
    "blockers",
    "database",
    "waiting",
    "heads",
    "acts",
    "shut_gates",
    "open_calls",
    "contacts_on_call",
    "live_calls",
    "ended_calls",
    "neighbours",
    "parked",
    "held",
    "endings",
)
_ON_KAFKA: Final = "backlog"
# Where a reading goes in the snapshot, if not by its own name.
_FIELDS: Final = {
    "contacts_on_call": "on_call",
    "ended_calls": "ended",
    "live_calls": "live",
    "decided_calls": "decided",
    "decided_earlier": "earlier",
    "decided_elsewhere": "elsewhere",
}
_SINGLE: Final = frozenset({"database", "backlog", "held"})
_QUERIES: Final = {**_Q, "neighbours": NEIGHBOURS}
_ALONE: Final = {
    name: Together([_QUERIES[name]]) for name in (*_NEEDED, *_REST, _ON_KAFKA, "recount")
}
_ALL: Final = Together([_QUERIES[name] for name in (*_NEEDED, *_REST)])
_ALL_ON_KAFKA: Final = Together([_QUERIES[name] for name in (*_NEEDED, *_REST, _ON_KAFKA)])
_OF_CAMPAIGN: Final = Together([_Q["calls_elsewhere"]])


class Reading:
    """One instant of a batch being read. What was read so far can be used at any time."""

    def __init__(
        self,
        *,
        organization_id: str,
        batch_id: uuid.UUID,
        settings: Settings,
        now: datetime | None,
        verify: bool,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what is wanted: `now` None means the database's time; each answer is told of."""
        self._settings = settings
        self._verify = verify
        self._on_answer = on_answer
        self._given: dict[str, Any] = {
            "organization_id": organization_id,
            "batch_id": batch_id,
            "now": now,
            "alive_within": ALIVE_WITHIN,
            "ring_for": settings.ring_timeout + _TOO_LONG,
            "talk_for": settings.time_limit + _TOO_LONG,
            # Whoever seems to ring for longer was lost sight of: nobody waits for that one.
            "rings_for": settings.ring_timeout + _RINGS_ON,
            "overdue_max": _OVERDUE_MAX,
            "looked_at_max": _UNRESOLVED_MAX,
        }
        self._names = (*_REST, _ON_KAFKA) if settings.bus_kind == "kafka" else _REST
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
        await _limit(connection, _READ_WITHIN_MS)
        self._on_answer()
        watch = Stopwatch()
        try:
            is_there = await self._at_once(connection)
        finally:
            took_s = watch.stop(answers=_ANSWERS)
        if not is_there:
            return False
        if not self._unread:  # what failed took its time limit, and is named by itself
            self._note(read_s=took_s)
        if self._verify:
            await self._recount(connection)
        return True

    async def compare(self, connection: Connection) -> None:
        """Read whether the last people called picked up, and what to compare that with."""

        async def read() -> None:
            found = await WHO_PICKS_UP.read(connection, self._given)
            for name in PEOPLE:
                self._take(name, found[name])

        await self._attempt(connection, PEOPLE[0], read)

    async def read_slot_freed_at(self, connection: Connection) -> None:
        """Read when any batch of the campaign last gave back a slot."""
        known = self._known()
        after = known.read_at - self._settings.stuck_after

        async def read() -> None:
            freed_at: datetime | None = await _Q["slot_freed_at"].value(
                connection, campaign_id=known.campaign.id, after=after
            )
            self._note(slot_freed_at=freed_at)

        await self._attempt(connection, "slot_freed_at", read)

    async def _at_once(self, connection: Connection) -> bool:
        """Read everything in one statement; if that fails, each behind a savepoint of its own."""
        together = _ALL_ON_KAFKA if _ON_KAFKA in self._names else _ALL
        try:
            with translated():
                async with connection.transaction():
                    found = await together.read(connection, self._given)
        except (Unavailable, Stale):
            self._on_answer()  # to refuse is an answer as well
            return await self._one_by_one(connection)
        self._on_answer()
        if not self._facts(found):
            return False
        for name in self._names:
            self._take(name, found[name])
        return True

    async def _one_by_one(self, connection: Connection) -> bool:
        found: dict[str, list[dict[str, Any]]] = {}
        for name in _NEEDED:
            found |= await _ALONE[name].read(connection, self._given)
            self._on_answer()
        if not self._facts(found):
            return False
        self._unread = dict.fromkeys(self._names)
        with contextlib.suppress(Unavailable, Stale), translated():
            await _limit(connection, _THEN_WITHIN_MS)
        for name in self._names:
            await self._attempt(connection, name, partial(self._one, connection, name))
        return True

    def _facts(self, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
        if not found["batch_facts"]:
            return False
        row = shape.facts(found["batch_facts"][0])
        # What is read later is None until then.
        unread: dict[str, Any] = dict.fromkeys(
            _FIELDS.get(name, name) for name in _REST if name != "blockers"
        )
        self._read = Snapshot(
            read_at=row.read_at,
            settings=self._settings,
            batch=shape.batch(row),
            campaign=shape.campaign(row, self._settings),
            stop=shape.stop(row),
            recovering=shape.recovering(row),
            tallies=tuple(shape.SHAPES["tallies"](tally) for tally in found["tallies"]),
            **unread,
        )
        return True

    async def _one(self, connection: Connection, name: str) -> None:
        found = await _ALONE[name].read(connection, self._given)
        self._on_answer()
        self._take(name, found[name])

    def _take(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        shaped = tuple(shape.SHAPES[name](row) for row in rows)
        if name == "blockers":
            health = self._known().database or DatabaseHealth()
            self._note(database=replace(health, blockers=shaped))
        elif name == "database":
            health = self._known().database or DatabaseHealth()
            self._note(database=replace(shaped[0], blockers=health.blockers))
        else:
            self._note(**{_FIELDS.get(name, name): shaped[0] if name in _SINGLE else shaped})
        self._unread.pop(name, None)

    async def _recount(self, connection: Connection) -> None:
        async def read() -> None:
            await _limit(connection, _RECOUNT_WITHIN_MS)
            await self._one(connection, "recount")

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
        self._on_answer()

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
    found = await _OF_CAMPAIGN.read(connection, {"campaign_id": campaign_id})
    return CampaignLoad(
        unfinished=row["unfinished"],
        dialled=row["dialled"],
        batches_dialled=row["batches_dialled"],
        is_paused=row["is_paused"],
        is_cancelled=row["is_cancelled"],
        is_stopped=row["is_stopped"],
        read_at=row["read_at"],
        ended=tuple(shape.SHAPES["calls_elsewhere"](one) for one in found["calls_elsewhere"]),
    )
