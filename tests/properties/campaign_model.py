"""A simple model of one campaign: what people may do, what calls do, and what must then be shown.

It is written from the specification, knows neither tables nor locks, and shares no rule with
Apollo.
"""

from collections import Counter
from dataclasses import dataclass, field

LIVE = frozenset({"pending", "in_progress", "paused"})
WAITING = frozenset({"pending", "retrying", "followup_scheduled"})
UNFINISHED = WAITING | {"dispatched", "in_progress"}
# What the API calls the statuses in `counters`.
COUNTED = {"in_progress": "in_flight"}
# A status event: our name for it, the provider's word, and its SIP status.
EVENTS = {
    "trying": ("trying", 100),
    "ringing": ("ringing", 180),
    "answered": ("in-progress", 200),
    "completed": ("completed", 200),
    "busy": ("busy", 486),
    "no_answer": ("no-answer", 487),
    "bad_number": ("failed", 404),
    "carrier": ("failed", 503),
}
_RANK = {"trying": 1, "ringing": 2, "answered": 3}
_OUTCOME = {"bad_number": "failed", "carrier": "failed"}


@dataclass(eq=False)
class Call:
    """A call, open until it has an outcome."""

    execution_id: str
    kind: str
    contact: "Contact"
    rank: int = 0
    outcome: str | None = None
    # A follow-up was asked for while it was up: it is scheduled when the call ends.
    is_promised: bool = False


@dataclass(eq=False)
class Contact:
    """A person of a batch."""

    contact_id: str
    batch: "Batch"
    status: str = "pending"
    is_due: bool = True
    tries: int = 0
    is_reached: bool = False
    # Somebody took it out while it was on a call: none follows.
    is_withdrawn: bool = False
    promises: int = 0
    calls: list[Call] = field(default_factory=list)

    @property
    def open_call(self) -> Call | None:
        return next((call for call in self.calls if call.outcome is None), None)


@dataclass(eq=False)
class Batch:
    """A batch; `paused_by` is None, batch or campaign."""

    batch_id: str
    status: str
    paused_by: str | None
    limit: int | None
    # Whether somebody has paused this batch itself, and nobody has resumed it since.
    is_held: bool = False
    max_retries: int | None = None
    contacts: list[Contact] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    def counters(self) -> Counter[str]:
        return Counter(COUNTED.get(c.status, c.status) for c in self.contacts)

    def claimable(self) -> list[Contact]:
        if self.status != "in_progress":
            return []
        return [c for c in self.contacts if c.status in WAITING and c.is_due]

    def open_calls(self) -> int:
        return sum(contact.open_call is not None for contact in self.contacts)


