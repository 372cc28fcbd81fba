"""What commands need that work on the database itself, without a process of Apollo's."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import urlsplit

from apollo import embedded
from apollo.bus.line import open_line
from apollo.config import Settings
from apollo.config.parts import default_route
from apollo.errors import Misconfigured
from apollo.storage.database import Database
from apollo.usecases.authenticate import Authenticate
from apollo.usecases.register_agents import RegisterAgents
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.usecases.stop_dialling import StopDialling
from apollo.wiring import parts


@dataclass(frozen=True, slots=True)
class Office:
    """What commands need that work on the database itself."""

    db: Database
    # Which Apollo this is, for whoever has several; no secret in it.
    where: str
    authenticate: Authenticate
    agents: RegisterAgents
    stop_dialling: StopDialling
    dead_letters: ReplayDeadLetters


@contextlib.asynccontextmanager
async def open_office(settings: Settings, *, may_make: bool = False) -> AsyncGenerator[Office]:
    """Open the use-cases of the command line; the schema is brought up to date first.

    Raises Misconfigured where there is no embedded database yet, unless one `may_make` it: whoever
    stops an installation, or asks about one, means one that is there.
    """
    if settings.database_url is None and not may_make and not embedded.is_made(settings.data_dir):
        mend = "name the directory of the Apollo you mean, or its database with APOLLO_DATABASE_URL"
        raise Misconfigured(
            [f"APOLLO_DATA_DIR: no Apollo has run with {settings.data_dir} yet; {mend}"]
        )
    clock = parts.SystemClock()
    # A person waits in front of this one, and wants to hear at once that it is away.
    async with (
        parts.open_database(settings, name="apollo cli", within_s=0.0) as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        yield Office(
            db=db,
            where=_where(settings),
            authenticate=Authenticate(db=db, clock=clock),
            agents=RegisterAgents(db=db, clock=clock, default_route=default_route(settings)),
            stop_dialling=StopDialling(db=db, bus=line.bus),
            dead_letters=ReplayDeadLetters(
                db=db, resend=None if line.kafka is None else line.kafka.resend
            ),
        )


def _where(settings: Settings) -> str:
    if settings.database_url is None:
        return str(settings.data_dir)
    url = urlsplit(settings.database_url.get_secret_value())
    return f"{url.hostname or 'local socket'}{url.path}"
