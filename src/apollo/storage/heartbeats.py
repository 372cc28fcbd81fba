"""Who is alive: one row for each process, written every few seconds by the process itself."""

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apollo.storage.database import Connection, load_queries

_Q = load_queries("heartbeats")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours, as it introduces itself."""

    id: uuid.UUID
    role: str
    host: str
    pid: int
    version: str
    started_at: datetime


def this_process(role: str, version: str, started_at: datetime) -> Process:
    """Introduce the process this runs in."""
    return Process(uuid.uuid4(), role, socket.gethostname(), os.getpid(), version, started_at)


async def beat(connection: Connection, process: Process, report: Mapping[str, Any]) -> datetime:
    """Say that this process lives, and how it is; gives the database's time."""
    seen_at: datetime = await _Q["beat"].value(
        connection,
        process_id=process.id,
        role=process.role,
        host=process.host,
        pid=process.pid,
        version=process.version,
        started_at=process.started_at,
        report=dict(report),
    )
    return seen_at


async def say_goodbye(connection: Connection, process: Process) -> None:
    """Stop in good order."""
    await _Q["say_goodbye"].run(connection, process_id=process.id)


async def forget_old(connection: Connection) -> int:
    """Forget processes of long ago; gives how many."""
    return await _Q["forget_old"].run(connection)


async def status_events_wait(
    connection: Connection, *, alive_within: timedelta, lag_max_s: float
) -> bool:
    """Tell whether a worker cannot read the status events on Kafka, or is late with them."""
    return bool(
        await _Q["status_events_wait"].value(
            connection, alive_within=alive_within, lag_max_s=lag_max_s
        )
    )


async def list_alive(
    connection: Connection, alive_within: timedelta
) -> list[tuple[Process, dict[str, Any]]]:
    """List the processes heard of within `alive_within`, each with its last report."""
    rows = await _Q["alive"].rows(connection, alive_within=alive_within)
    return [
        (
            Process(
                id=row["process_id"],
                role=row["role"],
                host=row["host"],
                pid=row["pid"],
                version=row["version"],
                started_at=row["started_at"],
            ),
            row["report"],
        )
        for row in rows
    ]
