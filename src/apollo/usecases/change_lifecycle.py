"""Pause, resume, cancel, expire, dispatch: somebody changes what may be dialled.

Owns every status change that is not caused by a call. Each command locks the campaign, then its
batches, and only then counts and writes, so that what it answers is true for every claim that
follows. A repeat answers with the present state; an impossible command changes nothing.
"""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from apollo.core import ids
from apollo.core.diagnosis import Diagnosis
from apollo.core.states import LIVE_BATCH, BatchStatus, CampaignStatus, PausedBy
from apollo.errors import NotAllowedNow, NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import lifecycle
from apollo.storage.database import Connection, Database
from apollo.storage.lifecycle import LockedBatch, LockedCampaign
from apollo.usecases.authenticate import Principal

CAMPAIGN_NOT_FOUND: Final = "Campaign not found"
BATCH_NOT_FOUND: Final = "Batch not found"


class Explainer(Protocol):
    """Tells why a batch's contacts cannot be dialled right now."""

    async def diagnose(self, organization_id: str, batch_id: uuid.UUID) -> Diagnosis:
        """Explain a batch."""


@dataclass(frozen=True, slots=True)
class CampaignChanged:
    """What a command left a campaign in, and how many calls go on all the same."""

    campaign_id: uuid.UUID
    status: CampaignStatus
    message: str
    calls_in_progress: int


@dataclass(frozen=True, slots=True)
class BatchChanged:
    """What a command left a batch in, and how many calls go on all the same."""

    batch_id: uuid.UUID
    status: BatchStatus
    message: str
    calls_in_progress: int


@dataclass(frozen=True, slots=True)
class BatchDispatched:
    """How many contacts were pending, and what they wait for, if they cannot be dialled now."""

    batch_id: uuid.UUID
    status: BatchStatus
    dispatched_count: int
    message: str
    waiting_for: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    """One campaign under its lock, inside the transaction that holds it."""

    connection: Connection
    principal: Principal
    campaign: LockedCampaign


