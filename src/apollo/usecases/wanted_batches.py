"""What somebody asks of a new batch, and the rules that its rows are checked by.

Owns how a wish becomes rules. Must never read a row.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apollo.core.elsewhere import HoursIn
from apollo.core.list_header import ColumnChoice
from apollo.core.numbers import check_region
from apollo.core.reach import Reach, reach_of
from apollo.errors import Invalid
from apollo.storage.database import Record
from apollo.usecases.avoid_repeats import Repeats, read_within
from apollo.usecases.check_contacts import (
    Across,
    OnDuplicate,
    OnInvalid,
    OnMostlyInvalid,
    Rules,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What somebody asks for, apart from the contacts; ranges were checked at the edge."""

    campaign_id: str
    scheduled_start: str | datetime | None = None
    ends_at: str | datetime | None = None
    concurrency_limit: int | None = None
    max_retries_override: int | None = None
    call_context: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    on_invalid: OnInvalid = OnInvalid.REJECT
    on_duplicate: OnDuplicate = OnDuplicate.SKIP
    across: Across = Across.CAMPAIGN
    # ISO 8601: batches that ended within this time count, too.
    within: str | None = None
    on_barred: OnDuplicate = OnDuplicate.SKIP
    on_mostly_invalid: OnMostlyInvalid = OnMostlyInvalid.REJECT
    default_region: str | None = None
    # Only say what would be created.
    dry_run: bool = False
    # Of a file: its columns, and a workbook's sheet.
    columns: ColumnChoice = field(default_factory=ColumnChoice)
    sheet: str | None = None


def repeats_of(wanted: NewBatch) -> Repeats:
    """Say whom a batch is not to call again. Raises Invalid for an unreadable `within`."""
    within = None if wanted.within is None else read_within(wanted.within)
    is_kept = wanted.on_duplicate is OnDuplicate.KEEP
    if within is not None and (is_kept or wanted.across is Across.NONE):
        msg = "has no effect with across=none or on_duplicate=keep; leave it out"
        raise Invalid.field("within", msg)
    return Repeats(
        across=Across.NONE if is_kept else wanted.across,
        within=within,
        with_barred=wanted.on_barred is OnDuplicate.KEEP,
    )


def rules_for(wanted: NewBatch, campaign: Record, *, rows_are: str) -> Rules:
    """Say what a batch of a campaign that `open_campaign` read asks of its rows."""
    zone = campaign["hours_in"]
    hours_in = None if zone is None else HoursIn(zone, campaign["read_at"])
    return rules_of(wanted, reach_of_campaign(campaign), hours_in, rows_are=rows_are)


def reach_of_campaign(campaign: Record) -> Reach:
    """Say whom a campaign that `open_campaign` read may call."""
    return reach_of(
        campaign["phone_numbers"], campaign["allowed_countries"], campaign["allowed_number_types"]
    )


def rules_of(
    wanted: NewBatch,
    reach: Reach,
    hours_in: HoursIn | None = None,
    *,
    rows_are: str,
) -> Rules:
    """Say what a batch asks of its rows. Raises Invalid for an unknown region."""
    if wanted.default_region is not None:
        try:
            check_region(wanted.default_region)
        except ValueError as fault:
            raise Invalid.field("default_region", str(fault)) from None
    return Rules(
        reach=reach,
        default_region=wanted.default_region,
        # A dry run wants to know of every bad row.
        on_invalid=OnInvalid.SKIP if wanted.dry_run else wanted.on_invalid,
        on_mostly_invalid=wanted.on_mostly_invalid,
        on_duplicate=wanted.on_duplicate,
        hours_in=hours_in,
        rows_are=rows_are,
    )
