"""Compares what the provider says with what we believe, now and then: evidence for the diagnosis.

It asks for the list of live calls, for the hook of one application, and whether somebody answers
at one call hook. An end that the list shows and nobody told us is handed in as an event like any
other: while our API or the database was away the only report of it was lost, and its slot must not
wait for the deadline, which for an answered call is half an hour off. It never concludes from
absence: what is not in the list is only reported.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import structlog

from apollo.core.events import CallEnded, Evidence
from apollo.core.observed import observe
from apollo.errors import DriverError, Stale, Unavailable
from apollo.ports import AgentRoute, Clock, LiveCall, TelephonyDriver
from apollo.storage import watching as storage
from apollo.storage.database import Database
from apollo.storage.diagnosis_rows import bare_address
from apollo.storage.watching import OpenCall
from apollo.usecases.record_call_events import Arrival

_log = structlog.get_logger("apollo.watch")

# A list and an application are two requests out of the provider's budget, jambonz's being 120 a
# minute for everybody; after a difference the next look comes sooner, since two make a finding.
# Slots whose end was never told are free again within 15 s, which this has to stay below.
_EVERY_S: Final = 12.0
_AGAIN_S: Final = 8.0
_LOOK_S: Final = 1.0
# A webhook for an end that the list shows already is here within milliseconds, or a second retry.
_ON_ITS_WAY_S: Final = 2.0
# jambonz forgets an answered call after an hour: then its absence proves nothing.
_LISTED: Final = frozenset({"trying", "ringing", "early-media", "in-progress", "queued"})

# Where an application reports to, as (url, method); None when nowhere. Raises DriverError.
ApplicationHookOf = Callable[[str], Awaitable[tuple[str, str] | None]]
# Why nobody answers at an address; empty when somebody does. Never raises.
Reach = Callable[[str], Awaitable[str]]
# Takes an event as if a webhook had brought it.
Take = Callable[[Arrival], Awaitable[object]]


class WatchProvider:
    """Watches one provider connection; one worker does it for all."""

    def __init__(
        self,
        *,
        db: Database,
        driver: TelephonyDriver,
        clock: Clock,
        default_route: AgentRoute | None,
        application_hook: ApplicationHookOf,
        reach: Reach,
        take: Take,
    ) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock
        self._default_route = default_route
        self._application_hook = application_hook
        self._reach = reach
        self._take = take
        self._missing_before: frozenset[uuid.UUID] = frozenset()
        self._live: dict[str, Any] | None = None
        self._applications: dict[str, dict[str, Any]] = {}
        # Applications that could not be read: what the provider said, and when they were tried.
        self._unread: dict[str, tuple[str, datetime]] = {}
        self._call_hooks: dict[str, dict[str, Any]] = {}

    def report(self) -> dict[str, Any]:
        """Give what was found, for the heartbeat."""
        return {
            "live": self._live,
            "applications": list(self._applications.values()),
            "call_hooks": list(self._call_hooks.values()),
        }

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                if await self._takes_turn():
                    await self.look()
            except (Unavailable, Stale, DriverError) as e:
                _log.warning("watch.failed", error=str(e))
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look once at everything that may be seen now."""
        async with self._db.connection() as connection:
            calls = await storage.read_open_calls(connection, self._driver.provider)
            routes = await storage.read_routes(connection)
        if self._default_route is not None:
            routes.append((self._default_route.application_sid, self._default_route.call_hook))
        if self._must_leave_requests(len(calls)):
            return
        await self._compare(calls)
        await self._look_at_applications({sid for sid, _ in routes if sid})
        await self._look_at_call_hooks({hook for _, hook in routes if hook})

    def _must_leave_requests(self, open_calls: int) -> bool:
        """Tell whether what is left of the request budget is needed to hang up what is open."""
        budget = self._driver.rate_limit
        return budget is not None and budget.remaining <= open_calls

    async def _takes_turn(self) -> bool:
        patience_s = _AGAIN_S if self._missing_before else _EVERY_S
        async with self._db.connection() as connection:
            return await storage.take_turn(connection, self._driver.provider, patience_s)

    async def _compare(self, calls: list[OpenCall]) -> None:
        """Find open calls that the provider does not have, twice in a row."""
        ours = {call.provider_call_id for call in calls}
        listed = []
        if calls:
            listed = await self._driver.list_live(
                keep=lambda one: one.call_status in _LISTED or one.provider_call_id in ours
            )
        alive = {one.provider_call_id for one in listed if one.call_status in _LISTED}
        await self._hand_in_ends(calls, listed)
        missing = {
            call.id: call for call in calls if call.was_heard and call.provider_call_id not in alive
        }
        # Of one that never was there nothing is on its way.
        never_seen = Counter(
            call.batch_id
            for call in calls
            if not call.was_heard and call.is_due and call.provider_call_id not in alive
        )
        # Missing once may be an end that is on its way to us.
        sure = [call for call_id, call in missing.items() if call_id in self._missing_before]
        self._missing_before = frozenset(missing)
        self._live = {
            "listed_at": _iso(self._clock.now()),
            "listed": len(alive),
            "missing": {
                str(batch_id): count
                for batch_id, count in Counter(c.batch_id for c in sure).most_common(_REPORTED_MAX)
            },
            "never_seen": {
                str(batch_id): count for batch_id, count in never_seen.most_common(_REPORTED_MAX)
            },
        }

    async def _hand_in_ends(self, calls: list[OpenCall], listed: list[LiveCall]) -> None:
        """Record the ends that nobody told us, once what may be on its way has had its time."""
        over = {one.provider_call_id: one for one in listed if one.call_status not in _LISTED}
        if not any(call.provider_call_id in over for call in calls):
            return
        await asyncio.sleep(_ON_ITS_WAY_S)
        async with self._db.connection() as connection:
            still_open = await storage.read_open_calls(connection, self._driver.provider)
        ends = [
            Arrival(call.id, end)
            for call in still_open
            if call.provider_call_id in over
            and (end := self._end_of(over[call.provider_call_id])) is not None
        ]
        if ends:
            _log.warning("calls.ended_unheard", calls=len(ends))
            await asyncio.gather(*(self._hand_in(end) for end in ends))

    async def _hand_in(self, end: Arrival) -> None:
        try:
            await self._take(end)
        except (Unavailable, Stale):
            raise
        except Exception:  # noqa: BLE001 - what one call's data breaks must not hold up the others
            _log.exception("call.end_not_taken", execution_id=end.shown_id)

    def _end_of(self, found: LiveCall) -> CallEnded | None:
        event = observe(
            call_status=found.call_status,
            at=self._clock.now(),
            evidence=Evidence.POLL,
            provider_call_id=found.provider_call_id,
            sip_status=found.sip_status,
            sip_reason=found.sip_reason,
            duration_s=found.duration_s,
            hangup_by=found.hangup_by,
        )
        return event if isinstance(event, CallEnded) else None

    async def _look_at_applications(self, wanted: set[str]) -> None:
        for gone in self._unread.keys() - wanted:
            del self._unread[gone]
        tried = {sid: {"checked_at": _iso(at)} for sid, (_, at) in self._unread.items()}
        sid = _least_recent(wanted, self._applications, tried)
        if sid is None:
            return
        try:
            found = await self._application_hook(sid)
        except DriverError as e:
            said_before = self._unread.get(sid, ("", None))[0]
            if str(e) != said_before:  # the same every few seconds would drown the log
                _log.warning("application.not_read", application_sid=sid, error=str(e))
            self._unread[sid] = (str(e), self._clock.now())
            return
        self._unread.pop(sid, None)
        self._applications[sid] = {
            "application_sid": sid,
            "checked_at": _iso(self._clock.now()),
            "url": found[0] if found else "",
        }

    async def _look_at_call_hooks(self, wanted: set[str]) -> None:
        for gone in self._call_hooks.keys() - wanted:
            del self._call_hooks[gone]
        # They are our own, and to connect costs the provider nothing: all are asked at once.
        hooks = sorted(wanted)
        errors = await asyncio.gather(*(self._reach(hook) for hook in hooks))
        for hook, error in zip(hooks, errors, strict=True):
            self._call_hooks[hook] = {
                # Its query often holds a key, and whoever may read a batch may read this.
                "call_hook": bare_address(hook),
                "checked_at": _iso(self._clock.now()),
                "error": error,
            }


# A heartbeat stays small, however many batches there are.
_REPORTED_MAX: Final = 50


def _least_recent(
    wanted: set[str],
    seen: dict[str, dict[str, Any]],
    tried: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> str | None:
    """Name the one not looked at for the longest; what is not wanted any more is forgotten.

    `tried`: those whose last look failed.
    """
    for gone in seen.keys() - wanted:
        del seen[gone]

    def last(one: str) -> str:
        return max(_checked_at(seen.get(one)), _checked_at(tried.get(one)))

    return min(wanted, key=lambda one: (last(one), one), default=None)


def _checked_at(found: Mapping[str, Any] | None) -> str:
    return str(found["checked_at"]) if found else ""


def _iso(at: datetime) -> str:
    return at.isoformat()
