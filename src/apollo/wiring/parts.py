"""The parts that more than one process is made of. Must never import what only one of them runs."""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

import structlog

from apollo import embedded
from apollo.bus.line import Line
from apollo.config import Settings
from apollo.core.model import Deadlines, OnUnresolved
from apollo.errors import Misconfigured, Unavailable
from apollo.ports import Clock
from apollo.storage.database import Database
from apollo.storage.migrations import migrate_patiently
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases.record_call_events import RecordCallEvents

_log = structlog.get_logger("apollo")

# Machines that start together come up in any order; after this it is no start but an outage.
_DATABASE_WITHIN_S: Final = 30.0


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        """Give the wall time."""
        return datetime.now(UTC)  # noqa: TID251 - this is the clock port

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return monotonic()


@contextlib.contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """Name the database: the operator's own, or the embedded one, which is there meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
    else:
        with embedded.in_use(settings.data_dir):
            yield embedded.ensure_running(settings.data_dir)


async def migrate(settings: Settings) -> None:
    """Bring the schema up to date. Raises Unavailable at once for a database that is away."""
    with database_url(settings) as url:
        await _bring_up_to_date(settings, url, within_s=0.0)


@contextlib.asynccontextmanager
async def open_database(
    settings: Settings, *, name: str, within_s: float = _DATABASE_WITHIN_S
) -> AsyncGenerator[Database]:
    """Open the database, its schema up to date; waits so long for one that is away."""
    with database_url(settings) as url:
        await _bring_up_to_date(settings, url, within_s=within_s)
        db = await Database.connect(url, connections_max=20, name=name)
        try:
            yield db
        finally:
            await db.close()


async def _bring_up_to_date(settings: Settings, url: str, *, within_s: float) -> None:
    try:
        await migrate_patiently(
            url, within_s=within_s, on_wait=lambda e: _log.warning("database.awaited", error=str(e))
        )
    except Unavailable as fault:
        if settings.database_url is None:
            raise
        mend = "start it, or correct APOLLO_DATABASE_URL"
        raise Unavailable(f"{fault}; {mend}", sqlstate=fault.sqlstate) from fault


def make_driver(settings: Settings, clock: Clock) -> JambonzDriver:
    """Make the driver of the configured provider. Raises Misconfigured when none is."""
    url, sid = settings.jambonz_url, settings.jambonz_account_sid
    key, secret = settings.jambonz_api_key, settings.jambonz_webhook_secret
    if url is None or sid is None or key is None or secret is None:
        mend = "set it to a jambonz or a RotaryRouter, or use `apollo up`, which brings one"
        raise Misconfigured([f"APOLLO_JAMBONZ_URL: not set, so no call could be placed; {mend}"])
    return JambonzDriver(
        base_url=url,
        account_sid=sid,
        api_key=key.get_secret_value(),
        webhook_secret=secret.get_secret_value(),
        public_url=settings.public_url,
        clock=clock,
    )


def deadlines(settings: Settings) -> Deadlines:
    """Give how long each state of a call may last."""
    return Deadlines(
        ring_timeout=timedelta(seconds=settings.ring_timeout_s),
        time_limit=timedelta(seconds=settings.time_limit_s),
        quarantine=settings.quarantine,
        on_unresolved=OnUnresolved(settings.on_unresolved),
    )


def make_record(settings: Settings, db: Database, line: Line) -> RecordCallEvents:
    """Make what writes down call events, and wakes whoever may dial for them."""
    return RecordCallEvents(
        db=db,
        deadlines=deadlines(settings),
        wakes_by_notify=line.told_after_commit is None,
        bus=line.told_after_commit,
    )
