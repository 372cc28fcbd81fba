"""What would happen: a batch that is not created, or a campaign's setting that is not changed.

The same checks as for the real thing, and the same forecast as `/debug`. Must never write anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from apollo.core.campaign_settings import (
    CONCURRENCY_DEFAULT,
    CampaignSettings,
    warnings_of,
)
from apollo.core.diagnosis.forecast import Group, Measured, Work, forecast, measure
from apollo.core.diagnosis.view import opening
from apollo.core.elsewhere import HoursIn
from apollo.core.list_rows import GivenContact
from apollo.core.windows import WorkingHours, local_start, parse_working_hours
from apollo.errors import NotFound
from apollo.storage import diagnosis as storage
from apollo.storage.database import Database
from apollo.storage.diagnosis import CampaignLoad
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View, whole
from apollo.usecases.check_contacts import Intake, OnDuplicate, OnInvalid
from apollo.usecases.create_batches import (
    take_in,
)
from apollo.usecases.manage_campaigns import ManageCampaigns, changed_settings
from apollo.usecases.wanted_batches import NewBatch, rules_of

_REJECTED_SHOWN: Final = 100
_OF_BATCH: Final = "batch.concurrency_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What somebody plans. Without contacts and count, it is about what the campaign has left."""

    contacts: tuple[GivenContact, ...] | None = None
    contacts_count: int | None = None
    scheduled_start: str | datetime | None = None
    concurrency_limit: int | None = None
    max_retries_override: int | None = None
    on_duplicate: OnDuplicate = OnDuplicate.SKIP
    default_region: str | None = None
    # Campaign keys as PATCH takes them.
    changes: Mapping[str, Any] | None = None


class PreviewCampaign:
    """Previews batches and changes of a campaign."""

    def __init__(
        self,
        *,
        db: Database,
        campaigns: ManageCampaigns,
        ring_timeout: timedelta,
        calls_per_second: float | None,
    ) -> None:
        self._db = db
        self._campaigns = campaigns
        self._ring_timeout = ring_timeout
        self._calls_per_second = calls_per_second

    async def preview(self, principal: Principal, campaign_id: str, planned: Planned) -> View:
        """Say who would be called, from when, until when, and what limits. Raises Refused."""
        campaign = await self._campaigns.read(principal, campaign_id)
        settings = changed_settings(campaign.settings, planned.changes or {})
        async with self._db.transaction(snapshot=True) as connection:
            load = await storage.read_campaign_load(connection, campaign.id)
        if load is None:
            raise NotFound("Campaign not found")
        accepted, rejected = await self._check(settings, planned, load)
        now = load.read_at
        starts_at = now
        if planned.scheduled_start is not None:
            starts_at = max(now, local_start(planned.scheduled_start, settings.timezone))
        hours = parse_working_hours(
            settings.working_hours or {},
            enforced=bool(settings.working_hours_enforced),
            timezone=settings.timezone,
        )
        is_open, opens_at = opening(hours, self._ring_timeout, starts_at)
        first_at = starts_at if is_open is not None else opens_at
        measured = measure(load.ended)
        limit = self._limit(settings, planned, measured)
        finish = None
        if first_at is not None and measured is not None:
            beside = 0
            if limit["name"] != _OF_BATCH:
                beside = _called_beside(load, accepted, planned)
            work = self._work(settings, hours, measured, limit["calls_at_a_time"])
            everybody = Group(
                accepted + beside, _retries_max(settings, planned), first_at, first_at
            )
            finish = _finish(replace(work, waiting=[everybody]), first_at)
        held_by = _held_by(load, first_at)
        return {
            "campaign_id": campaign_id,
            "accepted": accepted,
            "rejected_count": 0 if rejected is None else rejected.rejected_count,
            "rejected": [] if rejected is None else rejected.rejected[:_REJECTED_SHOWN],
            "waiting_for": held_by,
            "first_call_at": whole(first_at) if held_by is None else None,
            "estimated_finish_at": whole(finish) if held_by is None else None,
            "limit": limit,
            "measured": None if measured is None else _shown(measured),
            "warnings": warnings_of(settings)
            + ([] if rejected is None else rejected.elsewhere.warnings()),
            "as_of": whole(now),
        }

    async def _check(
        self, settings: CampaignSettings, planned: Planned, load: CampaignLoad
    ) -> tuple[int, Intake | None]:
        if planned.contacts is None:
            count = planned.contacts_count
            return (load.unfinished if count is None else count), None
        wanted = NewBatch(
            campaign_id="",
            on_invalid=OnInvalid.SKIP,
            on_duplicate=planned.on_duplicate,
            default_region=planned.default_region,
        )
        is_bound = settings.working_hours_enforced
        hours_in = HoursIn(settings.timezone, load.read_at) if is_bound else None
        rules = rules_of(wanted, settings.reach, hours_in, rows_are="contacts")
        with Intake(rules) as intake:
            await take_in(intake, planned.contacts, None)
            return intake.accepted, intake

    def _limit(
        self, settings: CampaignSettings, planned: Planned, measured: Measured | None
    ) -> View:
        """What binds: the fewest slots, or a pace slower than they are."""
        of_campaign = settings.metadata.get("concurrency_limit") or CONCURRENCY_DEFAULT
        name, slots = "campaign.metadata.concurrency_limit", int(of_campaign)
        if planned.concurrency_limit is not None and planned.concurrency_limit < slots:
            name, slots = _OF_BATCH, planned.concurrency_limit
        per_second = None if measured is None else slots / measured.hold_s
        pace = self._calls_per_second
        if pace is not None and per_second is not None and pace < per_second:
            name, per_second = "APOLLO_CALLS_PER_SECOND", pace
        rounded = None if per_second is None else round(per_second, 3)
        return {"name": name, "calls_at_a_time": slots, "calls_per_second": rounded}

    def _work(
        self,
        settings: CampaignSettings,
        hours: WorkingHours,
        measured: Measured,
        slots: int,
    ) -> Work:
        return Work(
            waiting=(),
            measured=measured,
            cooldown=timedelta(minutes=settings.retry_policy["cooldown_minutes"]),
            hours=hours,
            ring=self._ring_timeout,
            slots=slots,
            per_second=self._calls_per_second or None,
        )


def _shown(measured: Measured) -> View:
    return {
        "calls": len(measured.holds),
        "seconds_per_call": round(measured.hold_s, 1),
        "retry_share": round(measured.retry_share, 3),
    }


def _finish(work: Work, first_at: datetime) -> datetime | None:
    found = forecast(work, first_at)
    return None if found is None else found.finish_at


def _retries_max(settings: CampaignSettings, planned: Planned) -> int:
    if planned.max_retries_override is not None:
        return planned.max_retries_override
    return int(settings.retry_policy["max_retries"])


def _called_beside(load: CampaignLoad, contacts: int, planned: Planned) -> int:
    """How many of other batches are called before the last of a new one: slots go round in turn."""
    if planned.contacts is None and planned.contacts_count is None:
        return 0
    return min(load.dialled, contacts * load.batches_dialled)


def _held_by(load: CampaignLoad, first_at: datetime | None) -> str | None:
    """The reason for which nobody would be called at all, whatever the hours."""
    if load.is_cancelled:
        return "cancelled"
    if load.is_stopped:
        return "dialling_stopped"
    if load.is_paused:
        return "campaign_paused"
    return None if first_at is not None else "window_never_opens"
