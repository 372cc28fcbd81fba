"""What routes about batches and calls may ask for, and how they get it.

Owns the way from the wiring to these routes. Must never know a path.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from apollo.usecases.change_batches import ChangeBatches
from apollo.usecases.create_batches import CreateBatches
from apollo.usecases.read_batches import ReadBatches
from apollo.usecases.schedule_follow_ups import ScheduleFollowUps
from apollo.web.idempotency import json_answer


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchUseCases:
    """The use-cases about batches, besides their lifecycle."""

    create: CreateBatches
    read: ReadBatches
    change: ChangeBatches
    follow_ups: ScheduleFollowUps


def serving(uses: BatchUseCases, *routers: APIRouter) -> APIRouter:
    """Give routers whose routes find these use-cases."""

    async def provide(request: Request) -> None:
        request.state.batch_use_cases = uses

    served = APIRouter(dependencies=[Depends(provide)])
    for router in routers:
        served.include_router(router)
    return served


def _batch_use_cases(request: Request) -> BatchUseCases:
    found: BatchUseCases = request.state.batch_use_cases
    return found


BatchUses = Annotated[BatchUseCases, Depends(_batch_use_cases)]


def answered(view: Any) -> Response:
    """Answer with what a use-case gave."""
    return json_answer(msgspec.json.encode(view), 200)
