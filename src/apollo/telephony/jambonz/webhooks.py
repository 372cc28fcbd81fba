"""Judges status webhooks: signed by the provider or not, and what they say.

Nothing here answers the webhook, finds the call in the database or cares how old it is: a replay
is harmless because events are ranked, so a signature of any age is good.
"""

import hashlib
import hmac
from collections.abc import Mapping
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

_SIGNATURE_HEADER: Final = "jambonz-signature"


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


def is_signed(body: bytes, headers: Mapping[str, str], secret: bytes) -> bool:
    """Check `Jambonz-Signature: t=…,v1=…` over the raw bytes; several v1 are tolerated."""
    header = next((text for name, text in headers.items() if name.lower() == _SIGNATURE_HEADER), "")
    if not header.isascii():
        return False
    parts = (part.partition("=") for part in header.split(","))
    pairs = [(name.strip(), text.strip()) for name, _, text in parts]
    sent_at = next((text for name, text in pairs if name == "t"), None)
    if sent_at is None:
        return False
    right = hmac.new(secret, f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
    candidates = [text for name, text in pairs if name == "v1"]
    # Every candidate is compared, so that the time taken tells nothing about which one fits.
    return sum(hmac.compare_digest(right, candidate.lower()) for candidate in candidates) > 0


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
