"""The carrier behind the provider, and what people meet when they answer (layer provider).

Every rule here weighs samples of one scope, in which calls that go on count as well: a phone that
rings proves that the carrier takes calls.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from apollo.core import sip
from apollo.core.diagnosis.calls import (
    DROPPED_S,
    Call,
    by_agent,
    by_carrier,
    failed_with,
    is_calm,
    nested,
    newest_failures,
    own_calls,
    untested_since,
)
from apollo.core.diagnosis.evidence import (
    Blame,
    Claim,
    Kind,
    Need,
    Sample,
    blame,
    weigh,
)
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import CallHook
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.rules.caller_ids import MOST, REFUSED, refused_caller_id
from apollo.core.diagnosis.snapshot import HeldByCarrier
from apollo.core.diagnosis.view import View
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.words import count, stamp

# An agent that works hangs up on hardly anybody within two seconds.
_DROPS: Final = Need(above=0.1)
# How many of the newest failures are asked for their code.
_NAMED_OF: Final = 20


@symptom(
    Reason.AGENT_UNREACHABLE,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="Nothing answers at the address of the voice application, and people who answered were"
    " hung up on at once.",
    fix="Pause the batch first: POST /api/v1/batches/{batch_id}/pause. Then start the voice"
    " application, or correct its address with `apollo agent set`. {call_hook} cannot be reached"
    " ({error}), and {dropped} of {answered} people who answered were hung up on within 2 s.",
)
def agent_unreachable(view: View) -> Finding | None:
    """Nobody listens at the call hook, and those who answered last were hung up on."""
    hook = _call_hook(view)
    own = _answered(view)
    # A conversation proves that the provider reaches the agent, whatever we see from here.
    if hook is None or not hook.error or not own.tail.startswith("B"):
        return None
    if weigh(own, MOST, view.now) not in {Claim.SO_FAR, Claim.HOLDS}:
        return None
    return Finding(
        reason=Reason.AGENT_UNREACHABLE,
        contacts=view.claimable + view.on_call,
        since=own.bad_since,
        evidence={
            "call_hook": hook.call_hook,
            "error": hook.error,
            "checked_at": hook.checked_at,
            "dropped": own.hits,
            "answered": own.of,
        },
        is_calm=is_calm(view, own),
    )


@symptom(
    Reason.ANSWERED_THEN_DROPPED,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="People answer, and our side hangs up within two seconds: they hear nothing. That is a"
    " silent call, which people take for harassment.",
    fix="Pause the batch first: POST /api/v1/batches/{batch_id}/pause. Then look into the log of"
    " the voice application, at its TLS and speech credentials, and at the provider's alerts."
    " {dropped} of the last {answered:person|people} who answered were hung up on by our side"
    " within 2 s, the last at {newest_at}.{contrast}",
    so_far="Look into the log of the voice application. So far {dropped} of"
    " {answered:person|people} who answered were hung up on by our side within 2 s, the last at"
    " {newest_at}. The next answered call tells whether it is a pattern.{contrast}",
    over="Nothing to do: people who answered were hung up on within 2 s until {newest_at}"
    " ({dropped} of {answered}). Those who have answered since {good_since} are spoken to.",
)
def answered_then_dropped(view: View) -> Finding | None:
    """People answer and our side hangs up at once."""
    own = _answered(view)
    claim = weigh(own, _DROPS, view.now)
    if claim is Claim.CLEAR or not view.is_waiting_for_us:
        return None
    found = blame(nested(view, by_agent(view.now)), _DROPS, view.now)
    return Finding(
        reason=Reason.ANSWERED_THEN_DROPPED,
        contacts=own.hits,
        since=own.bad_since,
        evidence={
            "dropped": own.hits,
            "answered": own.of,
            "within_s": DROPPED_S,
            "newest_at": own.newest_at,
            "good_since": own.good_since,
            **_scope(found),
        },
        words={"contrast": _contrast(found, "are fine", "the agent and its address")},
        claim=claim,
        is_calm=is_calm(view, own),
    )


@gate(
    Reason.CARRIER_REJECTS,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="Most of the newest calls failed with one SIP code and without ringing. Where that has"
    " shut the gate of the batch or the campaign, one call at a time tries until calls ring again;"
    " nobody loses an attempt by it.",
    fix="{remedy} {failed} of the last {calls:call}{whose} failed with SIP {code}: {means}."
    "{contrast}{untested}{gate}",
    so_far="{remedy} So far {failed} of {calls:call}{whose} failed with SIP {code}: {means}. The"
    " next call tells whether it is a pattern.{contrast}{untested}{gate}",
    over="Nothing to do: {failed} of {calls:call} failed with SIP {code}, the last at {newest_at}."
    " Calls have been getting through since {good_since}.",
)
def carrier_rejects(view: View) -> Finding | None:
    """The newest calls of the batch fail, or its gate or the campaign's is shut."""
    if not view.is_waiting_for_us:
        return None
    scopes = nested(view, by_carrier)
    own, campaign, shut = scopes[0][0], scopes[1][0], _shut(view)
    claim = weigh(own, MOST, view.now)
    failing = own
    if shut is not None and claim is not Claim.HOLDS:
        # The gate knows what shut it; of this batch alone there may be too few calls to tell.
        claim = Claim.HOLDS
        failing = campaign if shut.scope == "campaign" and own.hits * 2 < own.of else own
    mine = newest_failures(own_calls(view), None)[:_NAMED_OF]
    code = _commonest(mine) if shut is None else shut.sip_status
    found = blame(scopes, MOST, view.now)
    if claim is Claim.CLEAR or _is_told_elsewhere(view, claim, code, found, shut):
        return None
    return Finding(
        reason=Reason.CARRIER_REJECTS,
        contacts=view.claimable if shut is not None else failing.hits,
        since=shut.shut_at if shut is not None else own.bad_since,
        evidence=_evidence(view, failing, found, code, shut),
        words=_words(view, failing, found, code, shut),
        is_holding=shut is not None,
        claim=claim,
        is_calm=shut is None and is_calm(view, own),
    )


