"""One process's connection to Kafka: its producer, its topics, and whether anybody answers.

Owns every setting the client must have for Apollo's promises to hold. Must never make a caller wait
for a broker that is away: it says so at once, and the caller goes on without Kafka.
"""

import asyncio
import contextlib
import enum
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Final

import structlog
from confluent_kafka import (
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from apollo.errors import Misconfigured, Unavailable
from apollo.ports import Clock

_log = structlog.get_logger("apollo.kafka")

# A broker answers in milliseconds. A webhook that waited this long goes to PostgreSQL instead,
# well within the time the provider waits for our answer.
_ACK_WITHIN_S: Final = 2.0
# A person waits in front of a command.
_CONNECT_WITHIN_S: Final = 10.0
_CHECK_EVERY_S: Final = 5.0
# While it is away: often enough that its return is noticed within a second.
_CHECK_AGAIN_S: Final = 0.5
_ANSWER_WITHIN_S: Final = 3.0
# How long the producer's thread sleeps when nothing is delivered; it wakes when something is.
_POLL_S: Final = 0.2
# A pointer of an hour ago points to nothing the sweep has not found since.
_POINTERS_KEPT_MS: Final = "3600000"

# Of the topics' names.
PREFIX: Final = "apollo"
# What an operator may set otherwise through APOLLO_KAFKA_….
CLIENT_DEFAULTS: Final[Mapping[str, Any]] = {
    "client.id": "apollo",
    # A deleted topic is noticed within seconds.
    "topic.metadata.refresh.interval.ms": 5_000,
    "reconnect.backoff.max.ms": 1_000,
    "socket.keepalive.enable": True,
    # The library would log each attempt to reconnect; what matters comes by error callbacks, and
    # the log and the heartbeat say it once.
    "log_level": 2,
}
_PRODUCER_DEFAULTS: Final[Mapping[str, Any]] = {
    # A wake-up must not wait for company.
    "linger.ms": 1,
    # Whoever waits for the acknowledgement gave up before this.
    "message.timeout.ms": 5_000,
}
# What must be as it is: the promises stand on it.
_PRODUCER_FIXED: Final[Mapping[str, Any]] = {"enable.idempotence": True, "acks": "all"}


class Topic(enum.StrEnum):
    """The topics, without the prefix."""

    DISPATCH = "batch.dispatch"  # pointers: this campaign may have something to dial
    STATUS = "call.status"  # verified status events of the provider, as they came
    EVENTS = "events"  # what happened, for other systems


class KafkaClient:
    """The connection of one process. Call `start` on the loop that uses it."""

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        clock: Clock,
        partitions: int,
        replication: int | None,
        prefix: str = PREFIX,
    ) -> None:
        self.settings: Mapping[str, Any] = {
            **CLIENT_DEFAULTS,
            **settings,
            "logger": logging.getLogger("apollo.kafka"),
        }
        self.prefix = prefix
        self.last_contact_at: datetime | None = None
        self.last_error = ""
        self.is_connected = False
        # When it became so, on the monotonic clock.
        self.connected_since = 0.0
        # Set while the topics are known to be there.
        self.topics_ready = asyncio.Event()
        # Of the topic of wake-ups, as the cluster has it.
        self.partitions_total: int | None = None
        self._clock = clock
        self._partitions = partitions
        self._replication = replication
        try:
            self._producer = self._make_producer()
            self._admin = AdminClient(dict(self.settings))
        except (KafkaException, ValueError) as e:
            mend = "correct the setting of that name, dots as underscores, or remove it"
            raise Misconfigured([f"APOLLO_KAFKA_…: {text_of(e)}; {mend}"]) from e
        # Why the producer gets nothing across any more; empty while it does.
        self._producer_fault = ""
        self._is_closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="kafka-producer", daemon=True)
        self._watch: asyncio.Task[None] | None = None
        self._last_tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Connect in the background, and go on trying."""
        self._loop = asyncio.get_running_loop()
        self._poller.start()
        self._watch = asyncio.create_task(self._keep_watch())

    def name(self, topic: Topic) -> str:
        """Give the topic's name in the cluster."""
        return f"{self.prefix}.{topic}"

    def stream(self, topic: Topic) -> "KafkaStream":
        """Give one topic to append to."""
        return KafkaStream(self, topic)

    def post(
        self, topic: Topic, key: str, value: bytes, done: Callable[[KafkaError | None], None]
    ) -> None:
        """Send without waiting; `done` is called on the loop, with the error if there was one.

        Raises Unavailable when it could not even be queued.
        """
        loop = self._loop
        if loop is None or not self.is_connected:
            raise Unavailable(f"Kafka is not available: {self.last_error or 'not connected'}")

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None and error.code() == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - the library's public name for it
                self._producer_fault = error.str()
            # The loop may be gone when the last acknowledgement comes.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done, error)

        try:
            self._producer.produce(self.name(topic), value, key, on_delivery=delivered)
        except (BufferError, KafkaException) as e:
            raise Unavailable(f"Kafka is not available: {text_of(e)}") from e

    async def send(self, topic: Topic, key: str, value: bytes) -> None:
        """Send, and wait until every in-sync replica has it. Raises Unavailable."""
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: KafkaError | None) -> None:
            if acknowledged.done():
                return
            if error is None:
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(Unavailable(f"Kafka did not take it: {error.str()}"))

        self.post(topic, key, value, done)
        try:
            async with asyncio.timeout(_ACK_WITHIN_S):
                await acknowledged
        except TimeoutError:
            raise Unavailable(f"Kafka did not acknowledge within {_ACK_WITHIN_S} s") from None

    async def resend(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Put a message back into the topic it came from. Raises Unavailable."""
        known = {self.name(one): one for one in Topic}
        if topic not in known:
            raise Unavailable(f"{topic} is no topic of this cluster's Apollo")
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await self.topics_ready.wait()
        except TimeoutError:
            raise Unavailable(f"Kafka is not available: {self.last_error}") from None
        await self.send(known[topic], (key or b"").decode(errors="replace"), value)

    def touched(self) -> None:
        """Note that a broker just answered."""
        self.last_contact_at = self._clock.now()

    def topic_lost(self) -> None:
        """Note that a topic is gone; it is made again at the next look."""
        self.topics_ready.clear()

    async def until_done(self, last: Coroutine[Any, Any, None]) -> None:
        """Wait for it; it goes on when the waiting is cancelled, and `close` waits again."""
        task = asyncio.create_task(last)
        self._last_tasks.add(task)
        task.add_done_callback(self._last_tasks.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Send what waits, for a moment, and let go."""
        # The client's threads call back into the loop: it must not be gone by then.
        await asyncio.gather(*self._last_tasks, return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._poller.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._finish)

    # ------------------------------------------------------------------------ the watch

    async def _keep_watch(self) -> None:
        while True:
            try:
                await self._check()
            except KafkaException as e:
                self._lost(text_of(e))
            await asyncio.sleep(_CHECK_EVERY_S if self.topics_ready.is_set() else _CHECK_AGAIN_S)

    async def _check(self) -> None:
        """Ask for our topics, which tells whether anybody is there at all."""
        missing = []
        asked = self._admin.describe_topics(
            TopicCollection([self.name(topic) for topic in Topic]),
            request_timeout=_ANSWER_WITHIN_S,
        )
        for topic, answer in zip(Topic, asked.values(), strict=True):
            try:
                found = await asyncio.wrap_future(answer)
            except KafkaException as e:
                if code_of(e) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                missing.append(topic)
            else:
                if topic is Topic.DISPATCH:
                    self.partitions_total = len(found.partitions)
        self.touched()
        if not self.is_connected:
            _log.info("kafka.connected")
            self.connected_since = self._clock.monotonic()
        self.is_connected = True
        if self._producer_fault:
            # In a thread: letting go of the old one waits for its own threads.
            await asyncio.to_thread(self._replace_producer)
        if missing:
            await self._create(missing)
        else:
            self.last_error = ""
            self.topics_ready.set()

    async def _create(self, missing: list[Topic]) -> None:
        self.topics_ready.clear()
        replication = -1 if self._replication is None else self._replication
        wanted = [
            NewTopic(
                self.name(topic),
                num_partitions=self._partitions,
                replication_factor=replication,
                config={"retention.ms": _POINTERS_KEPT_MS} if topic is Topic.DISPATCH else {},
            )
            for topic in missing
        ]
        made = self._admin.create_topics(wanted, request_timeout=_ANSWER_WITHIN_S)
        for name, answer in made.items():
            try:
                await asyncio.wrap_future(answer)
            except KafkaException as e:
                if code_of(e) == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue
                self.last_error = f"topic {name} cannot be created: {text_of(e)}"
                _log.error("kafka.topic_missing", topic=name, error=text_of(e))
            else:
                _log.info("kafka.topic_created", topic=name, partitions=self._partitions)

    def _on_error(self, error: KafkaError) -> None:
        # On the producer's thread: assignments only.
        self.last_error = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the library's public name for it
            self.is_connected = False

    def _lost(self, error: str) -> None:
        self.last_error = error
        self.topics_ready.clear()
        if self.is_connected or self.last_contact_at is None:
            _log.warning("kafka.away", error=error)
        self.is_connected = False

    # --------------------------------------------------------------- the producer

    def _make_producer(self) -> Producer:
        return Producer(
            {
                **_PRODUCER_DEFAULTS,
                **self.settings,
                **_PRODUCER_FIXED,
                "error_cb": self._on_error,
            }
        )

    def _replace_producer(self) -> None:
        """Start over as somebody the brokers do not know yet.

        They may refuse an idempotent producer for good: one whose rights came too late, or one a
        cluster that lost its state does not remember. The library never recovers from that.
        """
        _log.warning("kafka.producer_replaced", error=self._producer_fault)
        old, self._producer, self._producer_fault = self._producer, self._make_producer(), ""
        _let_go(old)

    def _poll(self) -> None:
        while not self._is_closing.is_set():
            try:
                self._producer.poll(_POLL_S)
            except KafkaException as e:
                # Fatal to this producer; the next one needs this thread.
                self._producer_fault = text_of(e)
                self._is_closing.wait(_POLL_S)

    def _finish(self) -> None:
        with contextlib.suppress(KafkaException):
            self._producer.flush(1.0 if self.is_connected else 0.0)
        self._is_closing.set()
        self._poller.join()
        # What was not taken by now is lost on purpose: it was a pointer, or is kept elsewhere.
        _let_go(self._producer)


class KafkaStream:
    """One topic to append to; ordered for each key."""

    def __init__(self, client: KafkaClient, topic: Topic) -> None:
        self._client = client
        self._topic = topic

    async def append(self, key: str, value: bytes) -> None:
        """Append; returns when it cannot be lost any more. Raises Unavailable."""
        await self._client.send(self._topic, key, value)


def _let_go(producer: Producer) -> None:
    """Give up what was not acknowledged; whoever waits for it is told so."""
    producer.purge()
    # One that was refused for good says so once more.
    with contextlib.suppress(KafkaException):
        producer.flush(0)


def code_of(error: KafkaException) -> int:
    """The library's number for what went wrong; 0 when it gave none."""
    known = error.args[0]
    return known.code() if isinstance(known, KafkaError) else 0


def text_of(error: Exception) -> str:
    """What went wrong, in the library's words."""
    known = error.args[0] if error.args else error
    return known.str() if isinstance(known, KafkaError) else str(known)