class ChangeLifecycle:
    """Pauses, resumes, cancels, expires and dispatches."""

    def __init__(self, *, db: Database, bus: Bus, explain: Explainer | None = None) -> None:
        self._db = db
        self._bus = bus
        self._explain = explain

    # ------------------------------------------------------------------------------ campaigns

    async def pause_campaign(self, principal: Principal, campaign_id: str) -> CampaignChanged:
        """Pause a campaign and its live batches. Raises NotFound, NotAllowedNow."""
        async with self._held_campaign(principal, campaign_id) as held:
            status = await _campaign_status(held)
            if status in {CampaignStatus.CANCELLED, CampaignStatus.COMPLETED}:
                raise NotAllowedNow(f"The campaign is {status}: there is nothing to pause")
            message = "Campaign is already paused"
            if status is not CampaignStatus.PAUSED:
                message = "Campaign paused successfully"
                at, campaign = held.campaign.read_at, held.campaign.id
                await lifecycle.pause_campaign(held.connection, campaign, at=at)
                batches = await lifecycle.lock_batches(held.connection, campaign)
                running = [b.id for b in batches if b.status is not BatchStatus.PAUSED]
                await lifecycle.pause_batches(held.connection, running, PausedBy.CAMPAIGN, at=at)
                await _record(held, "campaign_paused")
            return await _campaign_changed(held, message)

    async def resume_campaign(self, principal: Principal, campaign_id: str) -> CampaignChanged:
        """Resume a campaign and what was paused with it. Raises NotFound, NotAllowedNow."""
        async with self._held_campaign(principal, campaign_id) as held:
            status = await _campaign_status(held)
            if status is CampaignStatus.CANCELLED:
                raise NotAllowedNow("The campaign is cancelled for good: create a new one")
            if status in {CampaignStatus.COMPLETED, CampaignStatus.DRAFT}:
                todo = "create a batch and it becomes active"
                raise NotAllowedNow(f"The campaign is {status} and not paused: {todo}")
            if status is CampaignStatus.ACTIVE:
                return await _campaign_changed(held, "Campaign is already active")
            at, campaign = held.campaign.read_at, held.campaign.id
            await lifecycle.resume_campaign(held.connection, campaign, at=at)
            batches = await lifecycle.lock_batches(held.connection, campaign)
            with_it = [b.id for b in batches if b.paused_by is PausedBy.CAMPAIGN]
            await lifecycle.resume_batches(held.connection, with_it, at=at)
            await _record(held, "campaign_resumed")
            changed = await _campaign_changed(held, "Campaign resumed successfully")
        await self._bus.wake([WakeUp(changed.campaign_id, Why.CAMPAIGN_RESUMED)])
        return changed

    async def cancel_campaign(self, principal: Principal, campaign_id: str) -> CampaignChanged:
        """End a campaign and its live batches for good. Raises NotFound, NotAllowedNow."""
        async with self._held_campaign(principal, campaign_id) as held:
            status = await _campaign_status(held)
            if status is CampaignStatus.COMPLETED:
                todo = "delete it if it shall not be used again"
                raise NotAllowedNow(f"The campaign is completed, nothing is left to cancel: {todo}")
            message = "Campaign is already cancelled"
            if status is not CampaignStatus.CANCELLED:
                message = "Campaign cancelled successfully"
                at, campaign = held.campaign.read_at, held.campaign.id
                await lifecycle.cancel_campaign(held.connection, campaign, at=at)
                batches = await lifecycle.lock_batches(held.connection, campaign)
                await lifecycle.close_batches(
                    held.connection, [b.id for b in batches], BatchStatus.CANCELLED, at=at
                )
                await _record(held, "campaign_cancelled")
            return await _campaign_changed(held, message)

    # -------------------------------------------------------------------------------- batches

    async def pause_batch(self, principal: Principal, batch_id: str) -> BatchChanged:
        """Pause one batch, or keep it paused when its campaign resumes.

        Raises NotFound, NotAllowedNow.
        """
        async with self._held_batch(principal, batch_id) as (held, batch):
            if batch.status not in LIVE_BATCH:
                raise NotAllowedNow(f"The batch is {batch.status}: there is nothing to pause")
            message = "Batch is already paused"
            if batch.status is not BatchStatus.PAUSED or batch.paused_by is PausedBy.CAMPAIGN:
                message = "Batch paused successfully"
                at = held.campaign.read_at
                await lifecycle.pause_batches(held.connection, [batch.id], PausedBy.BATCH, at=at)
                await _record(held, "batch_paused", batch.id)
            return await _batch_changed(held, batch, BatchStatus.PAUSED, message)

    async def resume_batch(self, principal: Principal, batch_id: str) -> BatchChanged:
        """Resume one batch; a start still ahead is waited for. Raises NotFound, NotAllowedNow."""
        async with self._held_batch(principal, batch_id) as (held, batch):
            if batch.status not in LIVE_BATCH:
                todo = "create a new batch for contacts that shall still be called"
                raise NotAllowedNow(f"The batch is {batch.status}, which is final: {todo}")
            if held.campaign.is_paused:
                campaign = ids.campaign_id(held.campaign.id)
                todo = f"resume the campaign first (POST /api/v1/campaigns/{campaign}/resume)"
                raise NotAllowedNow(f"The batch's campaign is paused: {todo}")
            if batch.status is not BatchStatus.PAUSED:
                message = f"Batch is not paused, it is {batch.status}"
                return await _batch_changed(held, batch, batch.status, message)
            at = held.campaign.read_at
            if batch.ends_at is not None and batch.ends_at <= at:
                raise NotAllowedNow("The batch's ends_at has passed: it expires, create a new one")
            (status,) = await lifecycle.resume_batches(held.connection, [batch.id], at=at)
            await _record(held, "batch_resumed", batch.id)
            message = "Batch resumed successfully"
            changed = await _batch_changed(held, batch, status, message)
        await self._bus.wake([WakeUp(held.campaign.id, Why.BATCH_RESUMED, batch.id)])
        return changed

    async def cancel_batch(self, principal: Principal, batch_id: str) -> BatchChanged:
        """End one batch for good; whoever waits is skipped. Raises NotFound, NotAllowedNow."""
        async with self._held_batch(principal, batch_id) as (held, batch):
            if batch.status in {BatchStatus.COMPLETED, BatchStatus.EXPIRED}:
                raise NotAllowedNow(f"The batch is {batch.status}: nothing is left to cancel")
            message = "Batch is already cancelled"
            if batch.status is not BatchStatus.CANCELLED:
                message = "Batch cancelled successfully"
                await lifecycle.close_batches(
                    held.connection, [batch.id], BatchStatus.CANCELLED, at=held.campaign.read_at
                )
                await _record(held, "batch_cancelled", batch.id)
            return await _batch_changed(held, batch, BatchStatus.CANCELLED, message)

    async def expire(self, batch_id: uuid.UUID) -> bool:
        """End a live batch whose `ends_at` has passed by the database's clock; True when it did."""
        async with self._db.transaction() as connection:
            home = await lifecycle.find_batch(connection, batch_id)
            if home is None:
                return False
            campaign = await lifecycle.lock_campaign(
                connection, home.organization_id, home.campaign_id
            )
            if campaign is None:
                return False
            (batch,) = await lifecycle.lock_batches(connection, home.campaign_id, batch_id)
            at = campaign.read_at
            if batch.status not in LIVE_BATCH or batch.ends_at is None or batch.ends_at > at:
                return False
            await lifecycle.close_batches(connection, [batch_id], BatchStatus.EXPIRED, at=at)
            apollo = Principal(home.organization_id, "apollo")
            await _record(_Held(connection, apollo, campaign), "batch_expired", batch_id)
            return True

    async def dispatch(self, principal: Principal, batch_id: str) -> BatchDispatched:
        """Wake the dialler for every pending contact; it can never cause a second call.

        It touches no contact. Raises NotFound, NotAllowedNow.
        """
        wanted = _parse_batch(batch_id)
        organization_id = principal.organization_id
        async with self._db.connection() as connection:
            batch = await lifecycle.read_batch_for_dispatch(connection, organization_id, wanted)
        if batch is None:
            raise NotFound(BATCH_NOT_FOUND)
        if batch.status is BatchStatus.COMPLETED:
            message = "Batch is completed: no contact is pending"
            return BatchDispatched(wanted, batch.status, 0, message, None)
        if batch.status is not BatchStatus.IN_PROGRESS:
            diagnosis = None
            if batch.status is BatchStatus.PENDING and self._explain is not None:
                diagnosis = await self._explain.diagnose(organization_id, wanted)
            raise NotAllowedNow(_why_no_dispatch(batch_id, batch, diagnosis))
        async with self._db.transaction() as connection:
            await lifecycle.record_action(
                connection,
                organization_id=organization_id,
                campaign_id=batch.campaign_id,
                batch_id=wanted,
                actor=principal.token_name,
                action="batch_dispatched",
                detail={"pending": batch.pending},
            )
        await self._bus.wake([WakeUp(batch.campaign_id, Why.BATCH_DISPATCHED, wanted)])
        waiting_for = None
        if self._explain is not None:
            binding = (await self._explain.diagnose(organization_id, wanted)).binding
            waiting_for = None if binding is None else binding.value
        message = "Batch dispatch re-triggered successfully"
        return BatchDispatched(wanted, batch.status, batch.pending, message, waiting_for)

    # ---------------------------------------------------------------------------------- locks

    @asynccontextmanager
    async def _held_campaign(self, principal: Principal, campaign_id: str) -> AsyncGenerator[_Held]:
        wanted = ids.parse_id("cmp", campaign_id)
        if wanted is None:
            raise NotFound(CAMPAIGN_NOT_FOUND)
        async with self._db.transaction() as connection:
            campaign = await lifecycle.lock_campaign(connection, principal.organization_id, wanted)
            if campaign is None:
                raise NotFound(CAMPAIGN_NOT_FOUND)
            yield _Held(connection, principal, campaign)

    @asynccontextmanager
    async def _held_batch(
        self, principal: Principal, batch_id: str
    ) -> AsyncGenerator[tuple[_Held, LockedBatch]]:
        wanted = _parse_batch(batch_id)
        async with self._db.transaction() as connection:
            home = await lifecycle.find_batch(connection, wanted)
            if home is None:
                raise NotFound(BATCH_NOT_FOUND)
            # Another organisation's campaign is not found under this one's name.
            campaign = await lifecycle.lock_campaign(
                connection, principal.organization_id, home.campaign_id
            )
            if campaign is None:
                raise NotFound(BATCH_NOT_FOUND)
            (batch,) = await lifecycle.lock_batches(connection, home.campaign_id, wanted)
            yield _Held(connection, principal, campaign), batch


