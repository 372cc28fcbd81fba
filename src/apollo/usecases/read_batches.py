"""Shows batches, their contacts and their calls; the results as a file too.

Every answer is of one snapshot. Must never change anything, and never hold a transaction open while
a client reads.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import count, groupby
from operator import itemgetter
from typing import Final

from apollo.core import ids
from apollo.core.diagnosis import Diagnosis
from apollo.errors import Invalid, NotFound
from apollo.storage import batches, call_records, contacts
from apollo.storage.contacts import ContactFilter
from apollo.storage.database import Connection, Database, Record
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import (
    View,
    explanation,
    view_of_batch,
    view_of_call,
    view_of_call_on_its_own,
    view_of_contact,
)
from apollo.usecases.export_results import PAGE_ROWS, ResultsForm, ResultsSheet
from apollo.usecases.list_filters import Listed, ListFilter
from apollo.usecases.refused_rows import NOTHING_REFUSED, text_of

# Explains a batch of an organisation.
Diagnose = Callable[[str, uuid.UUID], Awaitable[Diagnosis]]


# What a call that is not over is shown as, and the states behind it.
_STATES: Final = {
    "queued": ("placing",),
    "trying": ("accepted", "unknown"),
    "ringing": ("ringing",),
    "in-progress": ("answered",),
}


class ReadBatches:
    """Shows batches, contacts and calls of the caller's organisation."""

    def __init__(self, *, db: Database, diagnose: Diagnose | None = None) -> None:
        self._db = db
        self._diagnose = diagnose

    async def batch(self, principal: Principal, batch_id: str) -> View:
        """Show one batch. Raises NotFound."""
        wanted = batch_key(batch_id)
        async with self._db.connection() as connection:
            found = await batches.read_batch(
                connection, organization_id=principal.organization_id, batch_id=wanted
            )
        if found is None:
            raise NotFound("Batch not found")
        return view_of_batch(found)

    async def batches(
        self, principal: Principal, wanted: ListFilter, *, campaign_id: str | None = None
    ) -> Listed:
        """Show batches; those of a campaign nobody knows are none. Raises Invalid."""
        campaign = None if campaign_id is None else ids.parse_id("cmp", campaign_id)
        if campaign is None and campaign_id is not None:
            return Listed([], 0 if wanted.with_total else None)
        async with self._db.transaction(snapshot=True) as connection:
            return await _page_of_batches(connection, principal, wanted, campaign)

    async def of_campaign(
        self, principal: Principal, campaign_id: str, wanted: ListFilter
    ) -> Listed:
        """Show the batches of one campaign. Raises NotFound, Invalid."""
        campaign = ids.parse_id("cmp", campaign_id)
        async with self._db.transaction(snapshot=True) as connection:
            found = campaign and await batches.read_campaign(
                connection, organization_id=principal.organization_id, campaign_id=campaign
            )
            if not found:
                raise NotFound("Campaign not found")
            return await _page_of_batches(connection, principal, wanted, campaign)

    async def contacts(
        self,
        principal: Principal,
        batch_id: str,
        wanted: ListFilter,
        *,
        with_calls: bool = False,
        explain: bool = False,
    ) -> Listed:
        """Show contacts in upload order. Raises NotFound, Invalid."""
        async with self._db.transaction(snapshot=True) as connection:
            batch = await find_batch(connection, principal, batch_id)
            rows, total = await _page_of_contacts(connection, batch["id"], wanted)
            calls = await _calls_of(connection, batch["id"], rows, every_call=with_calls)
        diagnosis = None
        if explain and self._diagnose is not None:
            diagnosis = await self._diagnose(principal.organization_id, batch["id"])
        shown = []
        for r in rows:
            own = calls.get(r["position"], [])
            view = view_of_contact(
                r, batch_id=batch["id"], campaign_id=batch["campaign_id"], calls=own
            )
            if with_calls:
                view["call_records"] = [view_of_call(call) for call in own]
            if diagnosis is not None:
                view |= explanation(r, diagnosis)
            shown.append(view)
        return Listed(shown, total)

    async def call(self, principal: Principal, execution_id: str) -> View:
        """Show one call with the variables its agent was given. Raises NotFound."""
        call_id = ids.parse_id("exec", execution_id)
        found = None
        if call_id is not None:
            async with self._db.connection() as connection:
                found = await call_records.read_call(
                    connection, organization_id=principal.organization_id, call_id=call_id
                )
        if found is None:
            raise NotFound("Call not found")
        return {
            **view_of_call_on_its_own(found),
            "agent_id": found["agent_id"],
            "variables": found["variables"],
            "call_context": found["call_context"],
        }

    async def calls(
        self, principal: Principal, wanted: ListFilter, *, batch_id: str | None
    ) -> list[View]:
        """Show the calls to a number, newest first, or those of a batch, in upload order."""
        if wanted.phone_number is None and batch_id is None:
            msg = "say whose calls: give phone_number, batch_id or both"
            raise Invalid.field("phone_number", msg, where="query")
        outcomes, states = _of_statuses(wanted.statuses)
        page = {
            "outcomes": outcomes,
            "states": states,
            "created_after": wanted.created_after,
            "created_before": wanted.created_before,
            "after": _after("exec", wanted.after),
            "skip": wanted.skip,
            "limit": wanted.limit,
        }
        async with self._db.transaction(snapshot=True) as connection:
            batch = None if batch_id is None else await find_batch(connection, principal, batch_id)
            if wanted.phone_number is not None:
                rows = await call_records.read_calls_to_number(
                    connection,
                    organization_id=principal.organization_id,
                    phone_number=wanted.phone_number,
                    batch_id=None if batch is None else batch["id"],
                    **page,
                )
            else:
                rows = await call_records.read_calls_of_batch(
                    connection,
                    organization_id=principal.organization_id,
                    batch_id=batch_key(batch_id or ""),
                    **page,
                )
        return [view_of_call_on_its_own(r) for r in rows]

    async def results(
        self,
        principal: Principal,
        batch_id: str,
        form: ResultsForm,
        wanted: ListFilter,
    ) -> AsyncIterator[bytes]:
        """Give the results as CSV, a page at a time. Raises NotFound, Invalid before all else."""
        async with self._db.transaction(snapshot=True) as connection:
            batch = await find_batch(connection, principal, batch_id)
            first = await contacts.read_stretch(
                connection, batch_id=batch["id"], wanted=ContactFilter(), after=0, length=PAGE_ROWS
            )
            last = await contacts.read_last_position(connection, batch["id"])
        sheet = ResultsSheet(batch["id"], form, first)
        return self._results_of(sheet, _of_contacts(wanted), last)

    async def _results_of(
        self, sheet: ResultsSheet, wanted: ContactFilter, last: int
    ) -> AsyncIterator[bytes]:
        yield sheet.header()
        for after in range(0, last, PAGE_ROWS):
            # A snapshot for each page: a transaction that waits for a slow reader would be ended
            # by the server, and until then keep it from tidying up after the dialler.
            async with self._db.transaction(snapshot=True) as connection:
                rows = await contacts.read_stretch(
                    connection,
                    batch_id=sheet.batch_id,
                    wanted=wanted,
                    after=after,
                    length=PAGE_ROWS,
                )
                calls = await _calls_of(connection, sheet.batch_id, rows, every_call=False)
            if rows:
                yield sheet.lines(rows, calls)

    async def rejected(self, principal: Principal, batch_id: str) -> AsyncIterator[bytes]:
        """Give the rows that were left out, as CSV, a page at a time. Raises NotFound at once."""
        async with self._db.connection() as connection:
            batch = await find_batch(connection, principal, batch_id)
        return self._rejected_of(batch["id"])

    async def _rejected_of(self, batch_id: uuid.UUID) -> AsyncIterator[bytes]:
        for page in count():
            async with self._db.connection() as connection:
                rows = await batches.read_refused_rows(connection, batch_id=batch_id, page=page)
            if rows is None:
                if page == 0:
                    yield NOTHING_REFUSED
                return
            yield text_of(rows)


