"""What commands need that work on the database itself, without a process of Apollo's."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from apollo.bus.line import open_line
from apollo.config import Settings
from apollo.config.parts import default_route
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
    authenticate: Authenticate
    agents: RegisterAgents
    stop_dialling: StopDialling
    dead_letters: ReplayDeadLetters


@contextlib.asynccontextmanager
async def open_office(settings: Settings) -> AsyncGenerator[Office]:
    """Open the use-cases of the command line; the schema is brought up to date first."""
    clock = parts.SystemClock()
    # A person waits in front of this one, and wants to hear at once that it is away.
    async with (
        parts.open_database(settings, name="apollo cli", within_s=0.0) as db,
        open_line(settings.kafka_client(), settings.kafka_topics(), db=db, clock=clock) as line,
    ):
        yield Office(
            db=db,
            authenticate=Authenticate(db=db, clock=clock),
            agents=RegisterAgents(db=db, clock=clock, default_route=default_route(settings)),
            stop_dialling=StopDialling(db=db, clock=clock, bus=line.bus),
            dead_letters=ReplayDeadLetters(
                db=db, resend=None if line.kafka is None else line.kafka.resend
            ),
        )
