"""What never changes about the reasons that lie in Kafka, where it is the bus."""

from collections.abc import Mapping
from typing import Final

from apollo.core.reasons.codes import Layer, Reason, ReasonFacts, Severity

FACTS: Final[Mapping[Reason, ReasonFacts]] = {
    Reason.WORKERS_OTHER_BUS: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "The API and a worker use different buses, so wake-ups do not reach it. It still finds work"
        " by the sweep, every few seconds.",
        "The API wakes up workers through {api}, and {who} listens to {worker}. Give every process"
        " the same APOLLO_KAFKA_BOOTSTRAP_SERVERS and restart it.",
    ),
    Reason.KAFKA_UNREACHABLE: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "A process cannot reach Kafka. Workers find their work by the sweep meanwhile, and status"
        " events go straight to the database: a delay of seconds, no call is lost.",
        "{who} cannot reach Kafka ({error}); last contact {last_contact}. Check the brokers, the"
        " network to them and APOLLO_KAFKA_…; it reconnects by itself.",
    ),
    Reason.NO_PARTITION_ASSIGNED: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "A worker is connected to Kafka and has no partition to read, so nothing wakes it. It still"
        " finds work by the sweep.",
        "{idle} of {workers} workers have no partition, of {partitions} there are. {what}",
    ),
    Reason.KAFKA_LAG: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Messages wait on Kafka longer than they should: wake-ups come late, or what the provider"
        " reported is not recorded yet.",
        "{who} is {lag} behind with {what}. Look at the database first (db_locks, db_slow), which"
        " it waits for; else run another worker.",
    ),
    Reason.REBALANCE_STORM: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Partitions move between the workers again and again, and each move holds up wake-ups.",
        "{who} got other partitions {rebalances} times within two minutes. See in the logs which"
        " worker comes and goes: one that restarts, hangs, or loses the network.",
    ),
    Reason.OUTBOX_STALLED: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Events for other systems wait in the database and are not brought to Kafka. Dialling does"
        " not depend on it.",
        "The oldest event waits for {age}. See that a worker runs and reaches Kafka, and that it"
        " may write to the topic of events.",
    ),
    Reason.DEAD_LETTERS: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Messages on Kafka could not be read and were set aside. One from the topic of status"
        " events may hold the outcome of a call.",
        "{letters} messages could not be read, the last at {last_at}: {why}. `apollo dlq list`"
        " shows them; mend the cause, then `apollo dlq replay --all`.",
    ),
}
