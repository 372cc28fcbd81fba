"""Why a contact or a batch waits. One vocabulary for decision, stored verdict and diagnosis."""

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
    BATCH_EXPIRED = "batch_expired"  # `ends_at` has passed
    CANCELLED = "cancelled"  # the batch or the campaign was cancelled
    OUTSIDE_WINDOW = "outside_window"  # calling hours are closed
    WINDOW_NEVER_OPENS = "window_never_opens"  # no instant satisfies the calling hours
    RETRY_NOT_DUE = "retry_not_due"  # the cooldown is not over
    FOLLOW_UP_NOT_DUE = "follow_up_not_due"  # the promised time has not come
    DUPLICATE_NUMBER_BLOCKED = "duplicate_number_blocked"  # the same number is on another call
    CONCURRENCY_FULL = "concurrency_full"  # the batch's slots are in use
    CAMPAIGN_CONCURRENCY_FULL = "campaign_concurrency_full"  # the campaign's slots are in use
    NO_WORKER_ALIVE = "no_worker_alive"  # no worker sends heartbeats
    COMPLETED_NOT_CLOSED = "completed_not_closed"  # all contacts are final, the batch is not
    PROVIDER_UNAUTHORISED = "provider_unauthorised"  # the provider refuses our key
    PROVIDER_DOWN = "provider_down"  # the provider cannot be reached or takes no calls
    PROVIDER_ERRORS_UNKNOWN = "provider_errors_unknown"  # requests end without a usable answer
    RATE_LIMITED_BY_PROVIDER = "rate_limited_by_provider"  # the provider answers 429
    BAD_REQUEST_EVERYWHERE = "bad_request_everywhere"  # the provider refuses the request itself
    WEBHOOKS_NOT_ARRIVING = "webhooks_not_arriving"  # calls are accepted, no status comes back
    WEBHOOKS_REJECTED_SIGNATURE = "webhooks_rejected_signature"  # status hooks fail the signature
    NO_ANSWER_HIGH = "no_answer_high"  # unusually few people pick up
    ACCOUNTING_GAP = "accounting_gap"  # the reasons do not add up to the contacts
    COUNTERS_VERIFIED = "counters_verified"  # a recount equals the counters
