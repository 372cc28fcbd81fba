"""Reads in the calls that a restored database lacks, and lets dialling go on when told to.

Each call of the provider becomes a call of the contact it was made to, with the provider's
evidence, and goes through `record_call_events` like any other: who was reached is completed, an
attempt is an attempt. It places no call.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from apollo.core.absence import Look, Place, longest, worth_of_list
from apollo.core.certainty import Certainty, measure
from apollo.core.events import Evidence
from apollo.core.ids import ContactKey
from apollo.core.model import Deadlines
from apollo.core.states import Outcome
from apollo.errors import ProviderForgot
from apollo.ports import Clock, LiveCall, TelephonyDriver
from apollo.storage import calls as calls_storage
from apollo.storage import lifecycle, overdue
from apollo.storage import recovery as storage
from apollo.storage.database import Database
from apollo.storage.recovery import OurCall, Recovery, WaitingContact
from apollo.usecases.detect_restore import DetectRestore
from apollo.usecases.provider_history import (
    CLOCKS_DIFFER,
    UNNAMED_FOR,
    History,
    match,
    proven_by,
    read_history,
    unexplained,
)
from apollo.usecases.record_call_events import Arrival, RecordCallEvents

_log = structlog.get_logger("apollo.recovery")


# What was told late of a call that had ended is lost as well; webhooks are repeated for minutes.
_CORRECTED_FOR: Final = timedelta(hours=1)
# How sure the look-ups are is measured by the calls of so long before those that are lost: what is
# read from the provider in any case, and the live list remembers no longer.
_MEASURED_BY: Final = timedelta(hours=1)
# More would not make the share any more exact.
_MEASURED_BY_MAX: Final = 5_000


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call of the provider that the database lacked; `contact` None: nobody waits for it."""

    call: LiveCall
    contact: ContactKey | None
    # Where the provider showed it: in its live list, in its records, or in both.
    seen_in: tuple[Place, ...] = ()


@dataclass(slots=True)
class Recovered:
    """What was read in. `since` None: dialling is not held, and nothing was done."""

    since: datetime | None
    compared_from: datetime | None = None
    has_records: bool = True
    found: list[FoundCall] = field(default_factory=list)
    # Given to their contacts by earlier runs; what belongs to nobody is found each time.
    given_before: int = 0
    # Calls we knew, of which the provider knew more.
    brought_up_to_date: int = 0
    # Calls that were open before: how many the provider showed, and how many it did not. Those stay
    # open, and are looked for until it is proven what became of them; else they are held.
    open_seen: int = 0
    open_absent: int = 0
    certainty: Certainty | None = None
    is_lifted: bool = False
    # Confirmed, and not lifted: the look-ups prove nothing.
    is_unsure: bool = False
    # Until when calls may be up that the provider has forgotten; and of what it shows that.
    waits_until: datetime | None = None
    waits_for: str = ""

    @property
    def is_blind(self) -> bool:
        """Whether the provider does not show calls of ours that it must know."""
        sure = self.certainty
        return sure is not None and (
            sure.is_blind or (self.waits_until is not None and sure.live_list.of > 0)
        )

    @property
    def nobodys(self) -> list[FoundCall]:
        """Those that belong to nobody who waits."""
        return [one for one in self.found if one.contact is None]

    @property
    def given(self) -> int:
        """How many were given to their contacts, by this run and those before it."""
        return self.given_before + len(self.found) - len(self.nobodys)


