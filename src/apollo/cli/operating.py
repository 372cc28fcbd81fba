"""What commands need that ask the provider about calls: `stop-all --hang-up`, `recover`, `audit`.

Owns how a provider is opened for the length of one command. It never dials.
"""

import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from apollo.cli.hints import hint_for
from apollo.cli.interrupts import to_its_end
from apollo.cli.rehearsal import settings_in_force
from apollo.config import Settings, configure_logging
from apollo.errors import DriverError, Unavailable
from apollo.usecases.hang_up_calls import HangUpCalls
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.recover_calls import RecoverCalls
from apollo.wiring import parts
from apollo.wiring.office import Office, open_office

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Desk:
    """The office, and what works on calls at the provider."""

    office: Office
    hang_up_calls: HangUpCalls
    recover_calls: RecoverCalls


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncGenerator[Desk]:
    """Open database and provider. Raises Misconfigured when no provider is configured."""
    clock = parts.SystemClock()
    driver = parts.make_driver(settings, clock)
    try:
        async with open_office(settings) as office:
            record = RecordCallEvents(
                db=office.db,
                deadlines=parts.deadlines(settings),
                wakes_by_notify=True,
                log_moves_at=logging.DEBUG,
            )
            yield Desk(
                office=office,
                hang_up_calls=HangUpCalls(db=office.db, driver=driver, clock=clock),
                recover_calls=RecoverCalls(
                    db=office.db,
                    driver=driver,
                    clock=clock,
                    record=record,
                    deadlines=parts.deadlines(settings),
                ),
            )
    finally:
        await driver.close()


def at_desk(work: Callable[[Desk], Awaitable[_T]]) -> _T:
    """Do some work with database and provider at hand, and put them away again."""
    settings = settings_in_force(os.environ)
    configure_logging(settings.log, sys.stderr)  # stdout is for the result alone

    async def inside() -> _T:
        async with open_desk(settings) as desk:
            with asking_provider(settings):
                return await work(desk)

    return to_its_end(inside())


@contextmanager
def asking_provider(settings: Settings) -> Generator[None]:
    """Have a provider that does not answer named with what to correct. Raises Unavailable."""
    try:
        yield
    except DriverError as fault:
        raise Unavailable(
            f"the provider at {settings.jambonz_url} cannot be asked: {fault}; {hint_for(fault)}."
            " `apollo doctor` looks at all of it"
        ) from fault
