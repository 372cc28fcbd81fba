"""The connection to the telephony provider, from what the workers report of it."""

from datetime import datetime, timedelta
from typing import Final

from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import Process, ProviderHealth
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.words import stamp

# A probe leaves within a second of its time where somebody is due.
_TRIED_WITHIN: Final = timedelta(seconds=5)


@gate(
    Reason.PROVIDER_UNAUTHORISED,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider refuses our key (401 or 403). Nothing is sent until a probe is accepted.",
    fix="Correct APOLLO_JAMBONZ_API_KEY for every process and restart it. If the key belongs to"
    " another account, correct APOLLO_JAMBONZ_ACCOUNT_SID. If it was only disabled at the provider,"
    " enable it there: Apollo tries it every 30 s. The provider has rejected our API key since"
    " {since} ({last_error}), so no call starts.",
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
    fix="See that the provider runs and that the worker's machine reaches it (`apollo doctor`). It"
    " has taken no calls since {since}: {last_error}. {again}",
)
def provider_down(view: View) -> Finding | None:
    """The breaker is open: requests fail, whatever becomes of calls."""
    return in_state(view, "down", Reason.PROVIDER_DOWN)


@gate(
    Reason.BAD_REQUEST_EVERYWHERE,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="The provider refused the request itself three times in a row.",
    fix='Correct what the provider names: "{text}". It is about the application, the call hook, the'
    " account or the caller id, for the answer was the same three times in a row. Then POST"
    " /api/v1/batches/{batch_id}/resume.",
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
        contacts=view.held_back,
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
    fix="Look in the provider's log for what it did with {calls:request} since {since}: it is"
    " unknown whether a call was placed. Apollo asks the provider for them, next at {next_look_at},"
    " and calls none of these people again before it is known. Its answers of the last minute:"
    " {answers}.",
)
def provider_errors_unknown(view: View) -> Finding | None:
    """Calls of this batch that may or may not have been placed."""
    rows = view.snapshot.open_calls or ()
    mine = next((row for row in rows if row.batch_id == view.snapshot.batch.id), None)
    if mine is None or mine.unknown == 0:
        return None
    answers: dict[str, int] = {}
    for process in view.processes("worker"):
        for kind, given in process.provider.answers if process.provider else ():
            answers[kind] = answers.get(kind, 0) + given
    spoken = ", ".join(f"{given} {kind}" for kind, given in sorted(answers.items()))
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


def in_state(view: View, state: str, reason: Reason) -> Finding | None:
    """A state of the provider connection, as the workers that are alive report it."""
    if not view.is_waiting_for_us:
        return None
    workers = view.processes("worker")
    hit: list[tuple[Process, ProviderHealth]] = [
        (process, process.provider)
        for process in workers
        if process.provider is not None and process.provider.state == state
    ]
    if not hit:
        return None
    # With another worker in good order the batch still moves, if more slowly.
    is_everywhere = len(hit) == len(workers)
    health = max(hit, key=lambda pair: pair[1].since or view.now)[1]
    waits = reason is Reason.RATE_LIMITED_BY_PROVIDER
    retry_at = health.retry_at
    # What nobody has been due to test since is not known to last.
    is_tested = retry_at is None or retry_at > view.now - _TRIED_WITHIN
    is_calm = not is_tested and (view.is_wished or not view.claimable)
    is_holding = is_everywhere and not is_calm
    return Finding(
        reason=reason,
        contacts=view.claimable if is_holding else 0,
        since=min((one.since for _, one in hit if one.since), default=None),
        until=retry_at if waits and is_tested else None,
        evidence={
            "provider": health.provider,
            "cause": health.cause,
            "last_error": health.last_error,
            "retry_at": None if retry_at is None or not is_tested else max(retry_at, view.now),
            "untested_since": None if is_tested else retry_at,
            "workers": len(hit),
            "workers_alive": len(workers),
        },
        words={"again": _spoken(health, view.now, is_tested=is_tested)},
        is_holding=is_holding,
        is_calm=is_calm,
    )


def _spoken(health: ProviderHealth, now: datetime, *, is_tested: bool) -> str:
    """Say when it is tried again, or since when nobody has been due to try."""
    if health.retry_at is None or (is_tested and health.retry_at <= now):
        return "Apollo tries again and goes on by itself."
    if not is_tested:
        return f"It has not been tried since {stamp(health.retry_at)}, because nobody was due."
    return f"Apollo tries again at {stamp(health.retry_at)} and goes on by itself."


RULES: Final = (
    provider_unauthorised,
    provider_down,
    bad_request_everywhere,
    provider_errors_unknown,
)
