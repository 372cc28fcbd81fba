"""Shows batches, their contacts and their calls; the results as a file too.

Every answer is of one snapshot. Must never change anything, and never hold a transaction open while
a client reads.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from apollo.core import ids
from apollo.core.diagnosis import Diagnosis
from apollo.core.numbers import parse_number
from apollo.core.states import BatchStatus, ContactStatus
from apollo.errors import Invalid, NotFound
from apollo.storage import batches, call_records, contacts
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
from apollo.usecases.export_results import PAGE_ROWS, header_line, lines_of

# Explains a batch of an organisation.
Diagnose = Callable[[str, uuid.UUID], Awaitable[Diagnosis]]


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
        self,
        principal: Principal,
        *,
        campaign_id: str | None = None,
        status: BatchStatus | None = None,
        skip: int = 0,
        limit: int = 50,
    ) -> list[View]:
        """Show batches, newest first; those of a campaign nobody knows are none."""
        campaign = None if campaign_id is None else ids.parse_id("cmp", campaign_id)
        if campaign is None and campaign_id is not None:
            return []
        async with self._db.connection() as connection:
            rows = await batches.read_batches(
                connection,
                organization_id=principal.organization_id,
                campaign_id=campaign,
                status=status,
                skip=skip,
                limit=limit,
            )
        return [view_of_batch(r) for r in rows]

    async def of_campaign(
        self,
        principal: Principal,
        campaign_id: str,
        *,
        status: BatchStatus | None = None,
        skip: int = 0,
        limit: int = 50,
    ) -> list[View]:
        """Show the batches of one campaign, newest first. Raises NotFound."""
        campaign = ids.parse_id("cmp", campaign_id)
        async with self._db.transaction(snapshot=True) as connection:
            found = campaign and await batches.read_campaign(
                connection, organization_id=principal.organization_id, campaign_id=campaign
            )
            if not found:
                raise NotFound("Campaign not found")
            rows = await batches.read_batches(
                connection,
                organization_id=principal.organization_id,
                campaign_id=campaign,
                status=status,
                skip=skip,
                limit=limit,
            )
        return [view_of_batch(r) for r in rows]

    async def contacts(
        self,
        principal: Principal,
        batch_id: str,
        *,
        status: ContactStatus | None = None,
        skip: int = 0,
        limit: int = 100,
        with_calls: bool = False,
        explain: bool = False,
    ) -> list[View]:
        """Show contacts in upload order. Raises NotFound."""
        async with self._db.transaction(snapshot=True) as connection:
            batch = await find_batch(connection, principal, batch_id)
            rows = await contacts.read_page(
                connection, batch_id=batch["id"], status=status, skip=skip, limit=limit
            )
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
        return shown

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
        self,
        principal: Principal,
        *,
        phone_number: str | None,
        batch_id: str | None,
        skip: int = 0,
        limit: int = 100,
    ) -> list[View]:
        """Show the calls to a number, newest first, or those of a batch, in upload order."""
        if phone_number is None and batch_id is None:
            msg = "say whose calls: give phone_number, batch_id or both"
            raise Invalid.field("phone_number", msg, where="query")
        number = None if phone_number is None else _number_in_query(phone_number)
        async with self._db.transaction(snapshot=True) as connection:
            batch = None if batch_id is None else await find_batch(connection, principal, batch_id)
            if number is not None:
                rows = await call_records.read_calls_to_number(
                    connection,
                    organization_id=principal.organization_id,
                    phone_number=number,
                    batch_id=None if batch is None else batch["id"],
                    skip=skip,
                    limit=limit,
                )
            else:
                rows = await call_records.read_calls_of_batch(
                    connection,
                    organization_id=principal.organization_id,
                    batch_id=batch_key(batch_id or ""),
                    skip=skip,
                    limit=limit,
                )
        return [view_of_call_on_its_own(r) for r in rows]

    async def results(
        self, principal: Principal, batch_id: str, *, is_raw: bool
    ) -> AsyncIterator[bytes]:
        """Give the results as CSV, a page at a time. Raises NotFound before anything is sent."""
        async with self._db.connection() as connection:
            batch = await find_batch(connection, principal, batch_id)
        return self._results_of(batch["id"], is_raw=is_raw)

    async def _results_of(self, batch_id: uuid.UUID, *, is_raw: bool) -> AsyncIterator[bytes]:
        yield header_line()
        position = 0
        while True:
            # A snapshot for each page: a transaction that waits for a slow reader would be ended
            # by the server, and until then keep it from tidying up after the dialler.
            async with self._db.transaction(snapshot=True) as connection:
                rows = await contacts.read_page(
                    connection, batch_id=batch_id, skip=position, limit=PAGE_ROWS
                )
                calls = await _calls_of(connection, batch_id, rows, every_call=False)
            if not rows:
                return
            yield lines_of(batch_id, rows, calls, is_raw=is_raw)
            position = rows[-1]["position"]


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


def _number_in_query(typed: str) -> str:
    # In a query string a plus that nobody escaped arrives as a space.
    number = typed.strip()
    try:
        return parse_number(number if number.startswith("+") else f"+{number}")
    except ValueError as fault:
        raise Invalid.field("phone_number", str(fault), where="query") from None
