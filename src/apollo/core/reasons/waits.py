"""What never changes about the reasons of intent, clock, contact, capacity and data."""

from collections.abc import Mapping
from typing import Final

from apollo.core.reasons.codes import Layer, Reason, ReasonFacts, Severity

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
        "Paused {by_whom}; nobody is called. To go on: POST /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.CAMPAIGN_PAUSED: ReasonFacts(
        Layer.INTENT,
        Severity.INFO,
        "Somebody paused the whole campaign. Its batches go on when it is resumed.",
        "The whole campaign was paused {by_whom}. To go on: POST"
        " /api/v1/campaigns/{campaign_id}/resume.",
    ),
    Reason.PAUSED_BY_APOLLO: ReasonFacts(
        Layer.INTENT,
        # Only what the cause led to; the cause itself is critical and comes first.
        Severity.WARNING,
        "Apollo itself paused this batch, because going on would only have failed for everybody.",
        'Apollo itself paused this batch at {paused_at} for {code} ("{text}"). Mend that first,'
        " then"
        " POST /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.DIALLING_STOPPED: ReasonFacts(
        Layer.INTENT,
        Severity.WARNING,
        "An operator stopped all dialling of the organisation, or of the whole installation.",
        "An operator stopped all dialling of {scope} at {stopped_at}. Ask why; when that is over,"
        " on the server: {command}",
    ),
    Reason.RECOVERY_MODE: ReasonFacts(
        Layer.INTENT,
        Severity.CRITICAL,
        "The provider knows calls of ours that the database does not: an older backup was restored,"
        " or a replica that lagged was promoted. People who were called look as if they were not.",
        "The provider has {unknown_calls:call} since {compared_from} that the database lacks: an"
        " older backup was restored, or a replica took over. Nobody is called since"
        " {recovering_since}, so that nobody is called twice. {read_in}. On the server, read them"
        " in and look: apollo recover; then let dialling go on: apollo recover --confirm",
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
        "No stretch of the calling hours ({timezone}) is longer than a phone may ring,"
        " {ring_timeout}, so no call can ever start. Widen them: PATCH"
        " /api/v1/campaigns/{campaign_id} with working_hours.",
    ),
    Reason.RETRY_NOT_DUE: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "These people were tried and wait for the cooldown of the retry policy.",
        "Nothing to do: {contacts:contact waits for its|contacts wait for their} retry, the first"
        " until {first_due_at} (in"
        " {first_due_in}), the last until {last_due_at}.",
    ),
    Reason.FOLLOW_UP_NOT_DUE: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "These people were promised another call, and its time has not come.",
        "Nothing to do: {contacts:contact waits for its|contacts wait for their} follow-up, the"
        " first until {first_due_at} (in"
        " {first_due_in}), the last until {last_due_at}.",
    ),
    Reason.DUPLICATE_NUMBER_BLOCKED: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "The same phone number is on another call, perhaps of another batch. A number is never"
        " called twice at a time.",
        "Nothing to do: {contacts:contact goes|contacts go} on when the other call to the same"
        " number ends ({held_by}).",
    ),
    Reason.CONCURRENCY_FULL: ReasonFacts(
        Layer.CAPACITY,
        Severity.INFO,
        "More contacts could be called than the batch has slots. `in_use` calls hold them.",
        "{state}. If the carrier allows more calls at a time, raise {where}.",
    ),
    Reason.CAMPAIGN_CONCURRENCY_FULL: ReasonFacts(
        Layer.CAPACITY,
        Severity.INFO,
        "The campaign's slots are in use, by this batch and the other batches named.",
        "{in_use} of the campaign's {limit} slots are in use, {elsewhere} of them by other batches"
        " ({holders}), so {contacts:contact waits|contacts wait} for one. Pause one of those, or"
        " raise the campaign's metadata.concurrency_limit.",
    ),
    Reason.RATE_LIMITED_BY_PROVIDER: ReasonFacts(
        Layer.CAPACITY,
        Severity.WARNING,
        "The provider answers 429: its request budget is used up. Apollo waits as long as it is"
        " told to and goes on by itself.",
        "The provider allows no more requests until {retry_at} ({last_error}). Ask it for a larger"
        " budget, or set a lower pace of calls per second.",
    ),
    Reason.INVALID_NUMBERS: ReasonFacts(
        Layer.CONTACT,
        Severity.INFO,
        "Rows of the upload were left out, or the network says that a number does not exist. Rows"
        " left out are not among the batch's contacts.",
        "{what}. Correct wrong numbers where your list comes from{then}",
    ),
    Reason.SHARED_LIMIT_STARVED: ReasonFacts(
        Layer.CAPACITY,
        Severity.WARNING,
        "Other batches of the campaign hold every slot, and this one has waited without a single"
        " one for two minutes.",
        "Not one of the campaign's {limit} slots came to this batch since {waiting_since}; they are"
        " held by {holders}. Pause one of those, give it a lower concurrency_limit, or raise the"
        " campaign's metadata.concurrency_limit.",
    ),
    Reason.PACING_LOW: ReasonFacts(
        Layer.CAPACITY,
        Severity.INFO,
        "Calls leave as fast as APOLLO_CALLS_PER_SECOND allows, and at that pace not everybody is"
        " called before the calling hours or the batch end.",
        "At {calls_per_second} calls a second the {waiting:contact|contacts} that wait take"
        " {needed},"
        " and {ends} in {time_left}: not everybody will be called. Raise APOLLO_CALLS_PER_SECOND if"
        " the carrier allows it.",
    ),
    Reason.CONCURRENCY_LEAKED: ReasonFacts(
        Layer.CAPACITY,
        Severity.WARNING,
        "Slots are held by calls that the provider's list of live calls does not show: they are"
        " over, and nobody told us. Apollo gives such a slot back when it has asked for the call.",
        "{missing} of {in_use:open call is|open calls are} not in the provider's list of live"
        " calls ({listed} in"
        " it, read at {listed_at}). Their slots come back when Apollo has asked for each, the first"
        " at {next_look_at}. See why their last status never came: the provider's log.",
    ),
    Reason.ACCOUNTING_GAP: ReasonFacts(
        Layer.DATA,
        Severity.CRITICAL,
        "The reasons do not add up to the contacts, or the counters differ from a recount. This is"
        " a defect of Apollo.",
        "{contacts:contact matches|contacts match} no reason ({what}). Nothing for you to mend:"
        " please report this answer as it stands;"
        " GET /api/v1/batches/{batch_id}/contacts shows each contact's status.",
    ),
    Reason.COUNTERS_VERIFIED: ReasonFacts(
        Layer.DATA,
        Severity.INFO,
        "On request (`?verify=true`) every contact was counted again, and the counters are right.",
        "Nothing to do: {contacts:contact was|contacts were} counted again, and every counter is"
        " right.",
    ),
}
