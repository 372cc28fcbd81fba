"""Campaigns: created, listed, read, changed, deleted, counted.

Owns what a client may do with a campaign besides its lifecycle (`change_lifecycle`). A campaign of
another organisation does not exist here.
"""

import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from apollo.core import ids
from apollo.core.campaign_settings import CampaignSettings, checked
from apollo.core.states import BatchStatus, ContactStatus
from apollo.errors import FieldError, Invalid, NotAllowedNow, NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import agents, campaigns, lifecycle
from apollo.storage.campaigns import CampaignRecord, StatsRecord
from apollo.storage.database import Connection, Database
from apollo.usecases.authenticate import Principal
from apollo.usecases.list_filters import Listed, ListFilter

__all__ = ["CampaignRecord", "CampaignStats", "ManageCampaigns", "OnCreated"]

NOT_FOUND: Final = "Campaign not found"
# Runs inside the creating transaction, so that an answer is remembered exactly when its object is.
OnCreated = Callable[[Connection, CampaignRecord], Awaitable[None]]
REQUIRED: Final = ("name", "agent_id", "phone_numbers")
_DEFAULTS: Final = CampaignSettings(name="", agent_id="", phone_numbers=[])
_IN_FLIGHT: Final = (
    ContactStatus.DISPATCHED,
    ContactStatus.IN_PROGRESS,
    ContactStatus.RETRYING,
    ContactStatus.FOLLOWUP_SCHEDULED,
)


@dataclass(frozen=True, slots=True)
class CampaignStats:
    """A campaign in numbers, all of one snapshot; every known status has its key."""

    campaign_id: uuid.UUID
    contact_counts: dict[str, int]
    batch_counts: dict[str, int]
    call_counters: dict[str, int]
    # Contacts that wait for retry 1, 2, 3, …
    retry_breakdown: dict[str, int]
    in_flight_contacts: int
    total_call_attempts: int
    follow_up_attempts: int