def _is_told_elsewhere(
    view: View, claim: Claim, code: int | None, found: Blame | None, shut: HeldByCarrier | None
) -> bool:
    """Tell whether it is these few numbers, or one caller id, that a narrower reason names."""
    if shut is not None or code is None:
        return shut is None
    is_number = sip.read(code).family is sip.Family.NUMBER
    if claim is Claim.SO_FAR and is_number and found is not None and found.is_narrow:
        return True
    return code == REFUSED and refused_caller_id(view) is not None


def _evidence(
    view: View, failing: Sample, found: Blame | None, code: int | None, shut: HeldByCarrier | None
) -> dict[str, object]:
    failed, calls = _counted(failing, shut)
    return {
        "sip_status": code,
        "failed": failed,
        "calls": calls,
        "newest_at": failing.newest_at,
        "good_since": failing.good_since,
        "untested_since": untested_since(view, failing),
        "caller_ids": _by_caller_id(own_calls(view), code),
        **_scope(found),
        "gate": None
        if shut is None
        else {
            "scope": shut.scope,
            "shut_at": shut.shut_at,
            "next_try_at": shut.probe_at,
            "numbers_in_a_row": shut.numbers,
            "other_campaigns_held": shut.others,
        },
    }


def _counted(failing: Sample, shut: HeldByCarrier | None) -> tuple[int, int]:
    """How many of how many calls failed: as the gate counted them where one is shut."""
    if shut is None:
        return failing.hits, failing.of
    failed = max(shut.failed, shut.numbers)
    return failed, failed + shut.carried


