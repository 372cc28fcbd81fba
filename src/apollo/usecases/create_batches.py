"""Creates batches: from the rows of a request, or from the bytes of a CSV file as they come in.

Everything is checked before anything is locked, and written in one transaction that holds the
campaign's lock only at its end, so that ten million rows neither stop the campaign's other batches
nor leave anything behind when they fail. Must never answer before the batch is committed.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final

from apollo.core import ids
from apollo.core.list_rows import GivenContact
from apollo.core.states import BatchStatus, PausedBy
from apollo.core.windows import local_start
from apollo.errors import Invalid, NotAllowedNow, NotFound, Unavailable
from apollo.ports import AgentRoute, Bus, WakeUp, Why
from apollo.storage import batches
from apollo.storage.database import Connection, Database, Record
from apollo.storage.repeats import lock_uploads
from apollo.usecases.authenticate import Principal
from apollo.usecases.avoid_repeats import (
    Place,
    Repeats,
    leave_out_repeats,
    skip_what_came_meanwhile,
)
from apollo.usecases.batch_views import View, view_of_batch
from apollo.usecases.check_contacts import (
    Across,
    Intake,
    OnInvalid,
    check_object,
)
from apollo.usecases.read_lists import ListReader
from apollo.usecases.wanted_batches import NewBatch, repeats_of, rules_for

# Checking a number costs about 30 µs: the event loop is never kept for more than a millisecond or
# two, so webhooks and dialling go on beside an upload. (A thread would cost them up to 5 ms each.)
_ROWS_BEFORE_OTHERS: Final = 64

# Long enough that PostgreSQL writes while we encode, short enough to be done within a second or
# two: the database's time limit is for each.
_CONTACTS_PER_COPY: Final = 50_000

# Of an agent, as an organisation means it.
RouteOf = Callable[[str, str], Awaitable[AgentRoute | None]]
# Writes an answer down in the transaction that makes it true (for requests that may be repeated).
OnCreated = Callable[[Connection, View], Awaitable[None]]
# Called now and then while a large batch is checked and written; cheap, or it is the caller's loss.
Keep = Callable[[], Awaitable[None]]


class CreateBatches:
    """Creates batches."""

    def __init__(self, *, db: Database, bus: Bus, route_of: RouteOf) -> None:
        self._db = db
        self._bus = bus
        self._route_of = route_of

    async def from_contacts(
        self,
        principal: Principal,
        wanted: NewBatch,
        contacts: Iterable[GivenContact],
        *,
        on_created: OnCreated | None = None,
        keep: Keep | None = None,
    ) -> View:
        """Create a batch from rows; gives the batch object. Raises Refused, creating nothing.

        A dry run creates nothing either, and gives what would be taken.
        """
        repeats = repeats_of(wanted)
        campaign = await self.open_campaign(principal, wanted)
        times = _times(wanted, campaign)
        with Intake(rules_for(wanted, campaign, rows_are="contacts")) as intake:
            await take_in(intake, contacts, keep)
            if wanted.dry_run:
                place = Place(principal.organization_id, campaign["id"], uuid.uuid4())
                return await self._trial(wanted, intake, repeats, place, {"format": "json"})
            intake.close_books()
            return await self._load(
                principal, wanted, campaign["id"], times, intake, repeats, on_created, keep
            )

    async def from_csv(
        self,
        principal: Principal,
        wanted: NewBatch,
        pieces: AsyncIterator[bytes],
        *,
        on_created: OnCreated | None = None,
        keep: Keep | None = None,
    ) -> View:
        """Create a batch from a CSV file or a workbook in pieces; gives the batch object.

        A dry run creates nothing, and gives what would be taken and how the file is read.
        Raises Refused, creating nothing. No connection is held while the file comes in.
        """
        repeats = repeats_of(wanted)
        campaign = await self.open_campaign(principal, wanted)
        times = _times(wanted, campaign)
        reader = ListReader(wanted.columns, wanted.sheet)
        rules = rules_for(wanted, campaign, rows_are="rows")
        with contextlib.closing(reader), Intake(rules) as intake:
            async for piece in pieces:
                await take_in(intake, reader.feed(piece), keep)
            async for rows in reader.finish():
                await take_in(intake, rows, keep)
            if wanted.dry_run:
                place = Place(principal.organization_id, campaign["id"], uuid.uuid4())
                return await self._trial(wanted, intake, repeats, place, reader.reading())
            intake.close_books()
            return await self._load(
                principal, wanted, campaign["id"], times, intake, repeats, on_created, keep
            )

    async def from_pages(
        self,
        principal: Principal,
        wanted: NewBatch,
        pages: AsyncIterator[Sequence[GivenContact]],
        *,
        on_created: OnCreated | None = None,
    ) -> View:
        """Create a batch from contacts that are read page by page. Raises Refused."""
        repeats = repeats_of(wanted)
        campaign = await self.open_campaign(principal, wanted)
        times = _times(wanted, campaign)
        with Intake(rules_for(wanted, campaign, rows_are="contacts")) as intake:
            async for page in pages:
                await take_in(intake, page, None)
            intake.close_books()
            return await self._load(
                principal, wanted, campaign["id"], times, intake, repeats, on_created, None
            )

    async def _trial(
        self, wanted: NewBatch, intake: Intake, repeats: Repeats, place: Place, reading: View
    ) -> View:
        """Say what a batch would take and leave out, and whether it would be refused."""
        refusal = None
        try:
            intake.close_books()
            async with self._db.connection() as connection:
                await leave_out_repeats(connection, intake, repeats, place)
        except Invalid as fault:
            refusal = fault.errors[0].msg
        if intake.invalid and wanted.on_invalid is OnInvalid.REJECT:
            refusal = refusal or "there are bad rows; correct them, or send on_invalid=skip"
        return {
            "dry_run": True,
            "campaign_id": wanted.campaign_id,
            "would_be_refused": refusal,
            "total_contacts": intake.accepted,
            "rejected": intake.rejected,
            "rejected_count": intake.rejected_count,
            "read_as": reading,
            "warnings": intake.elsewhere.warnings(),
        }

    async def open_campaign(self, principal: Principal, wanted: NewBatch) -> Record:
        """Read the campaign of a new batch. Raises NotFound, NotAllowedNow, Invalid."""
        check_object("call_context", wanted.call_context)
        check_object("metadata", wanted.metadata)
        campaign_id = ids.parse_id("cmp", wanted.campaign_id)
        if campaign_id is None:
            raise NotFound("Campaign not found")
        async with self._db.connection() as connection:
            campaign = await batches.read_campaign(
                connection, organization_id=principal.organization_id, campaign_id=campaign_id
            )
        if campaign is None:
            raise NotFound("Campaign not found")
        _check_not_cancelled(campaign)
        agent_id = campaign["agent_id"]
        if await self._route_of(agent_id, principal.organization_id) is None:
            msg = (
                f"the campaign's agent {agent_id!r} is not registered, so its calls would reach"
                f" nobody; register it with: apollo agent set {agent_id} --call-hook URL"
                " (or --application-sid SID), or set APOLLO_DEFAULT_CALL_HOOK"
            )
            raise Invalid.field("agent_id", msg)
        return campaign

    async def _load(
        self,
        principal: Principal,
        wanted: NewBatch,
        campaign_id: uuid.UUID,
        times: tuple[datetime | None, datetime | None],
        intake: Intake,
        repeats: Repeats,
        on_created: OnCreated | None,
        keep: Keep | None,
    ) -> View:
        batch_id = uuid.uuid4()
        starts_at, ends_at = times
        async with self._db.transaction() as connection:
            place = Place(principal.organization_id, campaign_id, batch_id)
            seen = await leave_out_repeats(connection, intake, repeats, place, keep)
            row = {
                "id": batch_id,
                "organization_id": principal.organization_id,
                "campaign_id": campaign_id,
                "total_contacts": intake.accepted,
                "concurrency_limit": wanted.concurrency_limit,
                "max_retries_override": wanted.max_retries_override,
                "scheduled_start": starts_at,
                "ends_at": ends_at,
                "call_context": wanted.call_context,
                "metadata": wanted.metadata,
                "rejected": intake.rejected,
                "rejected_count": intake.rejected_count,
            }
            now = await batches.insert_batch(connection, row)
            await copy_contacts(connection, batch_id, intake, now, keep)
            # Only now, because copying may take a minute: nobody can see, let alone lock, the new
            # batch, so taking the campaign after it cannot close a circle.
            if repeats.across is Across.ORGANIZATION:
                await lock_uploads(connection, principal.organization_id)
            campaign = await batches.lock_campaign(connection, campaign_id)
            if campaign["deleted_at"] is not None:
                raise NotFound("Campaign not found")
            _check_not_cancelled(campaign)
            now = campaign["read_at"]
            is_ahead = starts_at is not None and starts_at > now
            await skip_what_came_meanwhile(connection, repeats, place, seen)
            await begin_batch(connection, campaign, batch_id, is_ahead=is_ahead, now=now)
            answer = await _record_and_show(connection, principal, row, now)
            answer |= {"warnings": intake.elsewhere.warnings()}
            if on_created is not None:
                await on_created(connection, answer)
        await wake(self._bus, WakeUp(campaign_id, Why.BATCH_CREATED, batch_id))
        return answer


def _times(wanted: NewBatch, campaign: Record) -> tuple[datetime | None, datetime | None]:
    """Return when the batch starts and ends, judged by the database's clock. Raises Invalid."""
    starts_at = ends_at = None
    if wanted.scheduled_start is not None:
        starts_at = local_start(wanted.scheduled_start, campaign["timezone"])
    if wanted.ends_at is not None:
        ends_at = local_start(wanted.ends_at, campaign["timezone"], field="ends_at")
        now = campaign["read_at"]
        if ends_at <= max(now, starts_at or now):
            msg = "must be after the start; a batch that has ended calls nobody"
            raise Invalid.field("ends_at", msg)
    return starts_at, ends_at


