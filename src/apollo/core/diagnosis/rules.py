"""The ordered table of rules, one function per reason.

The order breaks ties between reasons of equal severity and layer: causes before symptoms.
"""

from collections.abc import Mapping
from typing import Final

from apollo.core.diagnosis import books, capacity, intent, provider
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
    Reason.CONCURRENCY_FULL: capacity.concurrency_full,
    Reason.CAMPAIGN_CONCURRENCY_FULL: capacity.campaign_concurrency_full,
    Reason.RATE_LIMITED_BY_PROVIDER: provider.rate_limited_by_provider,
    Reason.NO_WORKER_ALIVE: provider.no_worker_alive,
    Reason.COMPLETED_NOT_CLOSED: provider.completed_not_closed,
    Reason.PROVIDER_UNAUTHORISED: provider.provider_unauthorised,
    Reason.PROVIDER_DOWN: provider.provider_down,
    Reason.BAD_REQUEST_EVERYWHERE: provider.bad_request_everywhere,
    Reason.WEBHOOKS_REJECTED_SIGNATURE: provider.webhooks_rejected_signature,
    Reason.WEBHOOKS_NOT_ARRIVING: provider.webhooks_not_arriving,
    Reason.PROVIDER_ERRORS_UNKNOWN: provider.provider_errors_unknown,
    Reason.ACCOUNTING_GAP: books.accounting_gap,
    Reason.COUNTERS_VERIFIED: books.counters_verified,
}
