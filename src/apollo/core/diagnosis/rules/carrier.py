"""The carrier behind the provider, and what people meet when they answer (layer provider)."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from apollo.core import sip
from apollo.core.diagnosis.evidence import Share
from apollo.core.diagnosis.finding import Finding
from apollo.core.diagnosis.reported import (
    CallHook,
    EndedCall,
)
from apollo.core.diagnosis.rule import gate, symptom
from apollo.core.diagnosis.view import View
from apollo.core.diagnosis.words import stamp
from apollo.core.outcomes import SET_UP_REASONS
from apollo.core.reasons import Layer, Reason, Severity
from apollo.core.states import Outcome

# What ended longer ago says nothing about the carrier of now.
_FRESH: Final = timedelta(minutes=15)
_LAST: Final = 50
# Fewer calls than this are no sample.
_REJECTED_MIN: Final = 10
_OF_CALLER_ID_MIN: Final = 20
_ANSWERS_MIN: Final = 20
_MOST: Final = 0.5
# People decline one call in twenty or so; this much, at three standard errors, is no accident.
_UNWANTED_ABOVE: Final = 0.15
_SURE_Z: Final = 3.0
# jambonz ends an answered call at once when the application's hook fails.
_DROPPED_S: Final = 2
_DROPPED_ABOVE: Final = 0.10
# The newest answers: all of them dropped means that nobody reaches the agent now.
_NEWEST: Final = 5
_DROPPED_MIN: Final = 2
_DECLINED: Final = 603
_UNWANTED: Final = frozenset({607, 608})
_REFUSED: Final = 403


@symptom(
    Reason.AGENT_UNREACHABLE,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="Nobody answers at the address of the voice application, and people who answered were "
    "hung up on at once.",
    fix="The call hook {call_hook} cannot be reached ({error}), and {dropped} of {answered} "
    "people who answered were hung up on within 2 s. Pause first: POST "
    "/api/v1/batches/{batch_id}/pause. Then start the agent or correct its address (apollo "
    "agent set), and POST /api/v1/batches/{batch_id}/resume.",
)
def agent_unreachable(view: View) -> Finding | None:
    """Nobody listens at the call hook, and those who answered were hung up on."""
    hook = _call_hook(view)
    newest = _answered(view)[:_NEWEST]
    if hook is None or not hook.error or len(newest) < _DROPPED_MIN:
        return None
    # A conversation proves that the provider reaches the agent, whatever we see from here.
    if not all(_is_dropped(call) for call in newest):
        return None
    answered = _answered(view)
    return Finding(
        reason=Reason.AGENT_UNREACHABLE,
        contacts=view.claimable + view.on_call,
        evidence={
            "call_hook": hook.call_hook,
            "error": hook.error,
            "checked_at": hook.checked_at,
            "dropped": sum(_is_dropped(call) for call in answered),
            "answered": len(answered),
        },
    )


@symptom(
    Reason.ANSWERED_THEN_DROPPED,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="People answer, and our side hangs up within two seconds: they hear nothing. That is a "
    "silent call, which people take for harassment.",
    fix="{dropped} of the last {answered} people who answered were hung up on by our side "
    "within 2 s: the voice application fails, and people hear nothing. Pause first: POST "
    "/api/v1/batches/{batch_id}/pause. Then look at the application's log, its TLS and "
    "speech credentials, and the provider's alerts; then POST "
    "/api/v1/batches/{batch_id}/resume.",
)
def answered_then_dropped(view: View) -> Finding | None:
    """People answer and our side hangs up at once."""
    answered = _answered(view)
    dropped = Share(sum(_is_dropped(call) for call in answered), len(answered))
    if dropped.of < _ANSWERS_MIN or dropped.value <= _DROPPED_ABOVE:
        return None
    return Finding(
        reason=Reason.ANSWERED_THEN_DROPPED,
        contacts=dropped.hits,
        since=min(call.ended_at for call in answered if _is_dropped(call)),
        evidence={"dropped": dropped.hits, "answered": dropped.of, "within_s": _DROPPED_S},
    )


@gate(
    Reason.CARRIER_REJECTS,
    Layer.PROVIDER,
    Severity.CRITICAL,
    meaning="Calls of this campaign or batch end with one SIP code before any phone rings, so one "
    "call at a time tries until one gets through; or more than half of the last calls failed with "
    "one code.",
    fix="{remedy} {failed} of the last {calls:call} failed with SIP {code}: {code_means}."
    "{held_text}",
)
def carrier_rejects(view: View) -> Finding | None:
    """The calls fail before they ring: so many that a gate is shut, or most of the last ones."""
    if not view.is_waiting_for_us:
        return None
    shut = next(iter(view.snapshot.shut_gates or ()), None)
    if shut is None:
        return _most_rejected(view)
    # One refused caller id beside others that work says more than the gate it has shut.
    if shut.sip_status == _REFUSED and caller_id_invalid(view) is not None:
        return None
    others = (
        f" {shut.others} other campaigns at this provider are held for their own calls as well:"
        " look at the carrier first."
        if shut.others
        else ""
    )
    row = f" No phone rang at {shut.numbers} different numbers in a row." if shut.numbers else ""
    return Finding(
        reason=Reason.CARRIER_REJECTS,
        contacts=view.claimable,
        since=shut.shut_at,
        evidence={
            "held": shut.scope,
            "sip_status": shut.sip_status,
            "numbers_in_a_row": shut.numbers,
            "failed": shut.failed,
            "calls": shut.failed + shut.carried,
            "retry_at": shut.probe_at,
            "other_campaigns_held": shut.others,
        },
        words=_in_words(shut.sip_status, sip.spoken(shut.sip_status))
        | {
            "held_text": f"{row} Nobody is charged an attempt for it. One call of this {shut.scope}"
            f" tries at {stamp(shut.probe_at)}, and dialling goes on when one gets through.{others}"
        },
        is_holding=True,
    )


def _in_words(code: int | None, spoken: str) -> dict[str, object]:
    known = sip.read(code)
    return {"remedy": known.remedy, "code": spoken, "code_means": known.meaning}


def _most_rejected(view: View) -> Finding | None:
    last = _fresh(view)[:_LAST]
    codes = Counter(
        call.sip_status
        for call in last
        if call.outcome is Outcome.FAILED and call.sip_status not in {None, *_UNWANTED}
    )
    if len(last) < _REJECTED_MIN or not codes:
        return None
    code, failed = codes.most_common(1)[0]
    if code is None or failed <= _MOST * len(last):
        return None
    if code == _REFUSED and caller_id_invalid(view) is not None:
        return None
    said = Counter(call.sip_reason for call in last if call.sip_status == code and call.sip_reason)
    spoken = sip.spoken(code, said.most_common(1)[0][0] if said else None)
    return Finding(
        reason=Reason.CARRIER_REJECTS,
        contacts=failed,
        since=min(call.ended_at for call in last if call.sip_status == code),
        evidence={
            "sip_status": code,
            "failed": failed,
            "calls": len(last),
            "caller_ids": _by_caller_id(last, frozenset({code})),
        },
        words=_in_words(code, spoken) | {"held_text": ""},
    )


@gate(
    Reason.CALLER_ID_INVALID,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="The carrier refuses calls from one caller id (403) and takes those from another.",
    fix="The carrier refuses {caller_id}: {refused} of its last {calls} calls ended 403, "
    "{others} from other numbers. Have the carrier allow the number on the trunk, or take "
    "it out of phone_numbers: PATCH /api/v1/campaigns/{campaign_id}.",
)
def caller_id_invalid(view: View) -> Finding | None:
    """The carrier refuses one caller id and takes another."""
    refused = _shares(_fresh(view), lambda call: call.sip_status == _REFUSED)
    if len(refused) <= 1:
        return None
    worst, share = max(refused.items(), key=lambda pair: (pair[1].value, pair[1].of))
    rest = _rest(refused, worst)
    # Where the others fare no better it is not about the caller id.
    if share.of < _REJECTED_MIN or share.value <= _MOST or share.above(rest) < _SURE_Z:
        return None
    return Finding(
        reason=Reason.CALLER_ID_INVALID,
        contacts=share.hits,
        evidence={
            "caller_id": worst,
            "refused": share.hits,
            "calls": share.of,
            "others_refused": rest.hits,
            "others_calls": rest.of,
        },
        words={"others": f"{rest.hits} of {rest.of}"},
        is_holding=bool(view.snapshot.shut_gates),
    )


@symptom(
    Reason.CALLER_ID_BLOCKED,
    Layer.PROVIDER,
    Severity.WARNING,
    meaning="Networks or people refuse calls from this number as unwanted (603, 607, 608).",
    fix="{caller_id} looks blocked as spam: {share} of its last {calls} calls ended 603, 607 or"
    " 608. Let the number rest, by taking it out of phone_numbers (PATCH "
    "/api/v1/campaigns/{campaign_id}), and lower the concurrency.",
)
def caller_id_blocked(view: View) -> Finding | None:
    """Calls from a caller id are refused as unwanted."""
    shares = _shares(_fresh(view), _is_unwanted)
    blocked = {
        caller_id: share
        for caller_id, share in shares.items()
        if share.of >= _OF_CALLER_ID_MIN and share.at_least(_SURE_Z) > _UNWANTED_ABOVE
    }
    if not blocked:
        return None
    worst, share = max(blocked.items(), key=lambda pair: (pair[1].value, pair[1].of))
    return Finding(
        reason=Reason.CALLER_ID_BLOCKED,
        contacts=sum(one.hits for one in blocked.values()),
        evidence={
            "caller_id": worst,
            "unwanted": share.hits,
            "calls": share.of,
            "caller_ids": [
                {"caller_id": caller_id, "unwanted": one.hits, "calls": one.of}
                for caller_id, one in sorted(shares.items())
            ],
        },
        words={"share": str(share)},
    )


def _fresh(view: View) -> list[EndedCall]:
    if not view.is_waiting_for_us:
        return []
    return [call for call in view.snapshot.ended or () if call.ended_at > view.now - _FRESH]


def _answered(view: View) -> list[EndedCall]:
    return [call for call in _fresh(view) if call.outcome is Outcome.COMPLETED]


def _is_dropped(call: EndedCall) -> bool:
    is_short = call.duration_s is not None and call.duration_s < _DROPPED_S
    return is_short and call.hangup_by == "agent"


def _is_unwanted(call: EndedCall) -> bool:
    if call.sip_status in _UNWANTED:
        return True
    # One after the other and without ringing it is the trunk that is missing.
    return call.sip_status == _DECLINED and call.hangup_reason not in SET_UP_REASONS


def _shares(calls: Sequence[EndedCall], is_hit: Callable[[EndedCall], bool]) -> dict[str, Share]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for call in calls:
        counts[call.from_number][0] += is_hit(call)
        counts[call.from_number][1] += 1
    return {caller_id: Share(hits, of) for caller_id, (hits, of) in counts.items()}


def _rest(shares: dict[str, Share], but: str) -> Share:
    others = [share for caller_id, share in shares.items() if caller_id != but]
    return Share(sum(one.hits for one in others), sum(one.of for one in others))


def _by_caller_id(calls: Sequence[EndedCall], codes: frozenset[int]) -> dict[str, str]:
    shares = _shares(calls, lambda call: call.sip_status in codes)
    return {caller_id: f"{one.hits} of {one.of}" for caller_id, one in sorted(shares.items())}


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
    caller_id_invalid,
    caller_id_blocked,
)
