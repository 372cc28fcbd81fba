"""A place in a consumer group: takes sets of messages, commits what was taken, stays a member.

Offsets are committed after `take` returns, so that a crash means once more, never nothing. Must
never wait for the one who takes: while that lasts it goes on polling, with its partitions paused,
or the group would think it dead.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.aio import AIOConsumer

from apollo.bus.kafka.client import KafkaClient, Topic
from apollo.errors import Misconfigured, Stale, Unavailable
from apollo.ports import Clock
from apollo.storage.dead_letters import DeadLetter

_log = structlog.get_logger("apollo.kafka")

# As the collector's: larger sets gain little.
SET_MAX: Final = 500
_POLL_S: Final = 0.5
# Far below any poll interval a broker allows.
_STAY_MEMBER_EVERY_S: Final = 2.0
_AGAIN_AFTER_S: Final = 1.0
# Rebalances are counted over this long: more than a few in it are a storm, and one worker after
# another that is given a new version is none.
_REBALANCES_WITHIN_S: Final = 120.0

_DEFAULTS: Final = {
    # A killed worker's partitions move within ten seconds: noticed in six, given away in one.
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_500,
    # Taking never holds up polling, so this only ends a process that hangs.
    "max.poll.interval.ms": 60_000,
    "fetch.wait.max.ms": 100,
}
_FIXED: Final = {
    "enable.auto.commit": False,
    # What came before a group existed was meant for it; a pointer too many is harmless.
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
}


class Subscription:
    """One consumer on one topic; gone and made anew whenever the topic or the cluster was."""

    def __init__(self, client: KafkaClient, topic: Topic, *, clock: Clock) -> None:
        self.partitions: set[int] = set()
        self._client = client
        self._topic = topic
        self._clock = clock
        self._rebalances: deque[float] = deque()
        # Since when it has had nothing to read from; None while it has.
        self._idle_since: float | None = None
        # The time of the oldest message that was fetched and not yet taken.
        self._oldest_ms: int | None = None
        # Fetched while it only stayed a member; taken next.
        self._held: list[Message] = []
        self._is_paused = False
        # The topic is no more; what came before that is still taken.
        self._is_over = False
        # Where to go on after what was taken and is not committed yet.
        self._taken: dict[tuple[str, int], int] = {}
        self._is_committing = False

    async def run(self, take: Callable[[Sequence[Message]], Awaitable[None]]) -> None:
        """Hand sets of messages to `take`, in order for each partition, until cancelled."""
        self._idle_since = self._clock.monotonic()
        while True:
            await self._client.topics_ready.wait()
            consumer = self._consumer()
            try:
                await consumer.subscribe(
                    [self._client.name(self._topic)],
                    on_assign=self._on_assign,
                    on_revoke=self._on_revoke,
                    on_lost=self._on_revoke,
                )
                await self._read(consumer, take)
            except (KafkaException, Unavailable, Stale) as e:
                # Not committed, so it comes again.
                _log.warning("kafka.subscription_lost", topic=self._topic, error=str(e))
            finally:
                # A close that is cut short leaves a member behind that the others wait for.
                await self._client.until_done(_close(consumer))
                self._let_go()
            await asyncio.sleep(_AGAIN_AFTER_S)

    @property
    def lag_s(self) -> float:
        """How old the oldest fetched message is that nobody has taken yet; 0 when none waits."""
        if self._oldest_ms is None:
            return 0.0
        return max(0.0, self._clock.now().timestamp() - self._oldest_ms / 1000)

    @property
    def unassigned_s(self) -> float:
        """For how long it has had no partition and Kafka was there; 0 while it has one."""
        if self._idle_since is None or not self._client.is_connected:
            return 0.0
        since = max(self._idle_since, self._client.connected_since)
        return self._clock.monotonic() - since

    @property
    def rebalances(self) -> int:
        """How often its partitions changed in the last two minutes."""
        since = self._clock.monotonic() - _REBALANCES_WITHIN_S
        while self._rebalances and self._rebalances[0] < since:
            self._rebalances.popleft()
        return len(self._rebalances)

    def _consumer(self) -> AIOConsumer:
        try:
            return AIOConsumer(
                {
                    **_DEFAULTS,
                    **self._client.settings,
                    **_FIXED,
                    "group.id": self._client.name(self._topic),
                    "on_commit": self._on_commit,
                }
            )
        except (KafkaException, ValueError) as e:
            raise Misconfigured([f"APOLLO_KAFKA_…: {e}"]) from e

    async def _read(
        self, consumer: AIOConsumer, take: Callable[[Sequence[Message]], Awaitable[None]]
    ) -> None:
        while True:
            await self._commit(consumer)
            messages = await self._next(consumer)
            if messages is None:
                return
            if not messages:
                continue
            self._oldest_ms = min(message.timestamp()[1] for message in messages)
            taking = asyncio.ensure_future(take(messages))
            try:
                while not (await asyncio.wait([taking], timeout=_STAY_MEMBER_EVERY_S))[0]:
                    await self._stay_member(consumer)
            finally:
                taking.cancel()
            await taking
            self._oldest_ms = None
            self._taken |= _after(messages)

    async def _commit(self, consumer: AIOConsumer) -> None:
        """Note what was taken, one commit at a time.

        A group that rebalances waits until no commit is under way; when each set sent its own, a
        busy topic had always one, and the others waited for their partitions.
        """
        if self._taken and not self._is_committing:
            self._is_committing = True
            taken, self._taken = self._taken, {}
            places = [TopicPartition(*place, offset) for place, offset in taken.items()]
            # Not waited for: an offset that was not committed means the same set once more.
            await consumer.commit(offsets=places, asynchronous=True)

    async def _on_commit(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        self._is_committing = False
        if error is not None:
            # As in each rebalance; the next commit covers it, or the set comes once more.
            _log.info("kafka.not_committed", topic=self._topic, error=error.str())

    async def _next(self, consumer: AIOConsumer) -> list[Message] | None:
        """Fetch what is there, waiting a moment for the first; None when the topic is gone."""
        if self._is_paused:
            await consumer.resume(await consumer.assignment())
            self._is_paused = False
        if self._held:
            held, self._held = self._held, []
            return held
        if self._is_over:
            return None
        first = await consumer.poll(_POLL_S)
        if first is None:
            return []
        # One more call, which does not wait: what came with the first.
        fetched = [first, *await consumer.consume(SET_MAX - 1, 0)]
        self._client.touched()
        good = [message for message in fetched if message.error() is None]
        for error in (m.error() for m in fetched if m.error() is not None):
            if error.code() in {
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError.TOPIC_AUTHORIZATION_FAILED,
            }:
                self._client.topic_lost()
                self._is_over = True
            else:
                _log.warning("kafka.consumer_error", topic=self._topic, error=error.str())
        return good

    async def _stay_member(self, consumer: AIOConsumer) -> None:
        """Poll without taking; what a partition assigned meanwhile brings is held back."""
        self._is_paused = True
        await consumer.pause(await consumer.assignment())
        message = await consumer.poll(0)
        if message is not None and message.error() is None:
            self._held.append(message)

    async def _on_assign(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        # The protocol has rounds in which nothing moves.
        if partitions:
            self._rebalances.append(self._clock.monotonic())
            # The library remembers a pause over the loss of a partition.
            await consumer.resume(partitions)
        self.partitions |= {one.partition for one in partitions}
        self._note_idle()
        _log.info("kafka.assigned", topic=self._topic, partitions=sorted(self.partitions))

    async def _on_revoke(self, consumer: AIOConsumer, partitions: list[TopicPartition]) -> None:
        self._is_committing = False  # the last word before somebody else reads on
        await self._commit(consumer)
        self.partitions -= {one.partition for one in partitions}
        self._note_idle()

    def _note_idle(self) -> None:
        if self.partitions:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock.monotonic()

    def _let_go(self) -> None:
        self.partitions = set()
        self._held = []
        self._is_paused = False
        self._is_over = False
        self._taken = {}
        self._is_committing = False
        self._oldest_ms = None
        self._note_idle()


def _after(messages: Sequence[Message]) -> dict[tuple[str, int], int]:
    """The offsets to go on from once these are taken, by topic and partition."""
    last: dict[tuple[str, int], int] = {}
    for message in messages:
        place = (str(message.topic()), int(message.partition() or 0))
        last[place] = max(last.get(place, 0), int(message.offset() or 0) + 1)
    return last


def letter_of(message: Message, reason: str) -> DeadLetter:
    """Keep a message nobody can read, with where it came from and why."""
    return DeadLetter(
        topic=str(message.topic()),
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        key=message.key(),
        value=message.value() or b"",
        reason=reason,
    )


async def _close(consumer: Any) -> None:
    try:
        await consumer.close()
    except (KafkaException, RuntimeError) as e:
        _log.warning("kafka.not_closed", error=str(e))
