"""Keeps people out of a new batch who are still to be called, or were reached, in another one.

Owns what counts as a repeat, and how two uploads at once cannot both take a number: first without a
lock, piece by piece; then, under the locks of the upload's end, only what came meanwhile.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from apollo.core import ids
from apollo.errors import Invalid
from apollo.storage import repeats as storage
from apollo.storage.database import Connection
from apollo.usecases.check_contacts import Across, Intake

Keep = Callable[[], Awaitable[None]]

_WITHIN: Final = re.compile(r"P(?:(\d{1,4})W)?(?:(\d{1,4})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?)?")
# Whom a campaign of ten years ago reached is nobody's repeat.
_WITHIN_MAX: Final = timedelta(days=3660)
_WITHIN_HINT: Final = (
    "write an ISO 8601 duration of weeks, days, hours or minutes: P30D, P4W, PT12H"
)


@dataclass(frozen=True, slots=True)
class Repeats:
    """Whom a batch is not to call again; `within` adds batches that ended so long ago at most."""

    across: Across
    within: timedelta | None
    # Numbers that do not exist, or did not want to be called, are called all the same.
    with_barred: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Whose batch it is, and which."""

    organization_id: str
    campaign_id: uuid.UUID
    batch_id: uuid.UUID


def read_within(text: str) -> timedelta:
    """Read an ISO 8601 duration such as P30D. Raises Invalid."""
    found = _WITHIN.fullmatch(text[:40])
    if found is None or not any(found.groups()):
        raise Invalid.field("within", f"{text[:40]!r} is no duration; {_WITHIN_HINT}")
    weeks, days, hours, minutes = (int(part or 0) for part in found.groups())
    within = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes)
    if not timedelta() < within <= _WITHIN_MAX:
        raise Invalid.field(
            "within", f"must be more than nothing and at most P3660D; {_WITHIN_HINT}"
        )
    return within


async def leave_out_repeats(
    connection: Connection,
    intake: Intake,
    repeats: Repeats,
    place: Place,
    keep: Keep | None = None,
) -> dict[uuid.UUID, int]:
    """Leave repeats out of what was taken in. Raises Invalid if nothing is left.

    Returns the other batches that were looked at, and how many contacts each had.
    """
    beside = await _beside(connection, repeats, place)

    async def repeated(numbers: Sequence[str]) -> Mapping[int, str]:
        if keep is not None:
            await keep()
        rows = await storage.find_repeated_numbers(connection, numbers, list(beside))
        return {r["nth"] - 1: _repeated(r["batch_id"], is_reached=r["is_reached"]) for r in rows}

    async def barred(numbers: Sequence[str]) -> Mapping[int, str]:
        rows = await storage.find_barred_numbers(connection, numbers, place.organization_id)
        return {r["nth"] - 1: _barred(r["hangup_reason"], r["sip_status"]) for r in rows}

    if beside:
        await intake.leave_out(repeated)
    if not repeats.with_barred and await storage.has_barred_numbers(
        connection, place.organization_id
    ):
        await intake.leave_out(barred)
    return beside


async def skip_what_came_meanwhile(
    connection: Connection,
    repeats: Repeats,
    place: Place,
    seen: Mapping[uuid.UUID, int],
    *,
    after: int = 0,
) -> int:
    """Skip contacts, behind a position, that came into another batch since it was looked at.

    The caller holds the locks that keep others from adding more. Returns how many.
    """
    beside = await _beside(connection, repeats, place)
    new = {batch: seen.get(batch, 0) for batch, many in beside.items() if many > seen.get(batch, 0)}
    return await storage.skip_repeats(connection, place.batch_id, after, new) if new else 0


async def _beside(connection: Connection, repeats: Repeats, place: Place) -> dict[uuid.UUID, int]:
    if repeats.across is Across.NONE:
        return {}
    return await storage.read_batches_beside(
        connection,
        organization_id=place.organization_id,
        campaign_id=place.campaign_id if repeats.across is Across.CAMPAIGN else None,
        batch_id=place.batch_id,
        within=repeats.within,
    )


def _repeated(batch_id: uuid.UUID, *, is_reached: bool) -> str:
    how = "was reached in" if is_reached else "is still to be called in"
    return f"the number {how} batch {ids.batch_id(batch_id)}; on_duplicate=keep calls it again"


def _barred(hangup_reason: str, sip_status: int | None) -> str:
    code = f" (SIP {sip_status})" if sip_status else ""
    if hangup_reason == "unwanted":
        return f"the person does not want to be called{code}; on_barred=keep calls all the same"
    return f"the network says that there is no such number{code}; on_barred=keep calls it again"