def _parse_batch(batch_id: str) -> uuid.UUID:
    parsed = ids.parse_id("btc", batch_id)
    if parsed is None:
        raise NotFound(BATCH_NOT_FOUND)
    return parsed


async def _campaign_status(held: _Held) -> CampaignStatus:
    return await lifecycle.read_campaign_status(held.connection, held.campaign.id)


async def _campaign_changed(held: _Held, message: str) -> CampaignChanged:
    return CampaignChanged(
        campaign_id=held.campaign.id,
        status=await _campaign_status(held),
        message=message,
        calls_in_progress=await lifecycle.count_open_calls(held.connection, held.campaign.id),
    )


async def _batch_changed(
    held: _Held, batch: LockedBatch, status: BatchStatus, message: str
) -> BatchChanged:
    open_calls = await lifecycle.count_open_calls(held.connection, held.campaign.id, batch.id)
    return BatchChanged(batch.id, status, message, open_calls)


async def _record(held: _Held, action: str, batch_id: uuid.UUID | None = None) -> None:
    await lifecycle.record_action(
        held.connection,
        organization_id=held.principal.organization_id,
        campaign_id=held.campaign.id,
        batch_id=batch_id,
        actor=held.principal.token_name,
        action=action,
    )


def _why_no_dispatch(
    batch_id: str, batch: lifecycle.Dispatchable, diagnosis: Diagnosis | None
) -> str:
    match batch.status, batch.paused_by:
        case BatchStatus.PAUSED, PausedBy.CAMPAIGN:
            campaign = ids.campaign_id(batch.campaign_id)
            todo = f"resume the campaign first (POST /api/v1/campaigns/{campaign}/resume)"
            return f"The batch is paused with its campaign: {todo}"
        case BatchStatus.PAUSED, _:
            return f"The batch is paused: resume it first (POST /api/v1/batches/{batch_id}/resume)"
        case BatchStatus.PENDING, _ if diagnosis is not None and _is_late(diagnosis):
            return f"The batch's start has passed and nothing has started it. {diagnosis.tip}"
        case BatchStatus.PENDING, _:
            todo = "it is dispatched then, nothing needs to be done"
            return f"The batch waits for its scheduled start: {todo}"
        case _:
            return f"The batch is {batch.status}, which is final: create a new batch"


def _is_late(diagnosis: Diagnosis) -> bool:
    """Whether the start that the batch waits for has passed."""
    starts_at = diagnosis.snapshot.batch.scheduled_start
    return starts_at is not None and starts_at <= diagnosis.as_of
