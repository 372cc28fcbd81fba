"""The connection to the telephony provider, from what the workers report of it."""

from collections.abc import Callable
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    Process,
    ProviderHealth,
)
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity


@gate(
    Reason.PROVIDER_UNAUTHORISED,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider refuses our key (401 or 403). Nothing is sent until a probe is accepted.",
    fix="The provider refuses our API key since {since} ({last_error}), so nobody is called. "
    "Correct APOLLO_JAMBONZ_API_KEY, or APOLLO_JAMBONZ_ACCOUNT_SID where the key is of "
    "another account, for every process and restart it; if the key was only switched off "
    "over there, switch it on: Apollo tries it every 30 s.",
)
def provider_unauthorised(view: View) -> Finding | None:
    """The provider refuses our key."""
    return in_state(view, "unauthorised", Reason.PROVIDER_UNAUTHORISED)


@gate(
    Reason.PROVIDER_DOWN,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider cannot be reached, or takes no calls. Nothing is sent but a probe now and"
    " then; a good one lets everything go on.",
    fix="The provider takes no calls since {since}: {cause} ({last_error}). See that it runs "
    "and that the worker's machine reaches it (`apollo doctor`); Apollo tries again at "
    "{retry_at} and goes on by itself.",
)
def provider_down(view: View) -> Finding | None:
    """The breaker is open: requests fail, whoever they are for."""
    return in_state(view, "down", Reason.PROVIDER_DOWN)


@gate(
    Reason.BAD_REQUEST_EVERYWHERE,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider refused the request itself for three numbers in a row, whoever was "
    "called.",
    fix='The provider answers "{text}" whoever is called. Correct what it names (application, '
    "call hook, account, caller id), then POST /api/v1/batches/{batch_id}/resume.",
)
def bad_request_everywhere(view: View) -> Finding | None:
    """Apollo paused the batch because the request itself is refused."""
    batch = view.snapshot.batch
    if (
        view.holds.of(Reason.PAUSED_BY_APOLLO) is None
        or batch.pause_code != Reason.BAD_REQUEST_EVERYWHERE
    ):
        return None
    return Finding(
        reason=Reason.BAD_REQUEST_EVERYWHERE,
        contacts=view.claimable,
        since=batch.updated_at,
        evidence={"text": batch.pause_text},
        is_holding=True,
    )


@symptom(
    Reason.PROVIDER_ERRORS_UNKNOWN,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="Requests ended without a usable answer, so there may be a call. Such a contact is not "
    "called again before that is known; its call holds a slot.",
    fix="Of {calls:request|requests} since {since} nobody knows whether there is a call; nobody"
    " is called again before it is known. Apollo looks for them at the provider, next at "
    "{next_look_at}. See in the provider's log what it did with them; its answers of the "
    "last minute: {answers}.",
)
def provider_errors_unknown(view: View) -> Finding | None:
    """Calls of this batch that may or may not have been placed."""
    rows = view.snapshot.open_calls or ()
    mine = next((row for row in rows if row.batch_id == view.snapshot.batch.id), None)
    if mine is None or mine.unknown == 0:
        return None
    answers: dict[str, int] = {}
    for process in view.processes("worker"):
        for kind, count in process.provider.answers if process.provider else ():
            answers[kind] = answers.get(kind, 0) + count
    spoken = ", ".join(f"{count} {kind}" for kind, count in sorted(answers.items()))
    return Finding(
        reason=Reason.PROVIDER_ERRORS_UNKNOWN,
        contacts=mine.unknown,
        since=mine.unknown_since,
        evidence={
            "calls": mine.unknown,
            "next_look_at": mine.next_look_at,
            "answers_last_minute": answers,
        },
        words={"answers": spoken or "none"},
    )


def in_state(
    view: View,
    state: str,
    reason: Reason,
    *,
    but: Callable[[ProviderHealth], bool] | None = None,
) -> Finding | None:
    """A state of the provider connection, as the workers that are alive report it."""
    if not view.is_waiting_for_us:
        return None
    workers = view.processes("worker")
    hit: list[tuple[Process, ProviderHealth]] = [
        (process, process.provider)
        for process in workers
        if process.provider is not None
        and process.provider.state == state
        and not (but and but(process.provider))
    ]
    if not hit:
        return None
    # With another worker in good order the batch still moves, if more slowly.
    is_holding = len(hit) == len(workers)
    health = max(hit, key=lambda pair: pair[1].since or view.now)[1]
    waits = reason is Reason.RATE_LIMITED_BY_PROVIDER
    return Finding(
        reason=reason,
        contacts=view.claimable if is_holding else 0,
        since=min((one.since for _, one in hit if one.since), default=None),
        until=health.retry_at if waits else None,
        evidence={
            "provider": health.provider,
            "cause": health.cause,
            "last_error": health.last_error,
            "retry_at": health.retry_at,
            "workers": len(hit),
            "workers_alive": len(workers),
        },
        is_holding=is_holding,
    )


RULES: Final = (
    provider_unauthorised,
    provider_down,
    bad_request_everywhere,
    provider_errors_unknown,
)