def _words(
    view: View, failing: Sample, found: Blame | None, code: int | None, shut: HeldByCarrier | None
) -> dict[str, object]:
    said = Counter(call.sip_reason for call in view.snapshot.ended or () if call.sip_status == code)
    since = untested_since(view, failing)
    gate_said = ""
    if shut is not None:
        tries = "now" if shut.probe_at <= view.now else f"at {stamp(shut.probe_at)}"
        row = f" No phone rang at {shut.numbers} different numbers in a row." * bool(shut.numbers)
        others = (
            f" {shut.others} other campaigns at this provider are held for their own calls as well:"
            " look at the carrier first."
        ) * bool(shut.others)
        gate_said = (
            f"{row} Dialling of this {shut.scope} has been on hold since {stamp(shut.shut_at)}, and"
            f" no one is charged an attempt for it. A single call tries {tries}; dialling goes on"
            f" when one gets through.{others}"
        )
    is_campaigns = failing.scope.kind is Kind.CAMPAIGN
    return {
        "code": sip.spoken(code, said.most_common(1)[0][0] if said else None),
        "means": sip.read(code).meaning,
        "remedy": sip.read(code).remedy,
        "whose": " of the campaign, most of them of other batches," if is_campaigns else "",
        "contrast": _contrast(
            found,
            "get through",
            "its numbers and its caller ids",
            is_compared=bool(view.snapshot.neighbours),
        ),
        "untested": f" No call has tested it since {stamp(since)}." if since else "",
        "gate": gate_said,
    }


def _shut(view: View) -> HeldByCarrier | None:
    """Give the gate that is shut: the campaign's before the batch's own."""
    gates = view.snapshot.shut_gates or ()
    return min(gates, key=lambda one: one.scope != "campaign", default=None)


def _answered(view: View) -> Sample:
    batch = nested(view, by_agent(view.now))[0][0]
    return batch if view.is_waiting_for_us else Sample(scope=batch.scope)


def _commonest(failed: Sequence[Call]) -> int | None:
    codes = Counter(code for call in failed if (code := failed_with(call)) is not None)
    return codes.most_common(1)[0][0] if codes else None


def _by_caller_id(calls: Sequence[Call], code: int | None) -> dict[str, str]:
    tried = Counter(call.from_number for call in calls if by_carrier(call) is not None)
    failed = Counter(call.from_number for call in calls if failed_with(call) == code)
    return {caller_id: f"{failed[caller_id]} of {of}" for caller_id, of in sorted(tried.items())}


def _scope(found: Blame | None) -> dict[str, object]:
    """Say whose failures they are, and how the rest fares, for the evidence."""
    if found is None:
        return {"scope": None, "elsewhere": None}
    rest = found.rest
    return {
        "scope": found.own.scope.kind.value,
        "elsewhere": None if rest is None else {"failed": rest.hits, "calls": rest.of},
    }


_REST_OF: Final = {
    Kind.BATCH: "the campaign's other batches",
    Kind.CAMPAIGN: "other campaigns on this connection",
}


def _contrast(
    found: Blame | None, are_fine: str, look_at: str, *, is_compared: bool = False
) -> str:
    """Say what the comparison shows, as a sentence to add; empty where there is nothing to say."""
    if found is None:
        return ""
    scope, rest = found.own.scope.kind, found.rest
    if found.is_narrow and rest is not None and scope in _REST_OF:
        good = f"{rest.of - rest.hits} of {count(rest.of, 'call')} of {_REST_OF[scope]}"
        return f" {good} {are_fine}, so look at what is this {scope}'s own: {look_at}."
    if rest is None and not is_compared:
        return " There are no other calls on this connection to compare with."
    if not found.is_shared:
        return " Too few calls of others have been made to tell whose fault it is."
    return " Calls of other campaigns on this connection fare no better, so it is the connection."


def _call_hook(view: View) -> CallHook | None:
    wanted = view.snapshot.campaign.call_hook
    seen = [
        hook
        for worker in view.processes("worker")
        for hook in worker.call_hooks
        if hook.call_hook == wanted
    ]
    return max(seen, key=lambda hook: hook.checked_at, default=None)


RULES: Final = (
    agent_unreachable,
    answered_then_dropped,
    carrier_rejects,
)