async def _record_and_show(
    connection: Connection,
    principal: Principal,
    row: Mapping[str, Any],
    now: datetime,
) -> View:
    await batches.record_action(
        connection,
        organization_id=principal.organization_id,
        campaign_id=row["campaign_id"],
        batch_id=row["id"],
        actor=principal.token_name,
        action="batch_created",
        detail={"contacts": row["total_contacts"], "rejected": row["rejected_count"]},
        now=now,
    )
    created = await batches.read_batch(
        connection, organization_id=principal.organization_id, batch_id=row["id"]
    )
    if created is None:
        raise LookupError("the batch was inserted in this transaction")
    return view_of_batch(created)


async def begin_batch(
    connection: Connection, campaign: Record, batch_id: uuid.UUID, *, is_ahead: bool, now: datetime
) -> None:
    """Give a new batch the status in which it begins under its locked campaign.

    A paused campaign keeps it paused, unless the campaign had ended: then it begins anew.
    """
    campaign_id = campaign["id"]
    is_paused = campaign["paused_at"] is not None
    if is_paused and await batches.is_new_life(
        connection, campaign_id=campaign_id, batch_id=batch_id
    ):
        await batches.forget_pause(connection, campaign_id, now)
        is_paused = False
    status = BatchStatus.PENDING if is_ahead else BatchStatus.IN_PROGRESS
    await batches.settle_batch(
        connection,
        batch_id=batch_id,
        status=BatchStatus.PAUSED if is_paused else status,
        paused_by=PausedBy.CAMPAIGN if is_paused else None,
        now=now,
    )