class RecoverCalls:
    """Brings a restored database up to date with the provider."""

    def __init__(
        self,
        *,
        db: Database,
        driver: TelephonyDriver,
        clock: Clock,
        record: RecordCallEvents,
        deadlines: Deadlines,
    ) -> None:
        self._detect = DetectRestore(db=db, driver=driver, clock=clock, deadlines=deadlines)
        self._db = db
        self._driver = driver
        self._clock = clock
        self._record = record
        self._deadlines = deadlines

    async def run(
        self, *, confirm: bool, even_if_unsure: bool = False, actor: str = "operator"
    ) -> Recovered:
        """Read in what the provider knows; with `confirm`, let dialling go on.

        It does not go on while the look-ups know nothing of what the database knows, unless that is
        asked for: everybody they forgot would be called again.

        Where no worker has noticed a restore yet, it looks for one itself; what it then finds is
        held, and not let go before it was seen. While the provider has forgotten calls there is
        nothing to read in: workers wait, unless both flags say that no call is up unseen. May be
        run any number of times. Raises DriverError when the provider cannot be asked.
        """
        held = await self._read_held()
        if held.since is None:
            found = await self._look(confirm=confirm, even_if_unsure=even_if_unsure, actor=actor)
            held, confirm = await self._read_held(), False
            if held.since is None:
                return found
        async with self._db.connection() as connection:
            caller_ids = await storage.read_caller_ids(connection)
        compared_from = datetime.fromisoformat(held.evidence["compared_from"])
        since = min(
            compared_from - _CORRECTED_FOR, (held.open_since or compared_from) - CLOCKS_DIFFER
        )
        history = await read_history(self._driver, since, caller_ids)
        done = Recovered(held.since, compared_from, history.has_records)
        done.given_before = held.evidence.get("read_in", {}).get("given", 0)
        await self._judge(held.since, compared_from, history, done)
        await self._read_in(history, since, compared_from, done)
        done.is_unsure = confirm and done.is_blind and not even_if_unsure
        if confirm and not done.is_unsure:
            await self._lift(held, done, actor)
        else:
            await self._note(held, done)
        return done

    async def _judge(
        self, held_since: datetime, compared_from: datetime, history: History, done: Recovered
    ) -> None:
        """Measure how sure the look-ups are, by the calls before those that are lost."""
        async with self._db.connection() as connection:
            before = await overdue.read_existing_between(
                connection,
                self._driver.provider,
                compared_from - _MEASURED_BY,
                compared_from,
                at_most=_MEASURED_BY_MAX,
            )
        now = self._clock.now()
        done.certainty = measure(before, history.listed, history.recorded, now)
        if worth_of_list(before, history.listed, now) is not Look.SIGHTED:
            # What is up has no record yet, and may be in no list.
            over_at = held_since + longest(self._deadlines)
            done.waits_until = over_at if over_at > now else None

    async def _look(self, *, confirm: bool, even_if_unsure: bool, actor: str) -> Recovered:
        """Look for a restore; gives what is known when there is none."""
        try:
            await self._detect.run()
        except ProviderForgot as forgot:
            if not (confirm and even_if_unsure):
                return Recovered(
                    None, is_unsure=confirm, waits_until=forgot.until, waits_for=str(forgot)
                )
            async with self._db.transaction() as connection:
                await storage.trust(connection, actor=actor)
            return Recovered(None, is_lifted=True)
        return Recovered(None)

    async def _read_held(self) -> Recovery:
        async with self._db.connection() as connection:
            return await storage.read_recovery(connection)

    async def _read_in(
        self, history: History, since: datetime, lacks_since: datetime, done: Recovered
    ) -> None:
        async with self._db.connection() as connection:
            ours = await storage.read_our_calls(
                connection, self._driver.provider, history.calls, since - UNNAMED_FOR
            )
            open_before = await storage.read_open_calls(connection, self._driver.provider)
        pairs, others = match(history.calls, ours)
        # What is older the database would know, had it been ours.
        strangers = [c for c in others if c.attempted_at is None or c.attempted_at >= lacks_since]
        # First what we knew, for who was on a call then may have had another one since. Then in the
        # order in which they were made: a second call to somebody follows the end of the first.
        for call, one in pairs:
            if _may_be_news(call, one):
                done.brought_up_to_date += await self._say(one.id, call)
        async with self._db.connection() as connection:
            waiting = await storage.find_contacts(connection, {call.to for call in strangers})
        open_to = unexplained(ours, pairs)
        seen = {one.id for _, one in pairs}
        for call in strangers:
            contact = await self._adopt(call, waiting)
            if contact is None and (over := open_to.pop(call.to, None)) is not None:
                done.brought_up_to_date += await self._say(over.id, call)
                seen.add(over.id)
            else:
                done.found.append(FoundCall(call, contact, history.places_of(call)))
        done.open_seen = len(open_before & seen)
        done.open_absent = len(open_before) - done.open_seen
        _log.info(
            "recovery.read_in",
            calls=len(done.found),
            without_contact=len(done.nobodys),
            brought_up_to_date=done.brought_up_to_date,
            open_seen=done.open_seen,
            open_absent=done.open_absent,
        )

    async def _adopt(self, call: LiveCall, waiting: Sequence[WaitingContact]) -> ContactKey | None:
        """Give the call to the first contact that may have had it."""
        for contact in waiting:
            if contact.phone_number != call.to or call.from_number not in contact.caller_ids:
                continue
            async with self._db.transaction() as connection:
                call_id = await storage.adopt_call(
                    connection, self._driver.provider, contact.key, call
                )
            if call_id is not None:
                await self._say(call_id, call)
                return contact.key
        return None

    async def _say(self, call_id: uuid.UUID, call: LiveCall) -> bool:
        """Record what the provider has of a call; gives whether that was news."""
        # Only a record knows when.
        evidence = Evidence.RECORD if call.attempted_at else Evidence.POLL
        event = proven_by(call, self._clock.now(), evidence)
        if event is None:
            return False
        recorded = await self._record.record([Arrival(call_id, event)])
        return recorded.offs == [None]

    async def _note(self, held: Recovery, done: Recovered) -> None:
        read_in = {"at": self._clock.now().isoformat(), "given": done.given}
        async with self._db.transaction() as connection:
            await storage.note_read_in(connection, held.evidence | {"read_in": read_in})

    async def _lift(self, held: Recovery, done: Recovered, actor: str) -> None:
        left = {one.call.provider_call_id for one in done.nobodys}
        evidence: dict[str, Any] = held.evidence | {
            "settled": sorted(left | set(held.evidence.get("settled", ())))
        }
        async with self._db.transaction() as connection:
            await storage.note_compared(connection, await storage.read_reach(connection))
            await storage.leave_recovery(
                connection,
                evidence,
                actor=actor,
                detail={"calls": done.given + len(left), "without_contact": len(left)},
            )
            woken = await lifecycle.wakeable_campaigns(connection, None)
            # Told with the commit; on another bus the sweep finds them within five seconds.
            await calls_storage.notify_campaigns(connection, woken)
        done.is_lifted = True
        _log.warning("recovery.confirmed", given=done.given, without_contact=len(left))


def _may_be_news(call: LiveCall, one: OurCall) -> bool:
    """Tell whether the provider may know more of a call than we: its end, or an answer."""
    if one.is_open or one.evidence == Evidence.ASSUMED:
        return True
    return call.call_status == "completed" and one.outcome != Outcome.COMPLETED
