"""Reads status webhooks: which call they are about, and what happened to it.

Nothing here answers the webhook, finds the call in the database or cares how old it is: a replay
is harmless because events are ranked, so a signature of any age is good.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from apollo.core.events import Evidence
from apollo.core.ids import parse_id
from apollo.core.observed import observe
from apollo.ports import StatusEvent
from apollo.telephony.jambonz.answers import UNREADABLE, ProviderCallId
from apollo.telephony.jambonz.calls import HANGUP_BY


class _Status(msgspec.Struct):
    call_sid: ProviderCallId
    call_status: str
    call_id: str | None = None
    sip_status: int | None = None
    sip_reason: str | None = None
    duration: int | None = None
    call_termination_by: str | None = None
    parent_call_sid: str | None = None
    # The one key that jambonz does not write in snake_case; other releases may.
    customer_data_camel: dict[str, Any] | None = msgspec.field(default=None, name="customerData")
    customer_data: dict[str, Any] | None = None


_STATUS: Final = msgspec.json.Decoder(_Status)


def read_status(body: bytes, received_at: datetime) -> StatusEvent:
    """Read a verified webhook; raises ValueError that names the field and what would be right."""
    try:
        status = _STATUS.decode(body)
    except UNREADABLE as exc:
        raise ValueError(f"status webhook: {exc}") from None
    return StatusEvent(
        execution_id=_execution_id(status),
        provider_call_id=status.call_sid,
        call_status=status.call_status,
        event=observe(
            call_status=status.call_status,
            at=received_at,
            evidence=Evidence.WEBHOOK,
            provider_call_id=status.call_sid,
            sip_call_id=status.call_id,
            sip_status=status.sip_status,
            sip_reason=status.sip_reason,
            duration_s=status.duration,
            hangup_by=HANGUP_BY.get(status.call_termination_by or ""),
        ),
        body=body,
        is_child_leg=status.parent_call_sid is not None,
    )


def _execution_id(status: _Status) -> UUID | None:
    """Read our tag; None when there is none or it is somebody else's."""
    tag = (status.customer_data_camel or status.customer_data or {}).get("execution_id")
    return parse_id("exec", tag) if isinstance(tag, str) else None
