"""The line between our processes: NOTIFY, or Kafka with all that comes with it.

Puts together what one process needs of its bus. Must never load Kafka's client where PostgreSQL is
the bus: nobody pays for what they do not use.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from apollo.bus.postgres import PostgresBus
from apollo.ports import Bus, Clock, Stream, TelephonyDriver
from apollo.storage.database import Database
from apollo.usecases.check_status_events import CheckStatusEvents
from apollo.usecases.publish_events import PublishEvents, stop_publishing
from apollo.usecases.record_call_events import Arrival

if TYPE_CHECKING:
    from apollo.bus.kafka import KafkaClient


@dataclass(slots=True)
class Line:
    """What one process has of the bus; `told_after_commit` is None where a commit itself wakes."""

    bus: Bus
    told_after_commit: Bus | None = None
    # Where verified status events go first; None: straight to PostgreSQL.
    status_stream: Stream | None = None
    # Whether status events wait unread somewhere; None: they never wait outside PostgreSQL.
    events_lag: Callable[[], Awaitable[bool]] | None = None
    kafka: "KafkaClient | None" = None
    _reports: dict[str, Callable[[], Any]] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """What the heartbeat says beside the bus's health."""
        return {name: report() for name, report in self._reports.items()}

    async def worker_loops(
        self,
        *,
        record: Callable[[Arrival], Awaitable[object]],
        driver: TelephonyDriver,
        db: Database,
        clock: Clock,
    ) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """Give what a worker runs for the bus; `record` returns after its commit."""
        if self.kafka is None:
            await stop_publishing(db)
            return []
        from apollo.bus.kafka import StatusReader, Topic  # noqa: PLC0415 - see the module

        reader = StatusReader(self.kafka, driver=driver, db=db, clock=clock)
        self._reports["status_events"] = reader.report
        relay = PublishEvents(db=db, stream=self.kafka.stream(Topic.EVENTS))
        return [partial(reader.run, record), relay.run]


@contextlib.asynccontextmanager
async def open_line(
    kafka: Mapping[str, str], topics: tuple[int, int | None], *, db: Database, clock: Clock
) -> AsyncGenerator[Line]:
    """Connect to Kafka when there are settings for it, else use PostgreSQL.

    `topics`: partitions, and replicas or None, of those that have to be created.
    Raises Misconfigured on a setting the client does not know; a Kafka that is away is no fault.
    """
    if not kafka:
        yield Line(PostgresBus(db, clock))
        return
    from apollo.bus.kafka import KafkaBus, KafkaClient, Topic  # noqa: PLC0415 - see the module

    partitions, replication = topics
    client = KafkaClient(kafka, clock=clock, partitions=partitions, replication=replication)
    client.start()
    bus = KafkaBus(client, db, clock)
    try:
        late = CheckStatusEvents(db=db).are_late
        yield Line(bus, bus, client.stream(Topic.STATUS), late, client)
    finally:
        await client.close()
