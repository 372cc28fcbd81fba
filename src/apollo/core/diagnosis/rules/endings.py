"""How calls end (layer provider): whether the provider told us, and what became of all of them."""

from collections import Counter
from typing import Final

from apollo.core import sip
from apollo.core.diagnosis.calls import Call, own_calls
from apollo.core.diagnosis.evidence import NEWS_FOR, Claim, Result, Share, weigh, z_for
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import EndedCall, LiveCall
from apollo.core.diagnosis.rule import symptom
from apollo.core.diagnosis.rules.webhooks import LOST, NOT_TOLD, batch_sample, wanted_hook
from apollo.core.diagnosis.view import View
from apollo.core.held import OUTCOME_UNKNOWN
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import Outcome
from apollo.core.words import count

# One cause took most of the calls.
_MOST: Final = 0.5
# So few people pick up of no list that is in order, one time in ten thousand.
_FEW: Final = 0.8
_SURE_Z: Final = z_for(1e-4)
_SHOWN_MAX: Final = 6


@symptom(
    Reason.STATUS_NEVER_ENDS,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The provider reported on these calls, and their end never came: they are open beyond"
    " the longest a call may last, or ended only because Apollo asked for them.",
    fix="Look in the provider's log for webhooks that failed to reach {hook_url}. {what} Apollo"
    " finds such ends by asking, which holds their slots longer.",
    so_far="Look in the provider's log for a webhook that failed to reach {hook_url}. {what} Apollo"
    " finds such ends by asking.",
    over="Nothing to do: {what} The provider has told of every end since {good_since}.",
)
def status_never_ends(view: View) -> Finding | None:
    """Calls we heard of, whose end nobody told."""
    if not view.is_waiting_for_us:
        return None
    mine = [r for r in view.snapshot.open_calls or () if r.batch_id == view.snapshot.batch.id]
    too_long = sum(row.too_long for row in mine)
    own = batch_sample(view, view.snapshot.ended or (), lambda call: _by_end(view, call))
    claim = weigh(own, LOST, view.now)
    if claim is Claim.CLEAR and not too_long:
        return None
    by_evidence = Counter(
        call.evidence
        for call in view.snapshot.ended or ()
        if (said := _by_end(view, call)) is not None and said.is_hit
    )
    how = ", ".join(f"{number} by {word}" for word, number in sorted(by_evidence.items()))
    parts = []
    if too_long:
        parts.append(f"{count(too_long, 'call has|calls have')} been open for longer than any may.")
    if own.hits:
        parts.append(
            f"{own.hits} of the last {count(own.of, 'call')} ended without a last status from the"
            f" provider ({how})."
        )
    return Finding(
        reason=Reason.STATUS_NEVER_ENDS,
        contacts=too_long,
        since=own.bad_since,
        evidence={
            "open_too_long": too_long,
            "asked": own.hits,
            "calls": own.of,
            "by_evidence": dict(sorted(by_evidence.items())),
            "good_since": own.good_since,
        },
        words={"what": " ".join(parts), "hook_url": wanted_hook(view)},
        claim=Claim.HOLDS if too_long else claim,
    )


@symptom(
    Reason.API_WAS_AWAY,
    Layer.PIPELINE,
    Severity.INFO,
    meaning="No API process was listening when the provider reported on these calls. Apollo asked"
    " the provider for them instead.",
    fix="Nothing to do: the API was not running until {started_at}, so {calls:call|calls} could not"
    " be reported. Apollo asks the provider for them.",
)
def api_was_away(view: View) -> Finding | None:
    """Calls whose report came while our own API was down: nobody else is to blame."""
    if not view.is_waiting_for_us or not view.processes("web"):
        return None
    missed = [
        call
        for call in own_calls(view)
        if not isinstance(call, LiveCall)
        and call.evidence in NOT_TOLD
        and call.hangup_reason != OUTCOME_UNKNOWN
        and call.ended_at is not None
        and call.ended_at > view.now - NEWS_FOR
        and not view.was_listening(call.requested_at, call.ended_at)
    ]
    began = [one.started_at for one in view.processes("web") if one.started_at is not None]
    if not missed or not began:
        return None
    return Finding(
        reason=Reason.API_WAS_AWAY,
        contacts=0,
        since=min(began),
        evidence={"calls": len(missed), "started_at": min(began)},
    )


def _by_end(view: View, call: Call) -> Result | None:
    """Say whether the provider told of an end; None where our own API was not there to hear."""
    if not isinstance(call, EndedCall) or call.heard_at is None:
        return None
    if call.evidence not in NOT_TOLD:
        return Result(call.ended_at, is_hit=False)
    was_there = view.was_listening(call.requested_at, call.ended_at)
    return Result(call.ended_at, is_hit=True) if was_there else None


@symptom(
    Reason.HOW_IT_ENDED,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="What became of the calls of a batch that is over, for as long as it exists: a warning"
    " where one cause took most of them. Of a large batch up to four hundred calls are counted,"
    " evenly over its contacts.",
    fix="{said}",
)
def how_it_ended(view: View) -> Finding | None:
    """The batch is over, and calls were made."""
    endings = view.snapshot.endings or ()
    calls = sum(one.calls for one in endings)
    if view.is_live or not calls:
        return None
    outcomes: Counter[str] = Counter()
    failures: Counter[tuple[int | None, str]] = Counter()
    for one in endings:
        outcomes[one.outcome.value] += one.calls
        # What is unknown has no cause to name; who is held for it is told of beside this.
        if one.outcome is Outcome.FAILED and one.hangup_reason != OUTCOME_UNKNOWN:
            failures[one.sip_status, one.hangup_reason] += one.calls
    cause, failed = failures.most_common(1)[0] if failures else ((None, ""), 0)
    rang_out = Share(outcomes[Outcome.NO_ANSWER.value], calls)
    is_failed, is_unanswered = Share(failed, calls).value > _MOST, rang_out.at_least(_SURE_Z) > _FEW
    code, reason = cause
    shares = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    said = f"Nothing to do. The last {count(calls, 'call')} ended as follows: {shares}."
    if is_failed:
        how = f"SIP {sip.spoken(code)}: {sip.read(code).meaning}" if code else reason
        remedy = f"{sip.read(code).remedy} " if code else ""
        said = f"{remedy}{failed} of the last {count(calls, 'call')} failed with {how}: {shares}."
    elif is_unanswered:
        said = (
            f"Review working_hours and the caller ids. {rang_out.hits} of the last"
            f" {count(calls, 'call')} were not answered: {shares}."
        )
    return Finding(
        reason=Reason.HOW_IT_ENDED,
        contacts=failed if is_failed else 0,
        evidence={
            "calls": calls,
            "outcomes": dict(outcomes.most_common()),
            "failures": [
                {"sip_status": code, "reason": reason, "calls": number}
                for (code, reason), number in failures.most_common(_SHOWN_MAX)
            ],
        },
        words={"said": said},
        is_calm=not (is_failed or is_unanswered),
    )


RULES: Final = (
    how_it_ended,
    status_never_ends,
    api_was_away,
)
