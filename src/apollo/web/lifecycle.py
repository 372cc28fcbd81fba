"""The routes that change what may be dialled: pause, resume, cancel, dispatch."""

from fastapi import APIRouter
from pydantic import Field

from apollo.core import ids
from apollo.core.states import BatchStatus, CampaignStatus
from apollo.usecases.change_lifecycle import BatchChanged, CampaignChanged
from apollo.web.batches import BatchId
from apollo.web.campaigns import CampaignId
from apollo.web.requests import Caller, StrictRoute, Uses
from apollo.web.schemas import Answer, Body

router = APIRouter(route_class=StrictRoute)


class CampaignChangeAnswer(Answer):
    """What a command left a campaign in."""

    campaign_id: str = Field(description="The campaign, `cmp_…`.")
    status: CampaignStatus = Field(description="The status that it has now.")
    message: str = Field(description="What was done, in words.")
    calls_in_progress: int = Field(
        description="Calls being placed or talked on at that instant; they end by themselves."
    )


class BatchChangeAnswer(Answer):
    """What a command left a batch in."""

    batch_id: str = Field(description="The batch, `btc_…`.")
    status: BatchStatus = Field(description="The status that it has now.")
    message: str = Field(description="What was done, in words.")
    calls_in_progress: int = Field(
        description="Calls being placed or talked on at that instant; they end by themselves."
    )


class DispatchAnswer(Answer):
    """What dispatching again found."""

    batch_id: str = Field(description="The batch, `btc_…`.")
    status: BatchStatus = Field(description="The status that it has now.")
    dispatched_count: int = Field(description="Pending contacts that were dispatched again.")
    message: str = Field(description="What was found and done, in words.")
    waiting_for: str | None = Field(
        description="The code of the reason that holds them now; null when nothing does."
    )


@router.post("/campaigns/{campaign_id}/pause", tags=["campaigns"])
async def pause_campaign(
    campaign_id: CampaignId, uses: Uses, caller: Caller
) -> CampaignChangeAnswer:
    """Start no call of this campaign until it is resumed; calls in progress go on."""
    return _campaign(await uses.lifecycle.pause_campaign(caller, campaign_id))


@router.post("/campaigns/{campaign_id}/resume", tags=["campaigns"])
async def resume_campaign(
    campaign_id: CampaignId, uses: Uses, caller: Caller
) -> CampaignChangeAnswer:
    """Go on with the campaign and the batches that were paused with it."""
    return _campaign(await uses.lifecycle.resume_campaign(caller, campaign_id))


@router.post("/campaigns/{campaign_id}/cancel", tags=["campaigns"])
async def cancel_campaign(
    campaign_id: CampaignId, uses: Uses, caller: Caller
) -> CampaignChangeAnswer:
    """End the campaign for good: contacts that still wait are skipped, calls in progress go on."""
    return _campaign(await uses.lifecycle.cancel_campaign(caller, campaign_id))


@router.post("/batches/{batch_id}/pause", tags=["batches"])
async def pause_batch(batch_id: BatchId, uses: Uses, caller: Caller) -> BatchChangeAnswer:
    """Start no call of this batch until it is resumed; calls in progress go on."""
    return _batch(await uses.lifecycle.pause_batch(caller, batch_id))


@router.post("/batches/{batch_id}/resume", tags=["batches"])
async def resume_batch(batch_id: BatchId, uses: Uses, caller: Caller) -> BatchChangeAnswer:
    """Go on with this batch; not while its campaign is paused."""
    return _batch(await uses.lifecycle.resume_batch(caller, batch_id))


@router.post("/batches/{batch_id}/cancel", tags=["batches"])
async def cancel_batch(batch_id: BatchId, uses: Uses, caller: Caller) -> BatchChangeAnswer:
    """End this batch for good: contacts that still wait are skipped, calls in progress go on."""
    return _batch(await uses.lifecycle.cancel_batch(caller, batch_id))


class SetBackRequest(Body):
    """Why numbers that were judged bad are not."""

    reason: str = Field(
        description="Why they may be called again, such as 'the trunk was unpaid'; kept for the"
        " record.",
        examples=["the trunk was unpaid"],
    )


class SetBackAnswer(Answer):
    """What setting back found."""

    batch_id: str = Field(description="The batch.")
    status: BatchStatus = Field(description="Its status now; a completed batch goes on.")
    contacts: int = Field(description="How many contacts are called again.")
    message: str = Field(description="The same in a sentence.")


@router.post("/batches/{batch_id}/set-back", tags=["batches"])
async def set_back_batch(
    batch_id: BatchId, body: SetBackRequest, uses: Uses, caller: Caller
) -> SetBackAnswer:
    """Call everybody again whose number was judged bad, because the set-up was wrong.

    They get the attempt back. A completed batch goes on; who and why is recorded.
    """
    done = await uses.set_back.set_back(caller, batch_id, reason=body.reason)
    what = "contact is" if done.contacts == 1 else "contacts are"
    return SetBackAnswer(
        batch_id=ids.batch_id(done.batch_id),
        status=done.status,
        contacts=done.contacts,
        message=f"{done.contacts} {what} called again"
        if done.contacts
        else "No contact of this batch was judged to have a bad number",
    )


@router.post("/batches/{batch_id}/dispatch", tags=["batches"])
async def dispatch_batch(batch_id: BatchId, uses: Uses, caller: Caller) -> DispatchAnswer:
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
