"""Shows when a batch moved and when it did not, beside what was done to it meanwhile."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from apollo.core import bounds
from apollo.core.states import LIVE_BATCH, BatchStatus
from apollo.errors import Invalid
from apollo.storage import debug_history as storage
from apollo.storage.database import Database, Record
from apollo.usecases.authenticate import Principal
from apollo.usecases.batch_views import View, whole
from apollo.usecases.read_batches import find_batch

_SHOWN: Final = timedelta(hours=24)
_AT_MOST: Final = 1_000
# A change shows within a round of looks; what was done longer before is no cause of it.
_CAUSED_WITHIN: Final = timedelta(minutes=2)


class ReadHistory:
    """Shows the history of a batch."""

    def __init__(self, *, db: Database) -> None:
        self._db = db

    async def history(
        self,
        principal: Principal,
        batch_id: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> View:
        """Show intervals of verdict and reason, and what was done; the last 24 h by default.

        Raises NotFound, Invalid.
        """
        async with self._db.transaction(snapshot=True) as connection:
            # Everything shown here was dated by the database.
            end = end or await storage.read_clock(connection)
            start = start or bounds.before(end, _SHOWN)
            if start >= end:
                raise Invalid.field("start", "must be before end", where="query")
            batch = await find_batch(connection, principal, batch_id)
            rows = await storage.read_history(connection, batch["id"], start, end, at_most=_AT_MOST)
            actions = await storage.read_actions(
                connection,
                storage.BatchKey(batch["campaign_id"], batch["id"], principal.organization_id),
                bounds.before(start, _CAUSED_WITHIN),
                end,
                at_most=_AT_MOST,
            )
        changes = [_change(row) for row in actions]
        return {
            "batch_id": batch_id,
            "start": whole(start),
            "end": whole(end),
            "intervals": _intervals(_with_end(rows, batch), changes, end),
            "changes": [change for change in changes if change["at"] >= whole(start)],
            "is_complete": len(rows) <= _AT_MOST,
        }


def _with_end(rows: Sequence[Record], batch: Record) -> list[tuple[datetime, str, str | None]]:
    """Add that the batch is over, where nobody was there to write it down."""
    found = [(row["since"], row["verdict"], row["reason"]) for row in rows]
    is_over = BatchStatus(batch["status"]) not in LIVE_BATCH
    if is_over and (not found or found[-1][1] != "finished"):
        # A short batch may be over before anybody looked at it.
        over_at = max([batch["updated_at"], *(at for at, _, _ in found[-1:])])
        found.append((over_at, "finished", None))
    return found


def _intervals(
    rows: Sequence[tuple[datetime, str, str | None]], changes: Sequence[View], end: datetime
) -> list[View]:
    shown = []
    for nth, (since, verdict, reason) in enumerate(rows, 1):
        until = rows[nth][0] if nth < len(rows) else None
        if since >= end:
            break
        before = [c for c in changes if since - _CAUSED_WITHIN <= c["at"] <= since]
        shown.append(
            {
                "since": whole(since),
                "until": whole(until),
                "verdict": verdict,
                "reason": reason,
                "preceded_by": before,
                "summary": _summary(since, verdict, reason, before),
            }
        )
    return shown


def _summary(since: datetime, verdict: str, reason: str | None, before: Sequence[View]) -> str:
    why = f" ({reason})" if reason else ""
    said = f"{verdict} since {since:%Y-%m-%dT%H:%M:%SZ}{why}"
    done = "; ".join(f"{c['action']} at {c['at']:%H:%M:%S} by {c['actor']}" for c in before)
    return f"{said}, after {done}" if done else said


def _change(row: Record) -> dict[str, Any]:
    return {
        "at": whole(row["at"]),
        "actor": row["actor"],
        "action": row["action"],
        "scope": row["scope"],
        "detail": row["detail"],
    }
