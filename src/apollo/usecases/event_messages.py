"""The events that other systems read, as they stand in Kafka: one structure for each type.

`docs/reference/asyncapi.yaml` is written from here. A field may be added at any time; what would
break a reader gets a new version of its type. No phone number is in them: they travel far.
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.core.states import BatchStatus, CallKind, CallState, ContactStatus, Outcome
from apollo.storage.outbox import Noted

_Sequence = Annotated[int, Meta(description="Rises with time for one contact; repeats keep it.")]
_Version = Annotated[Literal[1], Meta(description="The version of this type's schema.")]
_Instant = Annotated[datetime, Meta(tz=True, description="When it happened, in UTC.")]
_CampaignStatus: TypeAlias = Literal["open", "paused", "cancelled", "deleted"]


class _Event(msgspec.Struct, tag_field="type", kw_only=True, frozen=True):
    version: _Version = 1
    sequence: _Sequence
    at: _Instant
    organization_id: str
    campaign_id: str


class CampaignChanged(_Event, tag="campaign.changed", frozen=True, kw_only=True):
    """A campaign was created (`was` is null), edited, paused, resumed, cancelled or deleted."""

    was: _CampaignStatus | None
    status: _CampaignStatus


class BatchChanged(_Event, tag="batch.changed", frozen=True, kw_only=True):
    """A batch was created (`was` is null) or got another status."""

    batch_id: str
    was: BatchStatus | None
    status: BatchStatus


class ContactChanged(_Event, tag="contact.changed", frozen=True, kw_only=True):
    """A contact got another status."""

    batch_id: str
    contact_id: str
    was: ContactStatus
    status: ContactStatus
    attempts: int
    retries: int


class CallChanged(_Event, tag="call.changed", frozen=True, kw_only=True):
    """A call was made ready (`was` is null) or moved on; an ended one has its outcome."""

    batch_id: str
    contact_id: str
    execution_id: str
    was: CallState | None
    status: CallState
    attempt: int | None
    kind: CallKind
    provider_call_id: str | None = None
    outcome: Outcome | None = None
    evidence: str | None = None
    sip_status: int | None = None
    sip_reason: str | None = None
    duration_s: int | None = None
    hangup_by: str | None = None


Event: TypeAlias = CampaignChanged | BatchChanged | ContactChanged | CallChanged
EVENTS: Final = (CampaignChanged, BatchChanged, ContactChanged, CallChanged)
_ENCODER: Final = msgspec.json.Encoder()


def message_of(noted: Noted) -> tuple[str, bytes]:
    """Give key and value of one event; the key is the contact, else the batch, else the campaign.

    Raises ValidationError of msgspec when a row does not fit: a defect.
    """
    fields: dict[str, Any] = {
        "type": noted.type,
        "version": 1,
        "sequence": noted.id,
        "at": noted.at,
        "organization_id": noted.organization_id,
        "campaign_id": ids.campaign_id(noted.campaign_id),
        "was": noted.was,
        "status": noted.status,
        **noted.detail,
    }
    key = fields["campaign_id"]
    if noted.batch_id is not None:
        key = fields["batch_id"] = ids.batch_id(noted.batch_id)
        if noted.position is not None:
            contact = ContactKey(noted.batch_id, noted.position)
            key = fields["contact_id"] = ids.contact_id(contact)
    if noted.execution_id is not None:
        fields["execution_id"] = ids.execution_id(noted.execution_id)
    return key, _ENCODER.encode(msgspec.convert(fields, Event))


def asyncapi() -> dict[str, Any]:
    """Describe the topic of events, in AsyncAPI 3."""
    _, schemas = msgspec.json.schema_components(EVENTS, ref_template="#/components/schemas/{name}")
    names = [one.__name__ for one in EVENTS]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Apollo events",
            "version": "1",
            "description": "What happened to campaigns, batches, contacts and calls. Delivered at"
            " least once, in order for each key: the contact, else the batch, else the campaign.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": "apollo.events",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
            }
        },
        "operations": {
            "publish": {"action": "send", "channel": {"$ref": "#/channels/events"}},
        },
        "components": {
            "messages": {
                name: {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}}
                for name in names
            },
            "schemas": schemas,
        },
    }
