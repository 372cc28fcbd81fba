"""The big red button: no claim anywhere, or for one organisation, until it is lifted.

Owns the installation's and the organisations' stop flags. It ends no call and changes no batch:
lifting it goes on exactly where dialling stood.
"""

import os
from dataclasses import dataclass

from apollo.core import ids
from apollo.errors import NotFound
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import agents, lifecycle
from apollo.storage.database import Database
from apollo.usecases.authenticate import organization_id_of


@dataclass(frozen=True, slots=True)
class DiallingStopped:
    """What was stopped, and how many calls are still open."""

    organization_id: str | None
    calls_in_progress: int


@dataclass(frozen=True, slots=True)
class DiallingResumed:
    """What may dial again, and the campaigns that were woken for it."""

    organization_id: str | None
    campaign_ids: list[str]


class StopDialling:
    """Stops dialling and lifts the stop."""

    def __init__(self, *, db: Database, bus: Bus) -> None:
        self._db = db
        self._bus = bus

    async def stop(
        self, organization: str | None = None, *, actor: str = "operator"
    ) -> DiallingStopped:
        """Stop claims of one organisation, or all (None). Raises NotFound, Invalid."""
        organization_id = await self._set(organization, is_stopped=True, actor=actor)
        # A claim that read the flag just before may still commit; it is over in milliseconds.
        async with self._db.connection() as connection:
            open_calls = await lifecycle.count_calls_of(connection, organization_id)
        return DiallingStopped(organization_id, open_calls)

    async def resume(
        self, organization: str | None = None, *, actor: str = "operator"
    ) -> DiallingResumed:
        """Lift the stop of one organisation, or the installation's (None), and wake the dialler.

        Raises NotFound, Invalid.
        """
        organization_id = await self._set(organization, is_stopped=False, actor=actor)
        async with self._db.connection() as connection:
            woken = await lifecycle.wakeable_campaigns(connection, organization_id)
        await self._bus.wake([WakeUp(one, Why.DIALLING_RESUMED) for one in woken])
        return DiallingResumed(organization_id, [ids.campaign_id(one) for one in woken])

    async def _set(self, organization: str | None, *, is_stopped: bool, actor: str) -> str | None:
        organization_id = None if organization is None else organization_id_of(organization)
        async with self._db.transaction() as connection:
            # The installation's row is made on first use, with the secret it must have.
            await agents.agent_key_secret(connection, fresh=os.urandom(32))
            changed = await lifecycle.set_dialling_stopped(
                connection,
                organization_id,
                is_stopped=is_stopped,
                actor=actor,
            )
        if not changed:
            raise NotFound(f"Organisation {organization_id} not found")
        return organization_id