def batch_key(batch_id: str) -> uuid.UUID:
    """Read a batch's public id. Raises NotFound, as for a batch that does not exist."""
    key = ids.parse_id("btc", batch_id)
    if key is None:
        raise NotFound("Batch not found")
    return key


async def find_batch(connection: Connection, principal: Principal, batch_id: str) -> Record:
    """Find a batch of the caller's organisation. Raises NotFound."""
    found = await batches.find_batch(
        connection, organization_id=principal.organization_id, batch_id=batch_key(batch_id)
    )
    if found is None:
        raise NotFound("Batch not found")
    return found


async def _calls_of(
    connection: Connection, batch_id: uuid.UUID, rows: Sequence[Record], *, every_call: bool
) -> Mapping[int, list[Record]]:
    positions = [r["position"] for r in rows if r["last_attempted_at"] is not None]
    if not positions:
        return {}
    read = (
        call_records.read_calls_of_contacts
        if every_call
        else call_records.read_last_calls_of_contacts
    )
    calls = await read(connection, batch_id=batch_id, positions=positions)
    at_position = itemgetter("position")
    return {at: list(own) for at, own in groupby(calls, at_position)}


async def _page_of_batches(
    connection: Connection,
    principal: Principal,
    wanted: ListFilter,
    campaign_id: uuid.UUID | None,
) -> Listed:
    rows, total = await batches.read_batches(
        connection,
        organization_id=principal.organization_id,
        campaign_id=campaign_id,
        limit=wanted.limit,
        **wanted.columns(_after("btc", wanted.after)),
    )
    return Listed([view_of_batch(r) for r in rows], total)


