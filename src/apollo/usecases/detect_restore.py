"""Before a worker dials: looks for calls of ours that the provider knows and the database does not.

It is asked at the start, and again when a claim finds that the database is another than the one
that was compared: restored under a living worker, promoted, or only restarted. If there are any,
an older backup was restored, or a replica that lagged was promoted, and people who were called look
as if they were not: all dialling is held until an operator has confirmed (`apollo recover`). An
ordinary restart finds nothing, for every request to the provider follows a committed row.

Finding nothing proves nothing if the database certainly was restored and the provider has forgotten
calls: a call that the database lacks may then be up, and in no list. Until it is over in any case,
nobody is called. It places no call and writes none.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from apollo.core.absence import LISTED_FOR, Look, longest, worth_of_list
from apollo.core.model import Deadlines
from apollo.core.words import stamp
from apollo.errors import ApolloError, ProviderForgot
from apollo.ports import Clock, TelephonyDriver
from apollo.storage import overdue, recovery
from apollo.storage.database import Database
from apollo.storage.recovery import Reach
from apollo.usecases.provider_history import (
    CLOCKS_DIFFER,
    UNNAMED_FOR,
    History,
    match,
    read_history,
)

_log = structlog.get_logger("apollo.recovery")

# Nobody restores what is older and dials on.
_LOOK_BACK_MAX: Final = timedelta(days=7)
# Minutes of sixty calls a second; the latest are all that is looked at.
_LATEST_MAX: Final = 20_000


class OtherDatabase(ApolloError):
    """The database is not the one that was compared with the provider: it may lack calls."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Which database was compared with the provider, and how many calls it lacks."""

    database: str
    unknown_calls: int


class DetectRestore:
    """Compares the provider's calls with ours, once for each worker and database."""

    def __init__(
        self, *, db: Database, driver: TelephonyDriver, clock: Clock, deadlines: Deadlines
    ) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock
        self._deadlines = deadlines
        # Since when this database is known to be one that was not compared.
        self._met: dict[str, datetime] = {}

    async def run(self) -> Compared:
        """Hold all dialling if the provider knows more than we.

        Raises DriverError while the provider cannot be asked, ProviderForgot while its answer
        proves nothing, Unavailable without the database.
        """
        async with self._db.connection() as connection:
            reach = await recovery.read_reach(connection)
            before = await recovery.read_recovery(connection)
            caller_ids = await recovery.read_caller_ids(connection)
        met_at = self._met.setdefault(reach.identity, self._clock.now())
        nothing = Compared(reach.identity, 0)
        if before.since is not None:
            return nothing
        if reach.knows_until is None:
            await self._note(reach)
            return nothing
        since = max(reach.knows_until - CLOCKS_DIFFER, self._clock.now() - _LOOK_BACK_MAX)
        history = await read_history(self._driver, since, caller_ids)
        settled = set(before.evidence.get("settled", ()))
        calls = [call for call in history.calls if call.provider_call_id not in settled]
        unknown = 0
        if calls:
            async with self._db.transaction() as connection:
                # Read after the provider: what it shows was committed here before it was asked for.
                ours = await recovery.read_our_calls(
                    connection, self._driver.provider, calls, since - UNNAMED_FOR
                )
                _, strangers = match(calls, ours)
                unknown = len(strangers)
                if strangers:
                    evidence: dict[str, Any] = {
                        "compared_from": since.isoformat(),
                        "unknown_calls": unknown,
                        "has_records": history.has_records,
                        "settled": sorted(settled),
                    }
                    if await recovery.enter_recovery(connection, evidence):
                        _log.error("recovery.entered", calls=unknown, since=since.isoformat())
        if not unknown:
            if reach.is_restored:
                await self._see(history, met_at)
            await self._note(reach)
        return Compared(reach.identity, unknown)

    async def _see(self, history: History, met_at: datetime) -> None:
        """Raise ProviderForgot while calls that the provider does not show may be up."""
        now = self._clock.now()
        until = met_at + longest(self._deadlines)
        if now >= until:
            return
        async with self._db.connection() as connection:
            others = await overdue.read_existing_between(
                connection,
                self._driver.provider,
                now - LISTED_FOR - longest(self._deadlines),
                now,
                at_most=_LATEST_MAX,
            )
        look = worth_of_list(others, history.listed, now)
        if look is Look.SIGHTED:
            return
        _log.warning("provider.forgot", look=look.value, until=until.isoformat())
        text = (
            "the provider's list of calls lacks those of ours that ended last"
            if look is Look.BLIND
            else "it has no call of late that the provider's list would have to show"
        )
        raise ProviderForgot(
            f"{text}: a call that the database lacks may be up until {stamp(until)}", until=until
        )

    async def _note(self, reach: Reach) -> None:
        if reach.compared_lineage != reach.lineage:
            async with self._db.transaction() as connection:
                await recovery.note_compared(connection, reach)
