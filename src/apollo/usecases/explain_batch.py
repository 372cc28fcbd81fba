"""Why is this batch not moving? Reads one snapshot, asks the core, and shows the answer.

The same answer is printed by the command line and served as `/debug`. Must never change anything.
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

from apollo.core import ids
from apollo.core.campaign_settings import warnings_of_hours
from apollo.core.diagnosis import Diagnosis, ReasonShown, explain, wants_comparison
from apollo.core.diagnosis.reported import WriteFault
from apollo.core.diagnosis.snapshot import Settings, Snapshot
from apollo.core.words import stamp
from apollo.errors import NotFound, Unavailable
from apollo.ports import Clock
from apollo.storage import diagnosis as storage
from apollo.storage.database import Database
from apollo.storage.latency import Pulse, answered_within

# A database that says nothing for so long hangs: then there is an answer within a second.
_SILENT_S: Final = 0.7
# One far away takes its time: three to six answers, each a tenth of a second later than at home.
_ANSWERED_WITHIN_S: Final = 1.6
# Counting everything was asked for, however long it takes; the connection gives up at 30 s.
_RECOUNTED_WITHIN_S: Final = 32.0


class OwnCondition(Protocol):
    """What the process that answers knows of itself: its heartbeat does."""

    @property
    def write_fault(self) -> WriteFault | None:
        """What keeps it from writing, while it does."""


class ExplainBatch:
    """Explains a batch of the caller's organisation."""

    def __init__(
        self,
        *,
        db: Database,
        settings: Settings,
        own: OwnCondition | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Take what is read; `clock` only where another time than the database's is meant."""
        self._db = db
        self._clock = clock
        self.settings = settings
        self._own = own

    async def explain(
        self, organization_id: str, batch_id: str, *, verify: bool = False
    ) -> Diagnosis:
        """Explain a batch; `verify` also counts its contacts one by one.

        Raises NotFound, or Unavailable when not even the counters can be read.
        """
        parsed = ids.parse_id("btc", batch_id)
        if parsed is None:
            raise NotFound("Batch not found")
        return await self.diagnose(organization_id, parsed, verify=verify)

    async def diagnose(
        self, organization_id: str, batch_id: uuid.UUID, *, verify: bool = False
    ) -> Diagnosis:
        """Explain the batch with this key. Raises NotFound or Unavailable."""
        pulse = Pulse()
        reading = storage.Reading(
            organization_id=organization_id,
            batch_id=batch_id,
            settings=self.settings,
            now=None if self._clock is None else self._clock.now(),
            verify=verify,
            on_answer=pulse.beat,
        )
        within_s = _RECOUNTED_WITHIN_S if verify else _ANSWERED_WITHIN_S
        try:
            work = self._read(reading, pulse)
            silent_s = None if verify else _SILENT_S
            if not await answered_within(within_s, work, pulse=pulse, silent_s=silent_s):
                raise NotFound("Batch not found")
        except Unavailable:
            if reading.snapshot is None:
                raise
        return explain(self._seen_here(reading))

    async def _read(self, reading: storage.Reading, pulse: Pulse) -> bool:
        """Read what the answer needs; False when there is no such batch."""
        async with self._db.reserved_snapshot() as connection:
            pulse.beat()
            if not await reading.read(connection):
                return False
            if wants_comparison(self._seen_here(reading)):
                await reading.compare(connection)
            if explain(self._seen_here(reading)).stuck_pending:
                # Another batch may have held the campaign's slots until a moment ago.
                await reading.read_slot_freed_at(connection)
        return True

    def _seen_here(self, reading: storage.Reading) -> Snapshot:
        """Give what was read so far, and what this process knows of itself."""
        snapshot = reading.snapshot
        if snapshot is None:
            raise Unavailable("the database has not answered")
        if self._own is None:
            return snapshot
        return replace(snapshot, write_fault=self._own.write_fault)


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Show a diagnosis as the API does: plain values, times in whole seconds with `Z`."""
    batch, accounting = diagnosis.snapshot.batch, diagnosis.accounting
    breakdown: dict[str, dict[str, Any]] = {}
    for line in diagnosis.breakdown:
        breakdown[line.status.value] = {"count": line.count}
        if line.oldest_updated_at is not None:
            breakdown[line.status.value]["oldest_updated_at"] = stamp(line.oldest_updated_at)
    return {
        "batch_id": ids.batch_id(batch.id),
        "status": batch.status.value,
        "status_breakdown": breakdown,
        "pending_sample": list(diagnosis.pending_sample),
        "diagnostics": {
            "stuck_pending": diagnosis.stuck_pending,
            "tip": diagnosis.tip,
            "verdict": diagnosis.verdict.value,
            "reasons": [reason_as_json(reason) for reason in diagnosis.reasons],
            "accounting": {
                "unfinished": accounting.unfinished,
                "on_call": accounting.on_call,
                "dialable_now": accounting.dialable_now,
                "by_reason": {code.value: n for code, n in accounting.by_reason.items()},
            },
            "limits": [
                {"name": one.name, "limit": one.limit, "in_use": one.in_use, "free": one.free}
                for one in diagnosis.limits
            ],
            "held": {"contacts": diagnosis.held, "note": diagnosis.held_note},
            "next_dial_at": _plain(diagnosis.next_dial_at),
            "estimated_finish_at": _plain(diagnosis.estimate.finish_at),
            "estimate_is_at_least": diagnosis.estimate.is_at_least,
            "not_reached_by_end": diagnosis.estimate.not_reached,
            "warnings": warnings_of_hours(
                is_enforced=diagnosis.snapshot.campaign.hours.enforced,
                has_table=any(diagnosis.snapshot.campaign.hours.week),
            ),
            "as_of": stamp(diagnosis.as_of),
            "stale_inputs": list(diagnosis.snapshot.stale_inputs),
        },
    }


def reason_as_json(reason: ReasonShown) -> dict[str, Any]:
    """Show one reason as the API does."""
    return {
        "code": reason.code.value,
        "layer": reason.layer.value,
        "severity": reason.severity.value,
        "contacts": reason.contacts,
        "since": _plain(reason.since),
        "until": _plain(reason.until),
        "evidence": _plain(reason.evidence),
        "fix": reason.fix,
        "help": reason.help,
    }


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
