"""Finds out whether calls that a provider does not show are really not there.

It asks the live list and the call-detail records about other calls of the same time, whose names we
know, and has the core judge what either answer is worth. It reads only, and proves nothing when a
question fails.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from apollo.core import ids
from apollo.core.absence import (
    OF_THAT_TIME,
    Look,
    OtherCall,
    Place,
    calls_beside,
    needs_proof,
    worth,
)
from apollo.core.model import OnUnresolved
from apollo.errors import DriverError
from apollo.ports import LiveCall, TelephonyDriver
from apollo.storage import overdue as storage
from apollo.storage.database import Database
from apollo.storage.overdue import OverdueCall

_log = structlog.get_logger("apollo.reconcile")

# For more calls than this, one list is cheaper than a question for each.
_ONE_BY_ONE_MAX: Final = 6
# Two minutes of sixty calls a second, on both sides; the nearest are all that is looked at.
_OTHERS_MAX: Final = 20_000
# A record may carry a time slightly before our own request: clocks differ.
_CLOCKS_DIFFER: Final = timedelta(seconds=5)

# The calls before and after a missing one that a place has to know.
_Beside = tuple[list[OtherCall], list[OtherCall]]


class ProveAbsence:
    """Asks whether a provider's silence about some calls means anything."""

    def __init__(self, *, db: Database, driver: TelephonyDriver) -> None:
        self._db = db
        self._driver = driver

    async def run(
        self, absent: Sequence[OverdueCall], policy: OnUnresolved
    ) -> frozenset[uuid.UUID]:
        """Return those of these calls that both places, shown to know their time, do not have.

        Nothing is asked about calls for which nobody would be called again anyway.
        """
        calls = [
            call
            for call in absent
            if call.provider == self._driver.provider
            and needs_proof(call.state, was_answered=call.was_answered, policy=policy)
        ]
        if not calls:
            return frozenset()
        others = await self._read_others(calls)
        now = max(call.read_at for call in calls)
        live = {c: _beside(Place.LIVE_LIST, c, others, now) for c in calls}
        records = {c: _beside(Place.RECORDS, c, others, now) for c in calls}
        # Of calls that nothing can be said about, nothing is asked.
        asked = [c for c in calls if all(live[c]) and all(records[c])]
        try:
            shown = await self._look_into_list(asked, [live[c] for c in asked])
            noted = await self._look_into_records(asked, [records[c] for c in asked])
        except DriverError as e:
            _log.warning("absence.not_looked_into", error=str(e))
            return frozenset()
        proven = set()
        for call in calls:
            is_back = any(_is_it(call, one) for one in (*shown, *noted))
            in_list = worth(live[call], {one.provider_call_id for one in shown})
            in_records = worth(records[call], {one.provider_call_id for one in noted})
            if in_list is in_records is Look.SIGHTED and not is_back:
                proven.add(call.id)
            _log.info(
                "call.absent",
                execution_id=ids.execution_id(call.id),
                live_list=in_list.value,
                records=in_records.value,
                is_proven=call.id in proven,
            )
        return frozenset(proven)

    async def _read_others(self, calls: Sequence[OverdueCall]) -> list[OtherCall]:
        asked_at = [call.requested_at for call in calls]
        # What was over when the first of them was asked for may have begun long before.
        since, until = min(asked_at) - 2 * OF_THAT_TIME, max(asked_at) + OF_THAT_TIME
        async with self._db.connection() as connection:
            return await storage.read_existing_between(
                connection, self._driver.provider, since, until, at_most=_OTHERS_MAX
            )

    async def _look_into_list(
        self, calls: Sequence[OverdueCall], beside: Sequence[_Beside]
    ) -> list[LiveCall]:
        """Return what the live list has of these calls and of those beside them.

        The calls themselves are asked for once more, after the others: a store that was away when
        they were first asked for may have come back since.
        """
        names = _names(beside)
        own = [call.provider_call_id for call in calls]
        if not names:
            return []
        unnamed = [call for call in calls if call.provider_call_id is None]
        if len(names) > _ONE_BY_ONE_MAX or unnamed:
            wanted = {*names, *own}
            return await self._driver.list_live(
                keep=lambda one: (
                    one.provider_call_id in wanted or any(_is_it(call, one) for call in unnamed)
                )
            )
        found = [await self._driver.read_call(name) for name in (*names, *own) if name]
        return [one for one in found if one is not None]

    async def _look_into_records(
        self, calls: Sequence[OverdueCall], beside: Sequence[_Beside]
    ) -> list[LiveCall]:
        """Return what the records have of these calls, or of those beside them."""
        names = _names(beside)
        if not names:
            return []
        since = _earliest(calls, beside) - _CLOCKS_DIFFER
        if len(names) > _ONE_BY_ONE_MAX:
            return await self._driver.list_records(since, matching=None)
        return [
            one for name in names for one in await self._driver.list_records(since, matching=name)
        ]


def _beside(place: Place, call: OverdueCall, others: Sequence[OtherCall], now: datetime) -> _Beside:
    """Return the calls beside this one; those that are missing with it are among them."""
    rest = [other for other in others if other.provider_call_id != call.provider_call_id]
    return calls_beside(place, call.requested_at, rest, now)


def _names(beside: Sequence[_Beside]) -> list[str]:
    both = [other for before, after in beside for other in (*before, *after)]
    return list(dict.fromkeys(other.provider_call_id for other in both))


def _earliest(calls: Collection[OverdueCall], beside: Sequence[_Beside]) -> datetime:
    others = [other.requested_at for before, after in beside for other in (*before, *after)]
    return min([*others, *(call.requested_at for call in calls)])


def _is_it(call: OverdueCall, found: LiveCall) -> bool:
    """Tell whether this is the missing call, or may be: it is known by its number alone."""
    if call.provider_call_id is not None:
        return found.provider_call_id == call.provider_call_id
    return found.to == call.phone_number and found.from_number == call.from_number
