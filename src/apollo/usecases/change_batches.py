"""Changes what may be changed while a batch lives: its limits, its end, its metadata.

Must never touch a batch's status; that is the business of its lifecycle.
"""

from collections.abc import Mapping
from typing import Any

from apollo.core.states import LIVE_BATCH
from apollo.core.windows import local_start
from apollo.errors import Invalid, NotAllowedNow
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import batches
from apollo.storage.database import Database
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View, view_of_batch
from apollo.usecases.check_contacts import check_object
from apollo.usecases.create_batches import (
    wake,
)
from apollo.usecases.read_batches import find_batch


class ChangeBatches:
    """Changes live batches."""

    def __init__(self, *, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus

    async def change(self, principal: Principal, batch_id: str, changes: Mapping[str, Any]) -> View:
        """Replace the given ones of concurrency_limit, max_retries_override, ends_at, metadata.

        It holds from the next claim on. Raises NotFound, Invalid, NotAllowedNow.
        """
        check_object("metadata", changes.get("metadata") or {})
        async with self._db.transaction() as connection:
            found = await find_batch(connection, principal, batch_id)
            campaign = await batches.lock_campaign(connection, found["campaign_id"])
            batch = await batches.lock_batch(connection, found["id"])
            if batch["status"] not in LIVE_BATCH:
                msg = f"the batch is {batch['status']}; only a live batch can be changed"
                raise NotAllowedNow(msg)
            now = campaign["read_at"]
            changes = dict(changes)
            if changes.get("ends_at") is not None:
                ends_at = local_start(changes["ends_at"], campaign["timezone"], field="ends_at")
                if ends_at <= max(now, batch["scheduled_start"] or now):
                    msg = "must be after the start and in the future; to end the batch now, cancel"
                    raise Invalid.field("ends_at", msg)
                changes["ends_at"] = ends_at
            if changes:
                await batches.change_batch(connection, batch["id"], changes, now=now)
                await batches.record_action(
                    connection,
                    organization_id=principal.organization_id,
                    campaign_id=batch["campaign_id"],
                    batch_id=batch["id"],
                    actor=principal.token_name,
                    action="batch_changed",
                    detail={"changed": sorted(changes)},
                    now=now,
                )
            changed = await batches.read_batch(
                connection, organization_id=principal.organization_id, batch_id=batch["id"]
            )
            if changed is None:
                raise LookupError("the batch is locked above")
        await wake(self._bus, WakeUp(batch["campaign_id"], Why.BATCH_CHANGED, batch["id"]))
        return view_of_batch(changed)
