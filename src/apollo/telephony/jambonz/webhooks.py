"""Reads status webhooks: which call they are about, and what happened to it.

Nothing here answers the webhook, finds the call in the database or cares how old it is: a replay
is harmless because events are ranked, so a signature of any age is good.
"""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

from apollo.core import bounds
from apollo.core.events import AnswererKnown, CallEvent, Evidence, Reached
from apollo.core.ids import parse_id
from apollo.core.observed import observe
from apollo.ports import StatusEvent
from apollo.telephony.jambonz.answers import UNREADABLE, ProviderCallId
from apollo.telephony.jambonz.calls import HANGUP_BY

# jambonz's longest is "early-media"; without NUL, which PostgreSQL refuses.
_Word = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]{0,64}\Z")]


# What machine detection says on the same hook, once it knows; its other events prove nothing.
_DETECTED: Final = {
    "amd_human_detected": Reached.PERSON,
    "amd_machine_detected": Reached.MACHINE,
}
_DETECTION: Final = "amd_"


class _Status(msgspec.Struct):
    call_sid: ProviderCallId
    call_status: _Word
    # Of whatever type: an odd value counts as unknown, and the event is an event all the same.
    call_id: Any = None
    sip_status: Any = None
    sip_reason: Any = None
    duration: Any = None
    call_termination_by: Any = None
    parent_call_sid: Any = None
    type: Any = None
    # The one key that jambonz does not write in snake_case; other releases may.
    customer_data_camel: Any = msgspec.field(default=None, name="customerData")
    customer_data: Any = None


_STATUS: Final = msgspec.json.Decoder(_Status)


def read_status(body: bytes, received_at: datetime) -> StatusEvent:
    """Read a verified webhook; raises ValueError that names the field and what would be right."""
    try:
        status = _STATUS.decode(body)
    except UNREADABLE as exc:
        raise ValueError(f"status webhook: {exc}") from None
    said = bounds.text(status.type) or ""
    is_detection = said.startswith(_DETECTION)
    return StatusEvent(
        execution_id=_execution_id(status),
        provider_call_id=status.call_sid,
        call_status=said[:64] if is_detection else status.call_status,
        event=_detected(status, said, received_at)
        if is_detection
        else _observed(status, received_at),
        body=body,
        is_child_leg=isinstance(status.parent_call_sid, str),
    )


def _observed(status: _Status, received_at: datetime) -> CallEvent | None:
    return observe(
        call_status=status.call_status,
        at=received_at,
        evidence=Evidence.WEBHOOK,
        provider_call_id=status.call_sid,
        sip_call_id=bounds.text(status.call_id),
        sip_status=bounds.whole(status.sip_status, bounds.SIP_STATUSES),
        sip_reason=bounds.text(status.sip_reason),
        duration_s=bounds.whole(status.duration, bounds.DURATIONS_S),
        hangup_by=HANGUP_BY.get(bounds.text(status.call_termination_by) or ""),
    )


def _detected(status: _Status, said: str, received_at: datetime) -> CallEvent | None:
    reached = _DETECTED.get(said)
    if reached is None:
        return None
    return AnswererKnown(
        at=received_at,
        evidence=Evidence.WEBHOOK,
        provider_call_id=status.call_sid,
        sip_call_id=bounds.text(status.call_id),
        reached=reached,
        by_agent=False,
    )


def _execution_id(status: _Status) -> UUID | None:
    """Read our tag; None when there is none or it is somebody else's."""
    said = status.customer_data_camel or status.customer_data
    tag = said.get("execution_id") if isinstance(said, dict) else None
    return parse_id("exec", tag) if isinstance(tag, str) else None
