"""Campaigns: stored, changed, shown with their derived status, counted."""

import uuid
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from apollo.core.campaign_settings import CampaignSettings
from apollo.core.states import CampaignStatus
from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("campaigns")
_SETTINGS = tuple(f.name for f in fields(CampaignSettings))


@dataclass(frozen=True, slots=True)
class CampaignRecord:
    """A campaign as it is shown: what the client decided, its status, its ended calls."""

    id: uuid.UUID
    organization_id: str
    settings: CampaignSettings
    status: CampaignStatus
    completed_calls: int
    failed_calls: int
    busy_calls: int
    no_answer_calls: int
    voicemail_calls: int
    follow_up_calls: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StatsRecord:
    """A campaign's numbers from one snapshot; what is zero has no key."""

    max_retries: int
    contacts_by_status: dict[str, int]
    contacts_by_retry: dict[str, int]
    batches_by_status: dict[str, int]
    calls_by_kind: dict[str, int]


async def add(
    connection: Connection,
    campaign_id: uuid.UUID,
    organization_id: str,
    settings: CampaignSettings,
) -> None:
    """Store a new campaign."""
    await _Q["add_campaign"].run(
        connection, id=campaign_id, organization_id=organization_id, **asdict(settings)
    )


async def change(
    connection: Connection, campaign_id: uuid.UUID, settings: CampaignSettings, *, at: datetime
) -> None:
    """Replace what the client decided; the caller holds the campaign's lock."""
    await _Q["change_campaign"].run(connection, id=campaign_id, at=at, **asdict(settings))


async def read(
    connection: Connection, organization_id: str, campaign_id: uuid.UUID
) -> CampaignRecord | None:
    """Read one campaign of the organisation."""
    row = await _Q["read_campaign"].row(connection, organization_id=organization_id, id=campaign_id)
    return None if row is None else _record(row)


async def listed(
    connection: Connection, organization_id: str, *, at_most: int, **filters: Any
) -> tuple[list[CampaignRecord], int | None]:
    """List an organisation's campaigns, and tell how many there are in all if that is asked for.

    `filters` are the parameters of the query, as `ListFilter.columns` gives them.
    """
    rows = await _Q["list_campaigns"].rows(
        connection, organization_id=organization_id, at_most=at_most, **filters
    )
    return [_record(row) for row in rows if row["id"] is not None], rows[0]["total"]


async def read_stats(
    connection: Connection, organization_id: str, campaign_id: uuid.UUID
) -> StatsRecord | None:
    """Count everything about one campaign, from one snapshot."""
    row = await _Q["read_stats"].row(connection, organization_id=organization_id, id=campaign_id)
    if row is None:
        return None
    return StatsRecord(
        max_retries=row["retry_policy"]["max_retries"],
        contacts_by_status=row["contacts_by_status"],
        contacts_by_retry=row["contacts_by_retry"],
        batches_by_status=row["batches_by_status"],
        calls_by_kind=row["calls_by_kind"],
    )


async def list_without_hours(connection: Connection, *, at_most: int) -> list[uuid.UUID]:
    """List campaigns of all organisations that are live and dial at any hour, newest first."""
    rows = await _Q["list_without_hours"].rows(connection, at_most=at_most)
    return [r["id"] for r in rows]


async def delete(connection: Connection, campaign_id: uuid.UUID, *, at: datetime) -> None:
    """Hide a campaign; the caller holds its lock."""
    await _Q["delete_campaign"].run(connection, id=campaign_id, at=at)


def _record(row: Record) -> CampaignRecord:
    return CampaignRecord(
        id=row["id"],
        organization_id=row["organization_id"],
        settings=CampaignSettings(**{name: row[name] for name in _SETTINGS}),
        status=CampaignStatus(row["status"]),
        completed_calls=row["completed_calls"],
        failed_calls=row["failed_calls"],
        busy_calls=row["busy_calls"],
        no_answer_calls=row["no_answer_calls"],
        voicemail_calls=row["voicemail_calls"],
        follow_up_calls=row["follow_up_calls"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
