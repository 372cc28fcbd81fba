"""Why a contact or a batch waits. One vocabulary for decision, stored verdict and diagnosis.

The closed list, where a reason can lie and how grave it can be. What proves a reason and what to do
about it stand together in `core/diagnosis/rules`. Must never look at a batch.
"""

import enum


class Layer(enum.StrEnum):
    """Where a reason lies, from outside in."""

    INTENT = "intent"  # somebody wanted it so
    CLOCK = "clock"  # calling hours
    CONTACT = "contact"  # this contact's own turn has not come
    CAPACITY = "capacity"  # the slots are taken
    PIPELINE = "pipeline"  # our own processes, bus and database
    PROVIDER = "provider"  # the telephony provider, its carrier, its webhooks
    DATA = "data"  # our own books


class Severity(enum.StrEnum):
    """How much it should worry a person."""

    INFO = "info"  # as it should be
    WARNING = "warning"  # something to look at
    CRITICAL = "critical"  # nothing moves, or soon will not


class Reason(enum.StrEnum):
    """The closed list of reasons; the comment completes "waiting because …"."""

    BATCH_SCHEDULED = "batch_scheduled"  # the batch has a start in the future
    BATCH_PAUSED = "batch_paused"  # somebody paused the batch
    CAMPAIGN_PAUSED = "campaign_paused"  # somebody paused the campaign
    PAUSED_BY_APOLLO = "paused_by_apollo"  # Apollo paused it: the provider refuses its requests
    DIALLING_STOPPED = "dialling_stopped"  # an operator stopped all dialling
    RECOVERY_MODE = "recovery_mode"  # the database was restored and lacks calls that were made
    BATCH_EXPIRED = "batch_expired"  # `ends_at` has passed
    CANCELLED = "cancelled"  # the batch or the campaign was cancelled
    OUTSIDE_WINDOW = "outside_window"  # calling hours are closed
    WINDOW_NEVER_OPENS = "window_never_opens"  # no instant satisfies the calling hours
    RETRY_NOT_DUE = "retry_not_due"  # the cooldown is not over
    FOLLOW_UP_NOT_DUE = "follow_up_not_due"  # the promised time has not come
    DUPLICATE_NUMBER_BLOCKED = "duplicate_number_blocked"  # the same number is on another call
    NUMBER_RESTING = "number_resting"  # the number was called a moment ago, or is not free
    INVALID_NUMBERS = "invalid_numbers"  # rows were left out: their numbers cannot be called
    SHARED_LIMIT_STARVED = "shared_limit_starved"  # others hold every slot, and it lasts
    PACING_LOW = "pacing_low"  # the pace is too slow for what is left of the window
    CONCURRENCY_LEAKED = "concurrency_leaked"  # slots are held by calls the provider lacks
    CONCURRENCY_FULL = "concurrency_full"  # the batch's slots are in use
    CAMPAIGN_CONCURRENCY_FULL = "campaign_concurrency_full"  # the campaign's slots are in use
    NO_WORKER_ALIVE = "no_worker_alive"  # no worker sends heartbeats
    WORKER_STUCK = "worker_stuck"  # a worker lives and takes nothing
    PROCESS_RESTARTED = "process_restarted"  # a process of ours keeps ending and is started again
    VERSION_MISMATCH = "version_mismatch"  # processes of different versions share the database
    DB_READONLY = "db_readonly"  # the database takes no writes
    DB_DISK_FULL = "db_disk_full"  # the database has no room left
    DB_LOCKS = "db_locks"  # somebody holds a lock in the database for long
    DB_SLOW = "db_slow"  # the database answers slowly
    POOL_EXHAUSTED = "pool_exhausted"  # our own connections to the database are all in use
    CLOCK_SKEW = "clock_skew"  # clocks differ
    STATUS_EVENTS_LAGGING = "status_events_lagging"  # status events wait to be stored
    WORKERS_OTHER_BUS = "workers_other_bus"  # a worker listens to another bus than the API's
    KAFKA_UNREACHABLE = "kafka_unreachable"  # a process is cut off from Kafka
    NO_PARTITION_ASSIGNED = "no_partition_assigned"  # a worker has nothing to read on Kafka
    KAFKA_LAG = "kafka_lag"  # messages wait on Kafka
    REBALANCE_STORM = "rebalance_storm"  # partitions move between workers all the time
    OUTBOX_STALLED = "outbox_stalled"  # events for other systems are not brought to Kafka
    DEAD_LETTERS = "dead_letters"  # messages on Kafka could not be read
    COMPLETED_NOT_CLOSED = "completed_not_closed"  # all contacts are final, the batch is not
    PROVIDER_UNAUTHORISED = "provider_unauthorised"  # the provider refuses our key
    PROVIDER_DOWN = "provider_down"  # the provider cannot be reached or takes no calls
    PROVIDER_ERRORS_UNKNOWN = "provider_errors_unknown"  # requests end without a usable answer
    RATE_LIMITED_BY_PROVIDER = "rate_limited_by_provider"  # the provider answers 429
    BAD_REQUEST_EVERYWHERE = "bad_request_everywhere"  # the provider refuses the request itself
    WEBHOOKS_NOT_ARRIVING = "webhooks_not_arriving"  # calls are accepted, no status comes back
    CALLS_MISSING = "calls_missing"  # the provider accepted calls that it does not have
    WEBHOOKS_LATE = "webhooks_late"  # the first status of a call comes late
    API_WAS_AWAY = "api_was_away"  # our own API was down when the provider reported
    WORKER_COMPARING = "worker_comparing"  # a worker compares with the provider before it dials
    PROVIDER_FORGOT = "provider_forgot"  # the provider lost calls, so the database is not compared
    HOW_IT_ENDED = "how_it_ended"  # what became of the calls of a finished batch
    WEBHOOKS_REJECTED_SIGNATURE = "webhooks_rejected_signature"  # status hooks fail the signature
    STATUS_HOOK_OVERRIDDEN = "status_hook_overridden"  # the provider reports somewhere else
    WEBHOOK_RETRY_OFF = "webhook_retry_off"  # the provider sends each status only once
    STATUS_NEVER_ENDS = "status_never_ends"  # calls are heard of, and never end
    AGENT_UNREACHABLE = "agent_unreachable"  # the voice application cannot be reached
    ANSWERED_THEN_DROPPED = "answered_then_dropped"  # people answer and are hung up on at once
    CALLER_ID_INVALID = "caller_id_invalid"  # the carrier does not let a caller id call
    CALLER_ID_BLOCKED = "caller_id_blocked"  # networks refuse a caller id as unwanted
    CARRIER_REJECTS = "carrier_rejects"  # the carrier ends most calls with one SIP code
    NO_ANSWER_HIGH = "no_answer_high"  # unusually few people pick up
    ACCOUNTING_GAP = "accounting_gap"  # the reasons do not add up to the contacts
    COUNTERS_VERIFIED = "counters_verified"  # a recount equals the counters
