"""Everything on Kafka: wake-ups, status events that survive a database outage, the event stream.

`client` owns the connection, its topics and the producer; `subscription` is one place in a consumer
group; `wakes` is the bus, `status` the topic of status events; `inspection`
looks from outside. Kafka carries pointers and copies,
never authority: losing all of it costs delay, never a call.
"""

from apollo.bus.kafka.client import KafkaClient, KafkaStream, Topic
from apollo.bus.kafka.inspection import TopicSeen, inspect
from apollo.bus.kafka.status import StatusReader
from apollo.bus.kafka.wakes import KafkaBus

__all__ = [
    "KafkaBus",
    "KafkaClient",
    "KafkaStream",
    "StatusReader",
    "Topic",
    "TopicSeen",
    "inspect",
]
