"""Sets a batch's contacts back whose numbers were judged as bad, at the word of a person.

A person knows that the set-up was wrong; what was judged of numbers is then taken back, and they
are called again. It is recorded who said so and why. It must never touch whoever was reached.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from apollo.core import ids
from apollo.core.states import CLOSED_BATCH, BatchStatus
from apollo.errors import Invalid, NotAllowedNow, NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import calls, carrier_gates, lifecycle
from apollo.storage.database import Connection, Database
from apollo.usecases.authenticate import Principal

_REASON_CHARS_MAX: Final = 500
_NOT_FOUND: Final = "Batch not found"


@dataclass(frozen=True, slots=True)
class BatchSetBack:
    """How many contacts of a batch are called again, and the status that leaves it in."""

    batch_id: uuid.UUID
    status: BatchStatus
    contacts: int


class SetContactsBack:
    """Takes back what was judged of numbers."""

    def __init__(self, *, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus

    async def set_back(self, principal: Principal, batch_id: str, *, reason: str) -> BatchSetBack:
        """Have every contact called again whose last call found a bad number.

        Raises Invalid, NotFound, NotAllowedNow.
        """
        why = reason.strip()
        if not 1 <= len(why) <= _REASON_CHARS_MAX:
            raise Invalid.field("reason", f"say why, in 1 to {_REASON_CHARS_MAX} characters")
        wanted = ids.parse_id("btc", batch_id)
        if wanted is None:
            raise NotFound(_NOT_FOUND)
        async with self._db.transaction() as connection:
            campaign_id = await self._lock(connection, principal, wanted)
            contacts = await carrier_gates.set_back_batch(connection, wanted)
            if contacts:
                now = await carrier_gates.read_clock(connection)
                await calls.reopen_batch(connection, wanted, now)
                await lifecycle.record_action(
                    connection,
                    organization_id=principal.organization_id,
                    campaign_id=campaign_id,
                    batch_id=wanted,
                    actor=principal.token_name,
                    action="contacts_set_back",
                    detail={"contacts": contacts, "reason": why},
                )
            (batch,) = await lifecycle.lock_batches(connection, campaign_id, wanted)
        if contacts:
            await self._bus.wake([WakeUp(campaign_id, Why.BATCH_DISPATCHED, wanted)])
        return BatchSetBack(wanted, batch.status, contacts)

    async def _lock(
        self, connection: Connection, principal: Principal, batch_id: uuid.UUID
    ) -> uuid.UUID:
        """Lock the batch's campaign and the batch; returns the campaign."""
        home = await lifecycle.find_batch(connection, batch_id)
        if home is None or home.organization_id != principal.organization_id:
            raise NotFound(_NOT_FOUND)
        campaign = await lifecycle.lock_campaign(connection, home.organization_id, home.campaign_id)
        if campaign is None:
            raise NotFound(_NOT_FOUND)
        (batch,) = await lifecycle.lock_batches(connection, home.campaign_id, batch_id)
        if campaign.is_cancelled or batch.status in CLOSED_BATCH:
            raise NotAllowedNow(
                f"the batch is {batch.status} for good; put the contacts into a new batch"
            )
        if batch.ends_at is not None and batch.ends_at <= campaign.read_at:
            raise NotAllowedNow("the batch's ends_at has passed; put the contacts into a new batch")
        return home.campaign_id
