"""What a list may be asked for: one shape for all of them, read at the edge, applied by storage."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFilter:
    """Which rows a list shows, and from where; None, or nothing, lets everything through.

    `metadata` are readings of what must be contained, one of which is enough. `after` is the public
    id of the row behind which a page begins.
    """

    statuses: list[str] | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_since: datetime | None = None
    metadata: list[dict[str, Any]] | None = None
    phone_number: str | None = None
    after: str | None = None
    oldest_first: bool = False
    with_total: bool = False
    skip: int = 0
    limit: int = 50

    def columns(self, after: uuid.UUID | None) -> dict[str, Any]:
        """Return the parameters that the queries of batches and campaigns share."""
        return {
            "statuses": self.statuses,
            "created_after": self.created_after,
            "created_before": self.created_before,
            "updated_since": self.updated_since,
            "metadata": self.metadata or None,
            "phone_number": self.phone_number,
            "after": after,
            "oldest_first": self.oldest_first,
            "with_total": self.with_total,
            "skip": self.skip,
        }


@dataclass(frozen=True, slots=True)
class Listed:
    """A page, and how many rows the filters let through in all, if that was asked for."""

    rows: list[Any]
    total: int | None = None
