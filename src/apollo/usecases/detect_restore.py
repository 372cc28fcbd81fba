"""Before a worker dials: looks for calls of ours that the provider knows and the database does not.

It is asked at the start, and again when a claim finds that the database is another than the one
that was compared: restored under a living worker, promoted, or only restarted. If there are any,
an older backup was restored, or a replica that lagged was promoted, and people who were called look
as if they were not: all dialling is held until an operator has confirmed (`apollo recover`). An
ordinary restart finds nothing, for every request to the provider follows a committed row. It places
no call and writes none.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from apollo.errors import ApolloError
from apollo.ports import Clock, TelephonyDriver
from apollo.storage import recovery
from apollo.storage.database import Database
from apollo.usecases.provider_history import CLOCKS_DIFFER, UNNAMED_FOR, match, read_history

_log = structlog.get_logger("apollo.recovery")

# Nobody restores what is older and dials on.
_LOOK_BACK_MAX: Final = timedelta(days=7)


class OtherDatabase(ApolloError):
    """The database is not the one that was compared with the provider: it may lack calls."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Which database was compared with the provider, and how many calls it lacks."""

    database: str
    unknown_calls: int


class DetectRestore:
    """Compares the provider's calls with ours, once for each worker and database."""

    def __init__(self, *, db: Database, driver: TelephonyDriver, clock: Clock) -> None:
        self._db = db
        self._driver = driver
        self._clock = clock

    async def run(self) -> Compared:
        """Hold all dialling if the provider knows more than we.

        Raises DriverError while the provider cannot be asked, Unavailable without the database.
        """
        async with self._db.connection() as connection:
            reach = await recovery.read_reach(connection)
            before = await recovery.read_recovery(connection)
            caller_ids = await recovery.read_caller_ids(connection)
        nothing = Compared(reach.identity, 0)
        if reach.knows_until is None or before.since is not None:
            return nothing
        since = max(reach.knows_until - CLOCKS_DIFFER, self._clock.now() - _LOOK_BACK_MAX)
        history = await read_history(self._driver, since, caller_ids)
        settled = set(before.evidence.get("settled", ()))
        calls = [call for call in history.calls if call.provider_call_id not in settled]
        if not calls:
            return nothing
        async with self._db.transaction() as connection:
            # Read after the provider: what it shows was committed here before it was asked for.
            ours = await recovery.read_our_calls(
                connection, self._driver.provider, calls, since - UNNAMED_FOR
            )
            _, strangers = match(calls, ours)
            if strangers:
                evidence: dict[str, Any] = {
                    "compared_from": since.isoformat(),
                    "unknown_calls": len(strangers),
                    "has_records": history.has_records,
                    "settled": sorted(settled),
                }
                if await recovery.enter_recovery(connection, evidence):
                    _log.error("recovery.entered", calls=len(strangers), since=since.isoformat())
        return Compared(reach.identity, len(strangers))
