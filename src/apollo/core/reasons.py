"""Why a contact or a batch waits. One vocabulary for decision, stored verdict and diagnosis.

The closed list, and beside it what never changes about each reason: its layer, how much it should
worry a person, what it means and what to do. Must never look at a batch: that is `diagnosis`.
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple


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


class ReasonFacts(NamedTuple):
    """What never changes about a reason. `fix` is a `str.format` template over its evidence."""

    layer: Layer
    severity: Severity
    meaning: str
    fix: str


FACTS: Final[Mapping[Reason, ReasonFacts]] = {
    Reason.BATCH_SCHEDULED: ReasonFacts(
        Layer.INTENT,
        Severity.INFO,
        "The batch has a start in the future. Its contacts wait for it.",
        "Nothing to do: the batch starts at {starts_at}, in {starts_in}. To start earlier, cancel"
        " it and create it again without scheduled_start.",
    ),
    Reason.BATCH_PAUSED: ReasonFacts(
        Layer.INTENT,
        Severity.INFO,
        "Somebody paused this batch. No call starts until it is resumed; retries and follow-ups"
        " that fall due meanwhile are kept.",
        "Paused {by_whom}. To go on: POST /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.CAMPAIGN_PAUSED: ReasonFacts(
        Layer.INTENT,
        Severity.INFO,
        "Somebody paused the whole campaign. Its batches go on when it is resumed.",
        "Campaign paused {by_whom}. To go on: POST /api/v1/campaigns/{campaign_id}/resume.",
    ),
    Reason.PAUSED_BY_APOLLO: ReasonFacts(
        Layer.INTENT,
        Severity.CRITICAL,
        "Apollo itself paused this batch, because going on would only have failed for everybody.",
        'Apollo paused this batch since {paused_at}: {code}, "{text}". Mend that first, then POST'
        " /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.DIALLING_STOPPED: ReasonFacts(
        Layer.INTENT,
        Severity.WARNING,
        "An operator stopped all dialling of the organisation, or of the whole installation.",
        "Dialling is stopped for {scope} since {stopped_at}. When the cause is gone, the operator"
        " lifts it on the command line.",
    ),
    Reason.BATCH_EXPIRED: ReasonFacts(
        Layer.INTENT,
        Severity.INFO,
        "The batch's ends_at has passed. Contacts not finished by then are skipped.",
        "The batch ended at {ends_at} and does not come back. To reach the remaining people, create"
        " a new batch with them.",
    ),
    Reason.CANCELLED: ReasonFacts(
        Layer.INTENT,
        Severity.INFO,
        "The batch or its campaign was cancelled, which is final. Calls already placed end by"
        " themselves, with their true outcome and without a retry.",
        "Cancelled {by_whom}; this is final. To reach the remaining people, create a new batch.",
    ),
    Reason.OUTSIDE_WINDOW: ReasonFacts(
        Layer.CLOCK,
        Severity.INFO,
        "The campaign's calling hours are closed, or close before a phone would have stopped"
        " ringing.",
        "Nothing to do: calling hours open {opens_local} ({timezone}), in {opens_in}. If they are"
        " wrong, change the campaign's working_hours or timezone.",
    ),
    Reason.WINDOW_NEVER_OPENS: ReasonFacts(
        Layer.CLOCK,
        Severity.CRITICAL,
        "No instant of the coming year satisfies the calling hours, or every window is shorter than"
        " a phone may ring.",
        "No window in {timezone} is longer than the ring timeout of {ring_timeout}. Widen the"
        " campaign's working_hours.",
    ),
    Reason.RETRY_NOT_DUE: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "These people were tried and wait for the cooldown of the retry policy.",
        "Nothing to do: {contacts} wait for their retry, the first until {first_due_at} (in"
        " {first_due_in}), the last until {last_due_at}.",
    ),
    Reason.FOLLOW_UP_NOT_DUE: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "These people were promised another call, and its time has not come.",
        "Nothing to do: {contacts} wait for their follow-up, the first until {first_due_at} (in"
        " {first_due_in}), the last until {last_due_at}.",
    ),
    Reason.DUPLICATE_NUMBER_BLOCKED: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "The same phone number is on another call, perhaps of another batch. A number is never"
        " called twice at a time.",
        "Nothing to do: {contacts} go on when the other call to their number ends ({held_by}).",
    ),
    Reason.CONCURRENCY_FULL: ReasonFacts(
        Layer.CAPACITY,
        Severity.INFO,
        "More contacts could be called than the batch has slots. `in_use` calls hold them.",
        "{in_use} of {limit} slots are in use, so {contacts} contacts wait for one. If the carrier"
        " allows more, raise {where}.",
    ),
    Reason.CAMPAIGN_CONCURRENCY_FULL: ReasonFacts(
        Layer.CAPACITY,
        Severity.INFO,
        "The campaign's slots are in use, by this batch and the other batches named.",
        "{in_use} of the campaign's {limit} slots are in use, {elsewhere} of them by other batches"
        " ({holders}), so {contacts} contacts wait for one. Pause one of those, or raise the"
        " campaign's metadata.concurrency_limit.",
    ),
    Reason.RATE_LIMITED_BY_PROVIDER: ReasonFacts(
        Layer.CAPACITY,
        Severity.WARNING,
        "The provider answers 429: its request budget is used up. Apollo waits as long as it is"
        " told to and goes on by itself.",
        "{provider} allows no more requests until {retry_at} ({last_error}). Ask it for a larger"
        " budget, or set a lower pace of calls per second.",
    ),
    Reason.NO_WORKER_ALIVE: ReasonFacts(
        Layer.PIPELINE,
        Severity.CRITICAL,
        "No worker process has sent a heartbeat within 15 seconds, so nobody dials.",
        "No worker is running. Start one: `apollo worker`; it goes on by itself. {last_seen}",
    ),
    Reason.COMPLETED_NOT_CLOSED: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Every contact is final and the batch is still open.",
        "All {total} contacts are final; a running worker closes the batch within seconds. If it"
        " stays like this, start a worker: `apollo worker`.",
    ),
    Reason.PROVIDER_UNAUTHORISED: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider refuses our key (401 or 403). Nothing is sent until a probe is accepted.",
        "{provider} refuses the API key since {since} ({last_error}). Put a valid key into the"
        " settings of the worker and restart it; it probes every 30 s.",
    ),
    Reason.PROVIDER_DOWN: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider cannot be reached, or takes no calls. Nothing is sent but a probe now and"
        " then; a good one lets everything go on.",
        "{provider} fails since {since}: {cause} ({last_error}). Check it and the network to it;"
        " the next probe leaves at {retry_at}.",
    ),
    Reason.PROVIDER_ERRORS_UNKNOWN: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "Requests ended without a usable answer, so there may be a call. Such a contact is not"
        " called again before that is known; its call holds a slot.",
        "{calls} calls have an unknown result since {since} and are looked for at the provider, the"
        " next at {next_look_at}. Look in its log for what it answers{answers}.",
    ),
    Reason.BAD_REQUEST_EVERYWHERE: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider refused the request itself for three numbers in a row, whoever was called.",
        'The provider answers "{text}" whoever is called. Correct what it names (application, call'
        " hook, account, caller id), then POST /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.WEBHOOKS_REJECTED_SIGNATURE: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "Status webhooks arrive and fail the signature check (401).",
        "{refused} status webhooks were refused, the last at {last_refused_at}: their signature"
        " does not match. Either the webhook secret differs from the provider account's, or a proxy"
        " changes the body.",
    ),
    Reason.WEBHOOKS_NOT_ARRIVING: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider accepts calls and no status webhook comes back for them, so they seem to last"
        " until Apollo asks for them.",
        "{calls} calls were accepted since {since} and no status came for any. {reached} See that"
        " the provider reaches {hook_url}: its log, DNS, firewall, certificate (RotaryRouter:"
        " APOLLO_WEBHOOK_URL). Apollo asks it for these calls meanwhile.",
    ),
    Reason.NO_ANSWER_HIGH: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "Unusually few people pick up.",
        "{rate} of the last {calls} first calls rang out, {against}. Review working_hours, see"
        " whether certain area codes fail, and lower the concurrency so as not to look like spam.",
    ),
    Reason.ACCOUNTING_GAP: ReasonFacts(
        Layer.DATA,
        Severity.CRITICAL,
        "The reasons do not add up to the contacts, or the counters differ from a recount. This is"
        " a defect of Apollo.",
        "{contacts} contacts match no reason ({what}). Please report this answer as it stands;"
        " GET /api/v1/batches/{batch_id}/contacts shows each contact's status.",
    ),
    Reason.COUNTERS_VERIFIED: ReasonFacts(
        Layer.DATA,
        Severity.INFO,
        "On request (`?verify=true`) every contact was counted again, and the counters are right.",
        "Nothing to do: {contacts} contacts were counted again, and every counter is right.",
    ),
}


def help_for(reason: Reason) -> str:
    """Name the page and section that explain a reason."""
    return f"docs/reference/reasons.md#{reason}"
