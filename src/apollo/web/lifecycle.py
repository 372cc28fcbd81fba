"""The routes that change what may be dialled: pause, resume, cancel, dispatch."""

from fastapi import APIRouter

from apollo.core import ids
from apollo.core.states import BatchStatus, CampaignStatus
from apollo.usecases.change_lifecycle import BatchChanged, CampaignChanged
from apollo.web.requests import Caller, StrictRoute, Uses
from apollo.web.schemas import Answer

router = APIRouter(tags=["lifecycle"], route_class=StrictRoute)


class CampaignChangeAnswer(Answer):
    """What a command left a campaign in."""

    campaign_id: str
    status: CampaignStatus
    message: str
    # Calls that were being placed or talked on at that instant: they end by themselves.
    calls_in_progress: int


class BatchChangeAnswer(Answer):
    """What a command left a batch in."""

    batch_id: str
    status: BatchStatus
    message: str
    calls_in_progress: int


class DispatchAnswer(Answer):
    """What dispatching again found."""

    batch_id: str
    status: BatchStatus
    dispatched_count: int
    message: str
    # The reason code (docs/reference/reasons.md) if they cannot be dialled right now.
    waiting_for: str | None


@router.post("/campaigns/{campaign_id}/pause")
async def pause_campaign(campaign_id: str, uses: Uses, caller: Caller) -> CampaignChangeAnswer:
    """Start no call of this campaign until it is resumed; calls in progress go on."""
    return _campaign(await uses.lifecycle.pause_campaign(caller, campaign_id))


@router.post("/campaigns/{campaign_id}/resume")
async def resume_campaign(campaign_id: str, uses: Uses, caller: Caller) -> CampaignChangeAnswer:
    """Go on with the campaign and the batches that were paused with it."""
    return _campaign(await uses.lifecycle.resume_campaign(caller, campaign_id))


@router.post("/campaigns/{campaign_id}/cancel")
async def cancel_campaign(campaign_id: str, uses: Uses, caller: Caller) -> CampaignChangeAnswer:
    """End the campaign for good: whoever waits is skipped, calls in progress go on."""
    return _campaign(await uses.lifecycle.cancel_campaign(caller, campaign_id))


@router.post("/batches/{batch_id}/pause")
async def pause_batch(batch_id: str, uses: Uses, caller: Caller) -> BatchChangeAnswer:
    """Start no call of this batch until it is resumed; calls in progress go on."""
    return _batch(await uses.lifecycle.pause_batch(caller, batch_id))


@router.post("/batches/{batch_id}/resume")
async def resume_batch(batch_id: str, uses: Uses, caller: Caller) -> BatchChangeAnswer:
    """Go on with this batch; not while its campaign is paused."""
    return _batch(await uses.lifecycle.resume_batch(caller, batch_id))


@router.post("/batches/{batch_id}/cancel")
async def cancel_batch(batch_id: str, uses: Uses, caller: Caller) -> BatchChangeAnswer:
    """End this batch for good: whoever waits is skipped, calls in progress go on."""
    return _batch(await uses.lifecycle.cancel_batch(caller, batch_id))


@router.post("/batches/{batch_id}/dispatch")
async def dispatch_batch(batch_id: str, uses: Uses, caller: Caller) -> DispatchAnswer:
    """Dispatch every pending contact again. Safe at any time: it never causes a second call."""
    found = await uses.lifecycle.dispatch(caller, batch_id)
    return DispatchAnswer(
        batch_id=ids.batch_id(found.batch_id),
        status=found.status,
        dispatched_count=found.dispatched_count,
        message=found.message,
        waiting_for=found.waiting_for,
    )


def _campaign(changed: CampaignChanged) -> CampaignChangeAnswer:
    return CampaignChangeAnswer(
        campaign_id=ids.campaign_id(changed.campaign_id),
        status=changed.status,
        message=changed.message,
        calls_in_progress=changed.calls_in_progress,
    )


def _batch(changed: BatchChanged) -> BatchChangeAnswer:
    return BatchChangeAnswer(
        batch_id=ids.batch_id(changed.batch_id),
        status=changed.status,
        message=changed.message,
        calls_in_progress=changed.calls_in_progress,
    )
