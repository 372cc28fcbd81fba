"""What operators do beside pausing and cancelling: the big red button, settings, and prying.

Stops and their lifting go through the real use-case, as the command line has it. Settings are
written as the API would leave them. Who pries asks for what belongs to another organisation.
"""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

from tests.simulation.driver import SimDriver
from tests.simulation.engine import Blocked, MemoryDatabase
from tests.simulation.lifecycle_statements import STATEMENTS
from tests.simulation.loop import Process
from tests.simulation.world import TOLD, Clock, Command, ProcessWire, World

from apollo.bus.postgres import PostgresBus
from apollo.core import ids
from apollo.errors import DriverError, NotFound
from apollo.storage.database import Database
from apollo.usecases.authenticate import Principal
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.recover_calls import RecoverCalls
from apollo.usecases.stop_dialling import StopDialling

EVERYBODY: Final = "everybody"


class Desk:
    """An operator with a command line and the settings page."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process("desk")
        clock = Clock(world.loop, world.place.start)
        wire = ProcessWire(world, self.process)
        db = cast("Database", MemoryDatabase(world.server, STATEMENTS, wire))
        driver = SimDriver(world.provider, self.process)
        record = RecordCallEvents(db=db, deadlines=world.rules, wakes_by_notify=True)
        self._recover = RecoverCalls(
            db=db, driver=driver, clock=clock, record=record, deadlines=world.rules
        )
        self._stops = StopDialling(db=db, bus=PostgresBus(db, clock))

    async def stop(self, organization: str | None) -> None:
        """Stop one organisation, or everybody, until it is answered."""
        world, target = self.world, organization or EVERYBODY
        began = world.loop.time()
        done = await self._insist(lambda: self._stops.stop(organization))
        if done is None or world.lifted_at.get(target, -1.0) >= began:
            return  # a stop that met its lifting promises nothing
        at = world.loop.time()
        world.commands.append(Command("stop", target, at, done.calls_in_progress, frozenset()))

    async def resume(self, organization: str | None) -> None:
        """Lift a stop."""
        world, target = self.world, organization or EVERYBODY
        for command in world.commands:
            if command.target == target:
                command.until = min(command.until, world.loop.time())
        world.lifted_at[target] = float("inf")
        await self._insist(lambda: self._stops.resume(organization))
        world.lifted_at[target] = world.loop.time()

    async def _insist(self, work: Callable[[], Any]) -> Any:
        for _ in range(40):
            done = await self.world.in_process(self.process, work())
            if done is not None:
                return done
            await asyncio.sleep(TOLD)
        return None

    async def recover(self) -> None:
        """Read in what a restored database lacks, and let dialling go on."""
        world = self.world
        held_since = world.held_since()
        if held_since is not None and world.is_restored:
            asked_at = world.loop.time()
            if await self._insist(self._recover_once) is not None:
                world.held.append((held_since, asked_at))

    async def _recover_once(self) -> Any:
        try:
            # It says until when calls may be up that nothing shows, and is believed.
            if (await self._recover.run(confirm=False)).waits_until is not None:
                return None
            # Who has waited long enough dials on, whatever the look-ups are worth by then.
            return await self._recover.run(confirm=True, even_if_unsure=self.world.weather.is_calm)
        except DriverError:
            return None

    def has_stopped(self) -> list[str | None]:
        """Tell who is stopped; None: everybody."""
        tables = self.world.server.tables
        stopped: list[str | None] = [
            o["id"] for o in tables["organizations"].values() if o["dialling_stopped_at"]
        ]
        is_all = any(i["dialling_stopped_at"] for i in tables["installation"].values())
        return [*stopped, None] if is_all else stopped

    async def set(self, table: str, key: uuid.UUID, **columns: Any) -> None:
        """Change a setting of a campaign or a batch, under the campaign's lock."""
        world = self.world
        campaign_id = (
            key if table == "campaigns" else world.server.tables[table][key]["campaign_id"]
        )
        while True:
            transaction = world.server.begin()
            try:
                transaction.change("campaigns", campaign_id)
                transaction.change(table, key, **columns)
            except Blocked:
                transaction.end(commits=False)
                await asyncio.sleep(0.01)
                continue
            transaction.notices.append(str(campaign_id))
            world.note_limits(table, key, columns)
            transaction.end(commits=True)
            return

    async def pry(self, kind: str, target: uuid.UUID) -> None:
        """Ask for something of another organisation: there must be no such thing."""
        world = self.world
        process, changes = world.web, world.changes
        if not process.is_alive or changes is None:
            return
        tables = world.server.tables
        table = "campaigns" if target in tables["campaigns"] else "batches"
        owner = tables[table][target]["organization_id"]
        stranger = next((o for o in tables["organizations"] if o != owner), "org_nobody")
        name = f"{kind}_{'campaign' if table == 'campaigns' else 'batch'}"
        public = ids.campaign_id(target) if table == "campaigns" else ids.batch_id(target)
        ask = getattr(changes, name)(Principal(stranger, "stranger"), public)
        done = await world.in_process(process, ask)
        if done is not None and not isinstance(done, NotFound):
            world.intrusions.append(f"I12 {stranger} was answered to {name} of {owner}: {done!r}")