@dataclass(eq=False)
class Campaign:
    """The campaign and everything in it. Actions give the HTTP status they must have."""

    limit: int
    max_retries: int
    max_follow_ups: int
    is_paused: bool = False
    is_cancelled: bool = False
    batches: list[Batch] = field(default_factory=list)

    @property
    def status(self) -> str:
        if self.is_cancelled:
            return "cancelled"
        if any(batch.is_live for batch in self.batches):
            return "paused" if self.is_paused else "active"
        if self.batches:
            return "completed"
        return "paused" if self.is_paused else "draft"

    # ------------------------------------------------------------------------- what people do

    def pause(self) -> int:
        if self.status in {"cancelled", "completed"}:
            return 409
        self.is_paused = True
        for batch in self.batches:
            if batch.status in {"pending", "in_progress"}:
                batch.status, batch.paused_by = "paused", "campaign"
        return 200

    def resume(self) -> int:
        if self.status == "active":
            return 200
        if self.status != "paused":
            return 409
        self.is_paused = False
        for batch in self.batches:
            if batch.paused_by == "campaign":
                batch.status, batch.paused_by = "in_progress", None
        return 200

    def cancel(self) -> int:
        if self.status == "completed":
            return 409
        if self.is_cancelled:
            return 200
        self.is_cancelled, self.is_paused = True, False
        for batch in self.batches:
            self._close(batch)
        return 200

    def add(self, batch: Batch) -> None:
        """A new batch begins; it gives an ended campaign a new life, without its old pause."""
        if self.status == "completed":
            self.is_paused = False
        self._begin(batch)
        self.batches.append(batch)

    def _begin(self, batch: Batch) -> None:
        """Begin a batch, or begin it again, under the pauses that stand."""
        pauses = {"batch": batch.is_held, "campaign": self.is_paused}
        batch.paused_by = next((by for by, stands in pauses.items() if stands), None)
        batch.status = "paused" if batch.paused_by else "in_progress"

    def pause_batch(self, batch: Batch) -> int:
        if not batch.is_live:
            return 409
        batch.status, batch.paused_by, batch.is_held = "paused", "batch", True
        return 200

    def resume_batch(self, batch: Batch) -> int:
        if not batch.is_live or self.is_paused:
            return 409
        batch.status, batch.paused_by, batch.is_held = "in_progress", None, False
        return 200

    def cancel_batch(self, batch: Batch) -> int:
        if batch.status == "completed":
            return 409
        self._close(batch)
        return 200

    def _close(self, batch: Batch) -> None:
        if not batch.is_live:
            return
        batch.status, batch.paused_by = "cancelled", None
        for contact in batch.contacts:
            if contact.status in WAITING:
                contact.status = "skipped"

    def dispatch(self, batch: Batch) -> int:
        return 200 if batch.status in {"in_progress", "completed"} else 409

    def follow_up(self, contact: Contact) -> int:
        """Promise another call at a time far ahead."""
        if contact.batch.status == "cancelled" or self.is_cancelled:
            return 409
        is_moved = contact.status == "followup_scheduled"
        if contact.is_withdrawn or (contact.promises >= self.max_follow_ups and not is_moved):
            return 409
        if contact.open_call is not None:
            contact.open_call.is_promised = True
            return 200
        was_reached = contact.is_reached or any(c.outcome == "completed" for c in contact.calls)
        if contact.status in {"pending", "retrying", "skipped"} or not was_reached:
            return 409
        self._promise(contact)
        if contact.batch.status == "completed":
            self._begin(contact.batch)
        return 200

    def skip(self, contact: Contact) -> int:
        """Take one contact out: it waits no longer, or none follows the call that it is on."""
        if contact.status == "skipped" or contact.is_withdrawn:
            return 200
        if contact.status not in UNFINISHED or not contact.batch.is_live:
            return 409
        contact.is_withdrawn = True
        if contact.status in WAITING:
            contact.status = "skipped"
            self._settle(contact.batch)
        return 200

    def _promise(self, contact: Contact) -> None:
        contact.promises += contact.status != "followup_scheduled"
        contact.status, contact.is_due = "followup_scheduled", False
        contact.tries, contact.is_reached = 0, False

    # -------------------------------------------------------------------------- what calls do

    def room(self) -> int:
        """How many calls a claim must take."""
        if self.is_paused or self.is_cancelled:
            return 0
        wanted = sum(
            min((b.limit or self.limit) - b.open_calls(), len(b.claimable()))
            for b in self.batches
            if (b.limit or self.limit) > b.open_calls()
        )
        return max(min(wanted, self.limit - sum(b.open_calls() for b in self.batches)), 0)

    def claimed(self, contact: Contact, execution_id: str, kind: str) -> None:
        contact.status = "dispatched"
        contact.tries += 1
        contact.calls.append(Call(execution_id, kind, contact))

    def hear(self, call: Call, event: str) -> None:
        """A status event of a call, perhaps late or repeated."""
        if call.outcome is not None:
            if event in {"answered", "completed"} and call.outcome != "completed":
                self._correct(call)
            return
        if event in _RANK:
            call.rank = max(call.rank, _RANK[event])
            if call.rank > 1:
                call.contact.status = "in_progress"
            return
        self._end(call, "completed" if call.rank == _RANK["answered"] else event)

    def _end(self, call: Call, event: str) -> None:
        contact = call.contact
        batch, call.outcome = contact.batch, _OUTCOME.get(event, event)
        contact.is_reached = contact.is_reached or event == "completed"
        is_closed = contact.is_withdrawn or batch.status == "cancelled"
        if event == "carrier" and not contact.is_reached:
            contact.tries = max(contact.tries - 1, 0)
        most = self.max_retries if batch.max_retries is None else batch.max_retries
        is_owed = call.is_promised and contact.promises < self.max_follow_ups
        if contact.is_reached and is_owed and not is_closed:
            self._promise(contact)
        elif contact.is_reached:
            contact.status = "completed"
        elif is_closed or event == "bad_number":
            contact.status = call.outcome
        elif event != "carrier" and contact.tries > most:
            contact.status = "max_retries_reached" if most else call.outcome
        else:
            contact.is_due = False
            contact.status = "followup_scheduled" if call.kind == "follow_up" else "retrying"
        self._settle(batch)

    def _correct(self, call: Call) -> None:
        """Late news of an answer: it never leads to a call, and takes back one that was due."""
        call.outcome = "completed"
        contact = call.contact
        newer = contact.open_call
        promised = contact.status == "followup_scheduled" or (
            newer is not None and newer.kind == "follow_up"
        )
        if promised and call.kind != "follow_up":
            return
        contact.is_reached = True
        if newer is None:
            contact.status = "completed"
            self._settle(contact.batch)

    def _settle(self, batch: Batch) -> None:
        is_over = not any(contact.status in UNFINISHED for contact in batch.contacts)
        if batch.status in {"in_progress", "paused"} and is_over:
            batch.status, batch.paused_by = "completed", None

    def pass_time(self) -> None:
        """Everything that waits for an instant falls due."""
        for batch in self.batches:
            for contact in batch.contacts:
                contact.is_due = True
