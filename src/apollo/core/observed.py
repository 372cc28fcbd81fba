"""Turns what a provider shows of a call into the event it proves.

Webhooks, live look-ups and call-detail records speak the same words, so one table reads them all.
It never decides what follows from an event: that is `lifecycle`.
"""

from datetime import datetime
from typing import Final

from apollo.core.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    Evidence,
)

# Early media is a phone that rings with sound; `alerting` is the same in another release's words.
_UNDER_WAY: Final[dict[str, type[CallTrying | CallRinging | CallAnswered]]] = {
    "trying": CallTrying,
    "ringing": CallRinging,
    "early-media": CallRinging,
    "alerting": CallRinging,
    "in-progress": CallAnswered,
}
_OVER: Final = frozenset({"completed", "failed", "busy", "no-answer"})


def observe(
    *,
    call_status: str,
    at: datetime,
    evidence: Evidence,
    provider_call_id: str | None,
    sip_call_id: str | None = None,
    sip_status: int | None = None,
    sip_reason: str | None = None,
    duration_s: int | None = None,
    hangup_by: str | None = None,
) -> CallEvent | None:
    """Read one status; None for a word that proves nothing (`queued`, or one we do not know)."""
    if call_status in _OVER:
        return CallEnded(
            at=at,
            evidence=evidence,
            provider_call_id=provider_call_id,
            sip_call_id=sip_call_id,
            call_status=call_status,
            sip_status=sip_status,
            # A far network wrote it, and PostgreSQL refuses texts with a NUL.
            sip_reason=None if sip_reason is None else sip_reason.replace("\0", ""),
            duration_s=duration_s,
            hangup_by=hangup_by,
        )
    under_way = _UNDER_WAY.get(call_status)
    if under_way is None:
        return None
    return under_way(
        at=at, evidence=evidence, provider_call_id=provider_call_id, sip_call_id=sip_call_id
    )