async def wake(bus: Bus, wake_up: WakeUp) -> None:
    """Wake the diallers after a commit; if that fails, their sweep finds the work."""
    # What was committed stands: an error here would only make the client ask a second time.
    with contextlib.suppress(Unavailable):
        await bus.wake([wake_up])


def _check_not_cancelled(campaign: Record) -> None:
    if campaign["cancelled_at"] is not None:
        raise NotAllowedNow("the campaign is cancelled for good; create a new campaign")


async def take_in(intake: Intake, contacts: Iterable[GivenContact], keep: Keep | None) -> None:
    """Check contacts one by one, letting others work in between."""
    for nth, contact in enumerate(contacts, 1):
        intake.add(contact)
        if nth % _ROWS_BEFORE_OTHERS == 0:
            await asyncio.sleep(0)
            if keep is not None:
                await keep()


async def copy_contacts(
    connection: Connection,
    batch_id: uuid.UUID,
    intake: Intake,
    now: datetime,
    keep: Keep | None,
    *,
    behind: int = 0,
) -> None:
    """Write what was accepted behind a position, and keep what was refused."""
    await batches.copy_refused_rows(connection, batch_id, intake.refused.pages())
    contacts = ((c.phone_number, c.call_variables) for c in chain.from_iterable(intake.frames()))
    for first in range(1, intake.accepted + 1, _CONTACTS_PER_COPY):
        await batches.copy_contacts(
            connection,
            batch_id=batch_id,
            first_position=behind + first,
            contacts=islice(contacts, _CONTACTS_PER_COPY),
            now=now,
        )
        if keep is not None:
            await keep()
