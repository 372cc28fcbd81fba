"""What the provider knows of our calls since some time, and which of it our database knows too.

It only reads and compares. Foreign calls on the same account, from other caller ids, are left out.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from apollo.core.absence import Place
from apollo.core.events import CallEnded, CallEvent, Evidence
from apollo.core.observed import observe
from apollo.core.states import CallState
from apollo.errors import DriverError
from apollo.ports import LiveCall, TelephonyDriver
from apollo.storage.overdue import OverdueCall
from apollo.storage.recovery import OurCall

_log = structlog.get_logger("apollo.recovery")

# The provider's clock and the database's differ by seconds.
CLOCKS_DIFFER: Final = timedelta(minutes=1)
# A call that ended without a name from the provider was asked for at most this long before the
# provider wrote it down, clocks that differ included.
UNNAMED_FOR: Final = timedelta(hours=1)

# A call that nobody told us about is asked for within hours, after a restore within days.
_ASKED_ABOUT_FOR: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class History:
    """The provider's calls from our caller ids, the oldest first."""

    calls: list[LiveCall]
    # False: only the live list could be read, which remembers for an hour.
    has_records: bool
    # The provider's ids of all that each place showed.
    listed: frozenset[str] = frozenset()
    recorded: frozenset[str] = frozenset()

    def places_of(self, call: LiveCall) -> tuple[Place, ...]:
        """Return where this call was shown."""
        shown = ((Place.LIVE_LIST, self.listed), (Place.RECORDS, self.recorded))
        return tuple(place for place, names in shown if call.provider_call_id in names)


async def read_history(
    driver: TelephonyDriver, since: datetime, caller_ids: Collection[str]
) -> History:
    """Read live list and call-detail records. Raises DriverError when the list cannot be read."""
    if not caller_ids:
        return History([], has_records=True)
    ours = {_bare(number) for number in caller_ids}
    listed = await driver.list_live(keep=lambda call: _bare(call.from_number) in ours)
    found = {call.provider_call_id: call for call in listed}
    records: dict[str, LiveCall] = {}
    has_records = True
    try:
        # A record says more than the list: when, and how it ended.
        records = {x.provider_call_id: x for x in await _records(driver, since, caller_ids)}
    except DriverError as e:
        _log.warning("records.failed", error=str(e))
        has_records = False
    calls = [x for x in (found | records).values() if _bare(x.from_number) in ours]
    ordered = sorted(calls, key=_begun_at)
    return History(ordered, has_records, frozenset(found), frozenset(records))


async def _records(
    driver: TelephonyDriver, since: datetime, caller_ids: Collection[str]
) -> list[LiveCall]:
    try:
        return await driver.list_records(since, matching=None)
    except DriverError as e:
        if e.cause != "too_many":
            raise
    return [
        record
        for number in sorted(caller_ids)
        for record in await driver.list_records(since, matching=number)
    ]


def match(
    calls: Iterable[LiveCall], ours: Sequence[OurCall]
) -> tuple[list[tuple[LiveCall, OurCall]], list[LiveCall]]:
    """Match the provider's calls, the oldest first, with ours; gives pairs and strangers.

    A call of ours that the provider has not named yet explains one of its calls to that number from
    that caller id, whatever their clocks say, and no more than one.
    """
    named = {one.provider_call_id: one for one in ours if one.provider_call_id is not None}
    unnamed: dict[tuple[str, str], list[OurCall]] = defaultdict(list)
    for one in ours:
        if one.provider_call_id is None:
            unnamed[_bare(one.phone_number), _bare(one.from_number)].append(one)
    pairs: list[tuple[LiveCall, OurCall]] = []
    strangers: list[LiveCall] = []
    for call in calls:
        waiting = unnamed[_bare(call.to), _bare(call.from_number)]
        if call.provider_call_id in named:
            pairs.append((call, named[call.provider_call_id]))
        elif waiting:
            pairs.append((call, waiting.pop(0)))
        else:
            strangers.append(call)
    return pairs, strangers


def unexplained(
    ours: Iterable[OurCall], pairs: Iterable[tuple[LiveCall, OurCall]]
) -> dict[str, OurCall]:
    """Give the open calls of ours, by number, of which the provider knows nothing.

    A later call to such a number, whatever its caller id, was made when this one was over: where
    nobody else can have had it, it went to the same person.
    """
    explained = {one.id for _, one in pairs}
    return {
        one.phone_number: one
        for one in ours
        if one.is_open and one.provider_call_id is None and one.id not in explained
    }


def _begun_at(call: LiveCall) -> datetime:
    # Only what is live or over for less than an hour has no time: it is the latest.
    return call.attempted_at or datetime.max.replace(tzinfo=UTC)


def _bare(number: str) -> str:
    return number.lstrip("+")


def proven_by(found: LiveCall, at: datetime, evidence: Evidence) -> CallEvent | None:
    """Give the event that a provider's view of a call proves; None when it proves nothing."""
    return observe(
        call_status=found.call_status,
        at=_ended_at(found, at),
        evidence=evidence,
        provider_call_id=found.provider_call_id,
        sip_status=found.sip_status,
        sip_reason=found.sip_reason,
        duration_s=found.duration_s,
        hangup_by=found.hangup_by,
    )


def _ended_at(found: LiveCall, at: datetime) -> datetime:
    """Return when a record says the call ended, unless no call that is asked about can have then.

    Cooldowns count from it: a date of 1970 would call the person again at once, one of 9999 never.
    """
    ended_at = found.ended_at
    return ended_at if ended_at and at - _ASKED_ABOUT_FOR <= ended_at <= at else at


def observed_later(call: OverdueCall, event: CallEvent) -> bool:
    """Tell whether a poll shows more than we knew: then the call gets its next deadline."""
    if isinstance(event, CallEnded):
        return True
    name = type(event).__name__
    if call.state in {CallState.ACCEPTED, CallState.UNKNOWN}:
        return name in {"CallRinging", "CallAnswered"}
    return call.state is CallState.RINGING and name == "CallAnswered"
