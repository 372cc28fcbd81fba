"""More calls out of what there is: contacts added to a batch, some called again, one test call.

Every one of them is an ordinary contact of an ordinary batch, under the same hours, limits and
protocol as all others.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.core.list_rows import GivenContact
from apollo.core.states import LIVE_BATCH, ContactStatus
from apollo.errors import Invalid, NotAllowedNow
from apollo.ports import Bus, WakeUp, Why
from apollo.storage import batches, contacts
from apollo.storage import repeats as storage
from apollo.storage.database import Connection, Database, Record
from apollo.usecases.authenticate import Principal
from apollo.usecases.avoid_repeats import Place, leave_out_repeats
from apollo.usecases.batch_views import View
from apollo.usecases.check_contacts import REJECTED_SHOWN_MAX, Intake, OnDuplicate
from apollo.usecases.create_batches import (
    CreateBatches,
    OnCreated,
    copy_contacts,
    take_in,
    wake,
)
from apollo.usecases.read_batches import find_batch
from apollo.usecases.wanted_batches import NewBatch, reach_of_campaign, repeats_of, rules_of

# They are checked and written under the campaign's lock: some hundred milliseconds of its claims.
ADDED_MAX: Final = 10_000
_PAGE_ROWS: Final = 2_000
# What a new batch can be made of: nobody who is still to be called, or on a call.
RERUN: Final = (
    ContactStatus.NO_ANSWER,
    ContactStatus.BUSY,
    ContactStatus.FAILED,
    ContactStatus.MAX_RETRIES_REACHED,
    ContactStatus.SKIPPED,
    ContactStatus.COMPLETED,
)


class ExtendBatches:
    """Adds contacts, makes batches of some contacts of another, places test calls."""

    def __init__(self, *, db: Database, bus: Bus, create: CreateBatches) -> None:
        self._db = db
        self._bus = bus
        self._create = create

    async def add(
        self,
        principal: Principal,
        batch_id: str,
        wanted: NewBatch,
        given: Iterable[GivenContact],
        *,
        on_created: OnCreated | None = None,
    ) -> View:
        """Append contacts to a live batch; returns how many, their ids and what was left out.

        `wanted` says how rows are checked; its campaign is the batch's. Raises Refused, adding
        nothing.
        """
        repeats = repeats_of(wanted)
        async with self._db.connection() as connection:
            found = await find_batch(connection, principal, batch_id)
        wanted = replace(wanted, campaign_id=ids.campaign_id(found["campaign_id"]))
        campaign = await self._create.open_campaign(principal, wanted)
        with Intake(rules_of(wanted, reach_of_campaign(campaign), rows_are="contacts")) as intake:
            await take_in(intake, given, None)
            if intake.accepted + intake.rejected_count > ADDED_MAX:
                msg = f"at most {ADDED_MAX} at a time; more are a batch of their own"
                raise Invalid.field("contacts", msg)
            intake.close_books()
            async with self._db.transaction() as connection:
                campaign, batch = await _locked(connection, found)
                now, last = campaign["read_at"], batch["total_contacts"]
                place = Place(principal.organization_id, campaign["id"], batch["id"])
                if wanted.on_duplicate is OnDuplicate.SKIP:
                    await _leave_out_own(connection, intake, place)
                await leave_out_repeats(connection, intake, repeats, place)
                await batches.grow_batch(
                    connection,
                    batch["id"],
                    added=intake.accepted,
                    rejected=intake.rejected[: REJECTED_SHOWN_MAX - batch["rejected_shown"]],
                    rejected_count=intake.rejected_count,
                    now=now,
                )
                await copy_contacts(connection, batch["id"], intake, now, None, behind=last)
                detail = {"added": intake.accepted, "rejected": intake.rejected_count}
                await _record(connection, principal, place, "contacts_added", detail, now)
                answer = _added(place, last, intake)
                if on_created is not None:
                    await on_created(connection, answer)
        await wake(self._bus, WakeUp(place.campaign_id, Why.BATCH_CHANGED, place.batch_id))
        return answer

    async def rerun(
        self,
        principal: Principal,
        batch_id: str,
        statuses: Collection[ContactStatus],
        wanted: NewBatch,
        *,
        on_created: OnCreated | None = None,
    ) -> View:
        """Make a batch of those contacts of another that ended so; returns it. Raises Refused.

        What `wanted` leaves out of call_context and metadata is the other batch's.
        """
        async with self._db.connection() as connection:
            found = await find_batch(connection, principal, batch_id)
            source = await batches.read_batch(
                connection, organization_id=principal.organization_id, batch_id=found["id"]
            )
        if source is None:
            raise LookupError("a batch is never removed")
        wanted = replace(
            wanted,
            campaign_id=ids.campaign_id(found["campaign_id"]),
            call_context=wanted.call_context or source["call_context"],
            metadata={**source["metadata"], **wanted.metadata, "rerun_of": batch_id},
        )
        pages = self._pages(found["id"], frozenset(statuses))
        return await self._create.from_pages(principal, wanted, pages, on_created=on_created)

    async def test_call(
        self,
        principal: Principal,
        wanted: NewBatch,
        contact: GivenContact,
        *,
        on_created: OnCreated | None = None,
    ) -> View:
        """Make a batch of one person, called once; returns it with the contact's id."""
        wanted = replace(
            wanted,
            max_retries_override=0,
            on_duplicate=OnDuplicate.KEEP,
            metadata={**wanted.metadata, "test_call": True},
        )

        def shown(batch: View) -> View:
            key = ids.parse_id("btc", batch["batch_id"])
            if key is None:
                raise LookupError("the batch was shown a moment ago")
            return {
                "batch_id": batch["batch_id"],
                "contact_id": ids.contact_id(ContactKey(key, 1)),
                "campaign_id": batch["campaign_id"],
                "batch_status": batch["status"],
            }

        async def remember(connection: Connection, batch: View) -> None:
            if on_created is not None:
                await on_created(connection, shown(batch))

        created = await self._create.from_contacts(
            principal, wanted, [contact], on_created=remember
        )
        return shown(created)

    async def _pages(
        self, batch_id: Any, statuses: frozenset[ContactStatus]
    ) -> AsyncIterator[Sequence[GivenContact]]:
        position = 0
        while True:
            async with self._db.connection() as connection:
                rows = await contacts.read_page(
                    connection, batch_id=batch_id, skip=position, limit=_PAGE_ROWS
                )
            if not rows:
                return
            position = rows[-1]["position"]
            yield [
                GivenContact(r["position"], r["phone_number"], r["call_variables"])
                for r in rows
                if r["status"] in statuses
            ]


