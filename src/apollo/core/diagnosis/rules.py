"""The ordered table of rules, one function per reason.

The order breaks ties between reasons of equal severity and layer: causes before symptoms.
"""

from collections.abc import Mapping
from typing import Final

from apollo.core.diagnosis import (
    answers,
    books,
    capacity,
    carrier,
    hooks,
    intent,
    kafka,
    pipeline,
    provider,
    workers,
)
from apollo.core.diagnosis.finding import Rule
from apollo.core.reasons import Reason

RULES: Final[Mapping[Reason, Rule]] = {
    Reason.CANCELLED: intent.cancelled,
    Reason.BATCH_EXPIRED: intent.batch_expired,
    Reason.DIALLING_STOPPED: intent.dialling_stopped,
    Reason.CAMPAIGN_PAUSED: intent.campaign_paused,
    Reason.BATCH_PAUSED: intent.batch_paused,
    Reason.PAUSED_BY_APOLLO: intent.paused_by_apollo,
    Reason.BATCH_SCHEDULED: intent.batch_scheduled,
    Reason.OUTSIDE_WINDOW: intent.outside_window,
    Reason.WINDOW_NEVER_OPENS: intent.window_never_opens,
    Reason.FOLLOW_UP_NOT_DUE: intent.follow_up_not_due,
    Reason.RETRY_NOT_DUE: intent.retry_not_due,
    Reason.DUPLICATE_NUMBER_BLOCKED: intent.duplicate_number_blocked,
    Reason.INVALID_NUMBERS: intent.invalid_numbers,
    Reason.CONCURRENCY_LEAKED: hooks.concurrency_leaked,
    Reason.SHARED_LIMIT_STARVED: capacity.shared_limit_starved,
    Reason.CONCURRENCY_FULL: capacity.concurrency_full,
    Reason.CAMPAIGN_CONCURRENCY_FULL: capacity.campaign_concurrency_full,
    Reason.RATE_LIMITED_BY_PROVIDER: provider.rate_limited_by_provider,
    Reason.PACING_LOW: capacity.pacing_low,
    Reason.DB_READONLY: pipeline.db_readonly,
    Reason.DB_DISK_FULL: pipeline.db_disk_full,
    Reason.NO_WORKER_ALIVE: provider.no_worker_alive,
    Reason.WORKER_STUCK: workers.worker_stuck,
    Reason.DB_LOCKS: pipeline.db_locks,
    Reason.DB_SLOW: pipeline.db_slow,
    Reason.POOL_EXHAUSTED: pipeline.pool_exhausted,
    Reason.STATUS_EVENTS_LAGGING: pipeline.status_events_lagging,
    Reason.WORKERS_OTHER_BUS: kafka.workers_other_bus,
    Reason.KAFKA_UNREACHABLE: kafka.kafka_unreachable,
    Reason.NO_PARTITION_ASSIGNED: kafka.no_partition_assigned,
    Reason.REBALANCE_STORM: kafka.rebalance_storm,
    Reason.KAFKA_LAG: kafka.kafka_lag,
    Reason.OUTBOX_STALLED: kafka.outbox_stalled,
    Reason.DEAD_LETTERS: kafka.dead_letters,
    Reason.VERSION_MISMATCH: pipeline.version_mismatch,
    Reason.CLOCK_SKEW: pipeline.clock_skew,
    Reason.COMPLETED_NOT_CLOSED: provider.completed_not_closed,
    Reason.PROVIDER_UNAUTHORISED: provider.provider_unauthorised,
    Reason.PROVIDER_DOWN: provider.provider_down,
    Reason.BAD_REQUEST_EVERYWHERE: provider.bad_request_everywhere,
    Reason.STATUS_HOOK_OVERRIDDEN: hooks.status_hook_overridden,
    Reason.WEBHOOKS_REJECTED_SIGNATURE: provider.webhooks_rejected_signature,
    Reason.WEBHOOKS_NOT_ARRIVING: provider.webhooks_not_arriving,
    Reason.PROVIDER_ERRORS_UNKNOWN: provider.provider_errors_unknown,
    Reason.WEBHOOK_RETRY_OFF: hooks.webhook_retry_off,
    Reason.STATUS_NEVER_ENDS: hooks.status_never_ends,
    Reason.AGENT_UNREACHABLE: carrier.agent_unreachable,
    Reason.ANSWERED_THEN_DROPPED: carrier.answered_then_dropped,
    Reason.CARRIER_REJECTS: carrier.carrier_rejects,
    Reason.CALLER_ID_INVALID: carrier.caller_id_invalid,
    Reason.CALLER_ID_BLOCKED: carrier.caller_id_blocked,
    Reason.NO_ANSWER_HIGH: answers.no_answer_high,
    Reason.ACCOUNTING_GAP: books.accounting_gap,
    Reason.COUNTERS_VERIFIED: books.counters_verified,
}
