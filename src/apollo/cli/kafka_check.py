"""The check of `apollo doctor` on Kafka, where it is the bus.

Owns what each fault means for an operator and how it is mended. Must never change the cluster.
"""

from typing import TYPE_CHECKING, Final

from apollo.cli.findings import Finding, State
from apollo.config import Settings
from apollo.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from apollo.bus.kafka import TopicSeen

_NAME: Final = "Kafka"


async def kafka(settings: Settings) -> list[Finding]:
    """Whether Kafka answers, our topics are as they should be, and we may use them."""
    servers = settings.kafka_bootstrap_servers
    if servers is None:
        return []
    # Nobody pays for the client who does not use it.
    from apollo.bus.kafka import inspect  # noqa: PLC0415 - as said

    try:
        seen = await inspect(settings.kafka_client())
    except Misconfigured as wrong:
        return [Finding(_NAME, State.FAULT, one, "correct the setting") for one in wrong.faults]
    except Unavailable as fault:
        fix = (
            "start the brokers, open the network to them, or correct"
            " APOLLO_KAFKA_BOOTSTRAP_SERVERS and the APOLLO_KAFKA_… for TLS and users"
        )
        return [Finding(_NAME, State.FAULT, f"{servers}: {fault}", fix)]
    answers = Finding(_NAME, State.OK, f"{servers} answers")
    return [answers, *(_topic(one, settings) for one in seen)]


def _topic(seen: "TopicSeen", settings: Settings) -> Finding:
    name, wanted = f"topic {seen.name}", settings.kafka_partitions
    if seen.forbidden:
        what = f"this user may not {', nor '.join(seen.forbidden)}"
        fix = "allow it with kafka-acls.sh; docs/howto/kafka.md has the list"
        return Finding(name, State.FAULT, what, fix)
    if not seen.partitions:
        fix = (
            "start `apollo worker`, which creates it; if its log says that it may not, run"
            f" kafka-topics.sh --create --topic {seen.name} --partitions {wanted}"
        )
        return Finding(name, State.FAULT, "is not there", fix)
    what = f"{seen.partitions} partitions"
    if seen.leaderless:
        fix = "bring the brokers back that keep them"
        return Finding(name, State.FAULT, f"{what}, {seen.leaderless} without a leader", fix)
    if seen.partitions < wanted:
        what = f"{what}, and APOLLO_KAFKA_PARTITIONS is {wanted}: no more workers share the work"
        fix = (
            f"run kafka-topics.sh --alter --topic {seen.name} --partitions {wanted},"
            " or lower the setting"
        )
        return Finding(name, State.NOTE, what, fix)
    return Finding(name, State.OK, what)