async def _locked(connection: Connection, found: Record) -> tuple[Record, Record]:
    campaign = await batches.lock_campaign(connection, found["campaign_id"])
    batch = await batches.lock_batch(connection, found["id"])
    if campaign["cancelled_at"] is not None or batch["status"] not in LIVE_BATCH:
        msg = f"the batch is {batch['status']}; put the contacts into a new batch"
        raise NotAllowedNow(msg)
    return campaign, batch


async def _leave_out_own(connection: Connection, intake: Intake, place: Place) -> None:
    async def own(numbers: Sequence[str]) -> Mapping[int, str]:
        found = await storage.find_numbers_of_batch(connection, numbers, place.batch_id)
        return {nth - 1: "the same number came before in this batch" for nth in found}

    await intake.leave_out(own)


def _added(place: Place, last: int, intake: Intake) -> View:
    first = ids.contact_id(ContactKey(place.batch_id, last + 1))
    return {
        "batch_id": ids.batch_id(place.batch_id),
        "added": intake.accepted,
        "total_contacts": last + intake.accepted,
        "first_contact_id": first,
        "last_contact_id": ids.contact_id(ContactKey(place.batch_id, last + intake.accepted)),
        "rejected": intake.rejected,
        "rejected_count": intake.rejected_count,
    }


async def _record(
    connection: Connection,
    principal: Principal,
    place: Place,
    action: str,
    detail: Mapping[str, Any],
    now: Any,
) -> None:
    await batches.record_action(
        connection,
        organization_id=principal.organization_id,
        campaign_id=place.campaign_id,
        batch_id=place.batch_id,
        actor=principal.token_name,
        action=action,
        detail=detail,
        now=now,
    )
