"""A look at the cluster: is it there, are our topics, and what may we do with them.

It reads only: must never create a topic, join a group or send a message.
"""

import asyncio
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation

from apollo.bus.kafka.client import CLIENT_DEFAULTS, PREFIX, Topic, code_of, text_of
from apollo.errors import Misconfigured, Unavailable

# A person waits in front of it.
_ANSWER_WITHIN_S: Final = 5.0
# Beside describing it, which Kafka allows to whoever may do either.
_DO_WITH_TOPIC: Final[Mapping[Topic, Collection[AclOperation]]] = {
    Topic.DISPATCH: (AclOperation.READ, AclOperation.WRITE),
    Topic.STATUS: (AclOperation.READ, AclOperation.WRITE),
    Topic.EVENTS: (AclOperation.WRITE,),
}
# Those that a consumer group of the same name reads.
_READ: Final = (Topic.DISPATCH, Topic.STATUS)
# A new cluster, and one that has just come back, takes some seconds to find out who coordinates.
_NOT_YET: Final = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
_AGAIN_AFTER_S: Final = 0.5
_TRIES: Final = 20
_MISSING: Final = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND}
_REFUSALS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}


@dataclass(frozen=True, slots=True)
class TopicSeen:
    """What the cluster says of one topic."""

    name: str
    # 0: it is not there, or we may not see it.
    partitions: int
    # Partitions that nobody leads: nothing can be read from them or written to them.
    leaderless: int
    # What we may not do and have to: "write to the topic".
    forbidden: tuple[str, ...]


async def inspect(settings: Mapping[str, str]) -> list[TopicSeen]:
    """Ask for each topic of ours. Raises Unavailable when nobody answers, and Misconfigured."""
    errors: list[str] = []
    wanted: dict[str, Any] = {
        **CLIENT_DEFAULTS,
        **settings,
        "log_level": 0,
        "error_cb": lambda error: errors.append(error.str()),
    }
    try:
        admin = AdminClient(wanted)
    except (KafkaException, ValueError) as e:
        mend = "correct the setting of that name, dots as underscores, or remove it"
        raise Misconfigured([f"APOLLO_KAFKA_…: {text_of(e)}; {mend}"]) from e
    asking: dict[str, Any] = {
        "include_authorized_operations": True,
        "request_timeout": _ANSWER_WITHIN_S,
    }
    names = {topic: f"{PREFIX}.{topic}" for topic in Topic}
    try:
        topics = admin.describe_topics(TopicCollection([*names.values()]), **asking)
        seen = {topic: await _answer(topics[name]) for topic, name in names.items()}
        joined = {topic: await _group(admin, names[topic], asking) for topic in _READ}
    except KafkaException as e:
        admin.poll(0)  # the client says there what the connection failed of
        raise Unavailable(errors[0] if errors else text_of(e)) from e
    return [_judged(names[topic], topic, seen[topic], joined.get(topic)) for topic in Topic]


async def _group(admin: AdminClient, name: str, asking: Mapping[str, Any]) -> Any:
    for _ in range(_TRIES):
        try:
            return await _answer(admin.describe_consumer_groups([name], **asking)[name])
        except KafkaException as e:
            if code_of(e) not in _NOT_YET:
                raise
            await asyncio.sleep(_AGAIN_AFTER_S)
    raise Unavailable(f"no broker coordinates the group {name}")


async def _answer(asked: "Future[Any]") -> Any:
    """The answer; None when there is no such thing, False when we may not see it."""
    try:
        return await asyncio.wrap_future(asked)
    except KafkaException as e:
        if code_of(e) in _MISSING:
            return None
        if code_of(e) in _REFUSALS:
            return False
        raise


def _judged(name: str, topic: Topic, seen: Any, group: Any) -> TopicSeen:
    partitions = seen.partitions if seen else []
    forbidden = ["describe the topic"] if seen is False else []
    # A cluster that names no operations does not tell.
    if seen and seen.authorized_operations is not None:
        may = set(seen.authorized_operations)
        wanted = _DO_WITH_TOPIC[topic]
        forbidden += [f"{one.name.lower()} the topic" for one in wanted if one not in may]
    may_read = None if group is None or group is False else group.authorized_operations
    if group is False or (may_read is not None and AclOperation.READ not in may_read):
        forbidden.append(f"use the group {name}")
    return TopicSeen(
        name=name,
        partitions=len(partitions),
        leaderless=sum(one.leader is None for one in partitions),
        forbidden=tuple(forbidden),
    )