async def _page_of_contacts(
    connection: Connection, batch_id: uuid.UUID, wanted: ListFilter
) -> tuple[list[Record], int | None]:
    behind = 0
    if wanted.after is not None:
        key = ids.parse_contact_id(wanted.after)
        if key is None or key.batch_id != batch_id:
            raise _unknown_after()
        behind = key.position
    filters = _of_contacts(wanted)
    total = None
    if wanted.with_total:
        total = await contacts.count_filtered(connection, batch_id=batch_id, wanted=filters)
    if filters == ContactFilter():
        # Positions have no holes: a page is a range, whatever its depth.
        rows = await contacts.read_page(
            connection, batch_id=batch_id, skip=behind + wanted.skip, limit=wanted.limit
        )
        return rows, total
    rows = await contacts.read_page_filtered(
        connection,
        batch_id=batch_id,
        after=behind,
        skip=wanted.skip,
        limit=wanted.limit,
        wanted=filters,
    )
    return rows, total


def _of_contacts(wanted: ListFilter) -> ContactFilter:
    return ContactFilter(
        statuses=wanted.statuses,
        phone_number=wanted.phone_number,
        updated_since=wanted.updated_since,
    )


def _after(prefix: str, given: str | None) -> uuid.UUID | None:
    if given is None:
        return None
    key = ids.parse_id(prefix, given)
    if key is None:
        raise _unknown_after()
    return key


def _unknown_after() -> Invalid:
    msg = "is not an id of this list; give the last id of the page before"
    return Invalid.field("after", msg, where="query")


def _of_statuses(statuses: list[str] | None) -> tuple[list[str] | None, list[str] | None]:
    """Split what calls are shown as into the outcomes and states behind it."""
    if statuses is None:
        return None, None
    outcomes = [one.replace("-", "_") for one in statuses if one not in _STATES]
    return outcomes, [state for one in statuses for state in _STATES.get(one, ())]