class ManageCampaigns:
    """Creates, lists, reads, changes, deletes and counts campaigns."""

    def __init__(
        self,
        *,
        db: Database,
        bus: Bus,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._db = db
        self._bus = bus
        self._new_id = new_id

    async def create(
        self,
        principal: Principal,
        fields: Mapping[str, Any],
        *,
        on_created: OnCreated | None = None,
    ) -> CampaignRecord:
        """Create a campaign from the keys given; null is the default. Raises Invalid."""
        settings = checked(_build(fields))
        campaign_id = self._new_id()
        organization_id = principal.organization_id
        async with self._db.transaction() as connection:
            await _check_caller_ids(connection, organization_id, settings, known=())
            await campaigns.add(connection, campaign_id, organization_id, settings)
            await _record(connection, principal, campaign_id, "campaign_created")
            created = await campaigns.read(connection, organization_id, campaign_id)
            if created is None:
                raise NotFound(NOT_FOUND)
            if on_created is not None:
                await on_created(connection, created)
        return created

    async def browse(self, principal: Principal, wanted: ListFilter) -> Listed:
        """List the organisation's campaigns. Raises Invalid."""
        after = None if wanted.after is None else ids.parse_id("cmp", wanted.after)
        if after is None and wanted.after is not None:
            msg = "is not an id of this list; give the last id of the page before"
            raise Invalid.field("after", msg, where="query")
        async with self._db.connection() as connection:
            rows, total = await campaigns.listed(
                connection,
                principal.organization_id,
                at_most=wanted.limit,
                **wanted.columns(after),
            )
        return Listed(rows, total)

    async def read(self, principal: Principal, campaign_id: str) -> CampaignRecord:
        """Read one campaign. Raises NotFound."""
        wanted = _parse(campaign_id)
        async with self._db.connection() as connection:
            found = await campaigns.read(connection, principal.organization_id, wanted)
        if found is None:
            raise NotFound(NOT_FOUND)
        return found

    async def change(
        self, principal: Principal, campaign_id: str, fields: Mapping[str, Any]
    ) -> CampaignRecord:
        """Replace the top-level keys given; null puts an optional one back to its default.

        Applies to the next claim, and wakes it. Raises NotFound, Invalid.
        """
        wanted = _parse(campaign_id)
        organization_id = principal.organization_id
        async with self._db.transaction() as connection:
            locked = await lifecycle.lock_campaign(connection, organization_id, wanted)
            before = await campaigns.read(connection, organization_id, wanted)
            if locked is None or before is None:
                raise NotFound(NOT_FOUND)
            settings = changed_settings(before.settings, fields)
            if settings == before.settings:
                return before
            known = before.settings.phone_numbers
            await _check_caller_ids(connection, organization_id, settings, known=known)
            at = locked.read_at
            await campaigns.change(connection, wanted, settings, at=at)
            changed = {"keys": sorted(fields)}
            await _record(connection, principal, wanted, "campaign_changed", changed)
            after = await campaigns.read(connection, organization_id, wanted)
        await self._bus.wake([WakeUp(wanted, Why.CAMPAIGN_CHANGED)])
        return after or before

    async def delete(self, principal: Principal, campaign_id: str) -> None:
        """Hide a campaign at rest; its rows stay for the record. Raises NotFound, NotAllowedNow."""
        wanted = _parse(campaign_id)
        async with self._db.transaction() as connection:
            locked = await lifecycle.lock_campaign(connection, principal.organization_id, wanted)
            if locked is None:
                raise NotFound(NOT_FOUND)
            live = await lifecycle.lock_batches(connection, wanted)
            open_calls = await lifecycle.count_open_calls(connection, wanted)
            if live:
                todo = f"cancel it first (POST /campaigns/{campaign_id}/cancel)"
                raise NotAllowedNow(f"The campaign has {_count(len(live), 'live batch')}: {todo}")
            if open_calls:
                calls = _count(open_calls, "call")
                raise NotAllowedNow(f"The campaign has {calls} in progress: delete it afterwards")
            await campaigns.delete(connection, wanted, at=locked.read_at)
            await _record(connection, principal, wanted, "campaign_deleted")

    async def stats(self, principal: Principal, campaign_id: str) -> CampaignStats:
        """Count everything about one campaign. Raises NotFound."""
        wanted = _parse(campaign_id)
        async with self._db.connection() as connection:
            found = await campaigns.read_stats(connection, principal.organization_id, wanted)
        if found is None:
            raise NotFound(NOT_FOUND)
        return _stats(wanted, found)


def _parse(campaign_id: str) -> uuid.UUID:
    parsed = ids.parse_id("cmp", campaign_id)
    if parsed is None:
        raise NotFound(NOT_FOUND)
    return parsed


def _build(fields: Mapping[str, Any]) -> CampaignSettings:
    given = {name: value for name, value in fields.items() if value is not None}
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise Invalid([FieldError(("body", name), "is required", "missing") for name in missing])
    return CampaignSettings(**given)


def changed_settings(settings: CampaignSettings, fields: Mapping[str, Any]) -> CampaignSettings:
    """Return the settings with the keys given replaced, null being the default. Raises Invalid.

    A first table holds as if it had been given at once; where one was switched off in so many
    words, another one stays switched off.
    """
    is_first_table = not settings.working_hours and "working_hours_enforced" not in fields
    if is_first_table and fields.get("working_hours"):
        fields = {**fields, "working_hours_enforced": None}
    return checked(_replaced(settings, fields), settings)


def _replaced(settings: CampaignSettings, fields: Mapping[str, Any]) -> CampaignSettings:
    """Put the given keys into the settings; null becomes the default."""
    for name in REQUIRED:
        if name in fields and fields[name] is None:
            raise Invalid.field(name, "is required and cannot be null; leave it out to keep it")
    given = {
        name: getattr(_DEFAULTS, name) if value is None else value for name, value in fields.items()
    }
    return dataclasses.replace(settings, **given)


async def _record(
    connection: Connection,
    principal: Principal,
    campaign_id: uuid.UUID,
    action: str,
    detail: dict[str, Any] | None = None,
) -> None:
    await lifecycle.record_action(
        connection,
        organization_id=principal.organization_id,
        campaign_id=campaign_id,
        batch_id=None,
        actor=principal.token_name,
        action=action,
        detail=detail,
    )


def _stats(campaign_id: uuid.UUID, found: StatsRecord) -> CampaignStats:
    contacts, calls = found.contacts_by_status, found.calls_by_kind
    retries = range(1, max([found.max_retries, *map(int, found.contacts_by_retry)]) + 1)
    return CampaignStats(
        campaign_id=campaign_id,
        contact_counts={status.value: contacts.get(status, 0) for status in ContactStatus},
        batch_counts={s.value: found.batches_by_status.get(s, 0) for s in BatchStatus},
        call_counters={
            f"{kind}_calls": calls.get(kind, 0)
            for kind in ("completed", "failed", "busy", "no_answer", "voicemail", "follow_up")
        },
        retry_breakdown={f"retry_{n}": found.contacts_by_retry.get(str(n), 0) for n in retries},
        in_flight_contacts=sum(contacts.get(status, 0) for status in _IN_FLIGHT),
        total_call_attempts=calls.get("attempts", 0),
        follow_up_attempts=calls.get("follow_up_attempts", 0),
    )


async def _check_caller_ids(
    connection: Connection,
    organization_id: str,
    settings: CampaignSettings,
    *,
    known: Sequence[str],
) -> None:
    """Refuse caller ids that are not the organisation's; what a campaign has already stays."""
    new = [number for number in settings.phone_numbers if number not in known]
    foreign = set(await agents.find_foreign_caller_ids(connection, organization_id, new))
    # The same words for a number of another organisation and for one that is nobody's.
    msg = "not one of your caller ids; the operator gives them with `apollo caller-ids set`"
    faults = [
        FieldError(("body", "phone_numbers", index), msg)
        for index, number in enumerate(settings.phone_numbers)
        if number in foreign
    ]
    if faults:
        raise Invalid(faults)


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
