"""What never changes about the reasons that lie with the provider and its carrier."""

from collections.abc import Mapping
from typing import Final

from apollo.core.reasons.codes import Layer, Reason, ReasonFacts, Severity

FACTS: Final[Mapping[Reason, ReasonFacts]] = {
    Reason.PROVIDER_UNAUTHORISED: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider refuses our key (401 or 403). Nothing is sent until a probe is accepted.",
        "The provider refuses our API key since {since} ({last_error}), so nobody is"
        " called. Correct APOLLO_JAMBONZ_API_KEY, or APOLLO_JAMBONZ_ACCOUNT_SID where the key is of"
        " another account, for every process and restart it; if the key was only switched off over"
        " there, switch it on: Apollo tries it every 30 s.",
    ),
    Reason.PROVIDER_DOWN: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider cannot be reached, or takes no calls. Nothing is sent but a probe now and"
        " then; a good one lets everything go on.",
        "The provider takes no calls since {since}: {cause} ({last_error}). See that it runs and"
        " that the worker's machine reaches it (`apollo doctor`); Apollo tries again at {retry_at}"
        " and goes on by itself.",
    ),
    Reason.PROVIDER_ERRORS_UNKNOWN: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "Requests ended without a usable answer, so there may be a call. Such a contact is not"
        " called again before that is known; its call holds a slot.",
        "Of {calls:request|requests} since {since} nobody knows whether there is a call; nobody is"
        " called again before it is known. Apollo looks for them at the provider, next at"
        " {next_look_at}. See in the provider's log what it did with them; its answers of the last"
        " minute: {answers}.",
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
        "{refused:status webhook was|status webhooks were} refused, the last at {last_refused_at}:"
        " the signature does not match. Set APOLLO_JAMBONZ_WEBHOOK_SECRET to the webhook secret of"
        " the provider's account and restart the API; if they are equal, a proxy in between changes"
        " the body.",
    ),
    Reason.WEBHOOKS_NOT_ARRIVING: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider accepts calls and no status webhook comes back for them, so they seem to last"
        " until Apollo asks for them.",
        "{calls:call was|calls were} accepted since {since} and no status came for any. {reached}"
        " From"
        " the provider's machine, try: curl -i {bare_url} (405 means that Apollo is reached);"
        " else look at DNS, firewall and certificate (RotaryRouter: APOLLO_WEBHOOK_URL). Apollo"
        " asks"
        " the provider for these calls meanwhile.",
    ),
    Reason.STATUS_HOOK_OVERRIDDEN: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "The provider's application sends its status webhooks to another address than Apollo's: a"
        " call placed by application reports where the application says, and nowhere else.",
        "The provider's application {application_sid} sends the status of calls to {found}, so"
        " Apollo hears of none. Set its call status hook there to {wanted} (method POST).",
    ),
    Reason.WEBHOOK_RETRY_OFF: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "The provider's application sends each status webhook once: what is lost while Apollo is"
        " away has to be asked for, which takes longer.",
        "The provider's application {application_sid} sends each status once: what is lost while"
        " Apollo restarts comes late. Set its call status hook there to {wanted} (method POST).",
    ),
    Reason.STATUS_NEVER_ENDS: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "The provider was heard of these calls, and their end never came: they are open beyond the"
        " longest a call may last, or ended only because Apollo asked for them.",
        "{what}. Apollo finds such ends by asking, which holds their slots longer. Look in the"
        " provider's log for webhooks that failed to reach {hook_url}.",
    ),
    Reason.AGENT_UNREACHABLE: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "Nobody answers at the address of the voice application, and people who answered were hung"
        " up on at once.",
        "The call hook {call_hook} cannot be reached ({error}), and {dropped} of {answered} people"
        " who answered were hung up on within 2 s. Pause first: POST"
        " /api/v1/batches/{batch_id}/pause. Then start the agent or correct its address (apollo"
        " agent set), and POST /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.ANSWERED_THEN_DROPPED: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "People answer, and our side hangs up within two seconds: they hear nothing. That is a"
        " silent call, which people take for harassment.",
        "{dropped} of the last {answered} people who answered were hung up on by our side within"
        " 2 s: the voice application fails, and people hear nothing. Pause first: POST"
        " /api/v1/batches/{batch_id}/pause. Then look at the application's log, its TLS and speech"
        " credentials, and the provider's alerts; then POST /api/v1/batches/{batch_id}/resume.",
    ),
    Reason.CALLER_ID_INVALID: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "The carrier refuses calls from one caller id (403) and takes those from another.",
        "The carrier refuses {caller_id}: {refused} of its last {calls} calls ended 403, {others}"
        " from other numbers. Have the carrier allow the number on the trunk, or take it out of"
        " phone_numbers: PATCH /api/v1/campaigns/{campaign_id}.",
    ),
    Reason.CALLER_ID_BLOCKED: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "Networks or people refuse calls from this number as unwanted (603, 607, 608).",
        "{caller_id} looks blocked as spam: {share} of its last {calls} calls ended 603, 607 or"
        " 608. Let the number rest, by taking it out of phone_numbers (PATCH"
        " /api/v1/campaigns/{campaign_id}), and lower the concurrency.",
    ),
    Reason.CARRIER_REJECTS: ReasonFacts(
        Layer.PROVIDER,
        Severity.CRITICAL,
        "More than half of the last calls failed with one and the same SIP code.",
        "{failed} of the last {calls:call} failed with SIP {sip_status}{sip_reason}: {advice}",
    ),
    Reason.NO_ANSWER_HIGH: ReasonFacts(
        Layer.PROVIDER,
        Severity.WARNING,
        "Unusually few people pick up, by a one-sided test of two shares at one in a million,"
        " against the batch's own past or the campaign's other batches, and by at least ten points"
        " (or over 80 %, as surely, where there is nothing to compare with); at least 50 first"
        " calls on either side, in the order in which they were placed. A group stands out by the"
        " same test against the rest, at one in a hundred over all groups tested, with at least 20"
        " calls on both sides.",
        "{rate} of the last {calls} first calls rang out, {against}. {stands_out} Review"
        " working_hours, see whether certain area codes fail (dial one by hand), and lower the"
        " concurrency so as not to look like spam.",
    ),
}
