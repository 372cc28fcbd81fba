"""The snapshot, sorted: who is on a call, who waits by itself, who could be dialled, what is open.

Everything the rules share is worked out here once. Must never say what it means: rules do that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from apollo.core.diagnosis.finding import Holds
from apollo.core.diagnosis.snapshot import Process, Snapshot, Tally, Waiting
from apollo.core.model import STATUS_OF, Turn
from apollo.core.reasons import Reason
from apollo.core.states import (
    FINAL_CONTACT,
    LIVE_BATCH,
    ON_CALL,
    ContactStatus,
)
from apollo.core.windows import WorkingHours

# Heartbeats come every 5 s: three missed in a row are no hiccup.
ALIVE_WITHIN: Final = timedelta(seconds=15)
# A week has at most seven windows; twice that, and none long enough, means there is none.
_WINDOWS_TRIED: Final = 14

_WAITING_STATUS: Final = {status: turn for turn, status in STATUS_OF.items()}
# What people wanted, a pause by Apollo and its cause, and calling hours: they hold every contact of
# the batch, retries too, and nobody is to be dialled while they last.
WISHES: Final = frozenset(
    {
        Reason.CANCELLED,
        Reason.BATCH_EXPIRED,
        Reason.DIALLING_STOPPED,
        Reason.RECOVERY_MODE,
        Reason.CAMPAIGN_PAUSED,
        Reason.BATCH_PAUSED,
        Reason.PAUSED_BY_APOLLO,
        Reason.BAD_REQUEST_EVERYWHERE,
        Reason.BATCH_SCHEDULED,
        Reason.OUTSIDE_WINDOW,
        Reason.WINDOW_NEVER_OPENS,
    }
)
_COOLDOWN_OF: Final = {
    Turn.RETRY: Reason.RETRY_NOT_DUE,
    Turn.FOLLOW_UP: Reason.FOLLOW_UP_NOT_DUE,
}

# A contact gets here when it is taken, or when its call ends, which frees a slot.
_MOVED: Final = (FINAL_CONTACT - {ContactStatus.SKIPPED}) | {
    ContactStatus.DISPATCHED,
    ContactStatus.RETRYING,
    ContactStatus.FOLLOWUP_SCHEDULED,
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A cap on calls at a time, and how much of it is used."""

    name: str
    limit: int
    in_use: int

    @property
    def free(self) -> int:
        """Slots that a call could take now; a lowered limit leaves none, never fewer."""
        return max(0, self.limit - self.in_use)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A snapshot at an instant, and what follows from it by counting alone."""

    snapshot: Snapshot
    now: datetime
    counts: Mapping[ContactStatus, int]
    unfinished: int
    # Contacts with an open call; those that show one and have none are among the lost.
    on_call: int
    # Contacts that wait for an instant or a call of their own, by their stored verdict.
    own_waits: Mapping[Reason, int]
    # Contacts whose own turn has come: only the batch's state can hold them back.
    claimable: int
    claimable_pending: int
    # Contacts that nothing would ever wake, by what is missing.
    lost: Mapping[str, int]
    # Batch first, campaign second; empty when open calls could not be read.
    limits: tuple[Limit, ...]
    is_open: bool
    opened_at: datetime | None
    opens_at: datetime | None
    # The gates found so far; all of them, once symptoms are looked for.
    holds: Holds = field(default_factory=Holds)

    @property
    def is_live(self) -> bool:
        """Whether the batch may still dial, now or later."""
        return self.snapshot.batch.status in LIVE_BATCH

    @property
    def is_waiting_for_us(self) -> bool:
        """Whether somebody of a live batch is still to be called or on a call."""
        return self.is_live and self.unfinished > 0

    @property
    def is_wished(self) -> bool:
        """Whether people, or calling hours, hold the whole batch."""
        return any(gate.is_holding and gate.reason in WISHES for gate in self.holds.gates)

    @property
    def held_back(self) -> int:
        """Contacts that wait, for whatever: their own turn, or what holds the whole batch."""
        return self.claimable + sum(self.own_waits.values())

    @property
    def free(self) -> int | None:
        """Slots this batch could take now; None when open calls could not be read."""
        return min((limit.free for limit in self.limits), default=None)

    def was_listening(self, since: datetime, until: datetime) -> bool:
        """Whether an API process was there for webhooks all the time between two instants.

        Nobody can tell where no process has reported.
        """
        return any(
            one.role == "web"
            and (one.started_at is None or one.started_at <= since)
            and (one in self.processes("web") or (one.stopped_at or one.seen_at) >= until)
            for one in self.snapshot.processes or ()
        )

    @property
    def alive(self) -> list[Process]:
        """Processes of ours that are alive."""
        return [*self.processes("web"), *self.processes("worker")]

    @property
    def claimable_since(self) -> datetime:
        """When the last thing happened after which a contact could have been taken, and was not.

        The latest of: the oldest contact's own turn, the window, the start or resume, the last time
        anything of the batch moved.
        """
        facts = self.snapshot
        waited = [head.updated_at for head in facts.heads or () if head.is_fresh]
        waited += [at for turn in Turn if (at := self.waiting(turn).ready_at) is not None]
        return self._moved_after(min(waited, default=None))

    @property
    def pending_since(self) -> datetime:
        """The same, of the pending contacts alone."""
        facts = self.snapshot
        waited = [head.updated_at for head in facts.heads or () if head.is_fresh]
        given_back = self.waiting(Turn.FRESH).ready_at
        return self._moved_after(min([*waited, given_back] if given_back else waited, default=None))

    def _moved_after(self, waited: datetime | None) -> datetime:
        facts = self.snapshot
        marks = [facts.batch.ready_at, waited, self.opened_at, facts.slot_freed_at]
        marks.append(facts.batch.scheduled_start)
        marks += [tally.latest_at for tally in facts.tallies if tally.status in _MOVED]
        return max(mark for mark in marks if mark is not None)

    def waiting(self, turn: Turn) -> Waiting:
        """What waits in one turn; empty when it could not be read."""
        rows = self.snapshot.waiting or ()
        return next((row for row in rows if row.turn is turn), Waiting(turn))

    def processes(self, role: str) -> list[Process]:
        """Processes of a role that are alive."""
        return [
            process
            for process in self.snapshot.processes or ()
            if process.role == role
            and process.stopped_at is None
            and process.seen_at > self.now - ALIVE_WITHIN
        ]


def look(snapshot: Snapshot) -> View:
    """Count what a snapshot holds."""
    now = snapshot.read_at
    counts = dict.fromkeys(ContactStatus, 0)
    for tally in snapshot.tallies:
        counts[tally.status] += tally.contacts
    finished = sum(counts[status] for status in FINAL_CONTACT)
    shown_on_call = sum(counts[status] for status in ON_CALL)
    on_call = shown_on_call
    if snapshot.on_call is not None:
        on_call = sum(row.contacts for row in snapshot.on_call if row.status in ON_CALL)
    own_waits, claimable, lost = _sort_waiting(snapshot, now)
    if shown_on_call != on_call:
        lost["shown on a call that does not exist"] = shown_on_call - on_call
    opened_at, opens_at = opening(snapshot.campaign.hours, snapshot.settings.ring_timeout, now)
    return View(
        snapshot=snapshot,
        now=now,
        counts=counts,
        unfinished=snapshot.batch.total_contacts - finished,
        on_call=on_call,
        own_waits=own_waits,
        claimable=sum(claimable.values()),
        claimable_pending=claimable.get(ContactStatus.PENDING, 0),
        lost=lost,
        limits=_limits(snapshot),
        is_open=opened_at is not None,
        opened_at=opened_at,
        opens_at=opens_at,
    )


def opening(
    hours: WorkingHours, ring_timeout: timedelta, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Since when calls may start, and from when: (opened, None), (None, next opening) or Nones.

    A phone must not still ring when the window closes, so the last stretch counts as closed.
    """
    current = hours.window_at(now)
    if current is not None and now < current.closes_at - ring_timeout:
        return current.opens_at, None
    after = now if current is None else current.closes_at
    for _ in range(_WINDOWS_TRIED):
        window = hours.next_window(after)
        if window is None:
            return None, None
        if window.closes_at - window.opens_at > ring_timeout:
            return None, window.opens_at
        after = window.closes_at
    return None, None


def next_opening(view: View, at: datetime) -> datetime | None:
    """The first instant from `at` on at which a call may start; None if there is none."""
    facts = view.snapshot
    opened_at, opens_at = opening(facts.campaign.hours, facts.settings.ring_timeout, at)
    return at if opened_at is not None else opens_at


def _sort_waiting(
    snapshot: Snapshot, now: datetime
) -> tuple[dict[Reason, int], dict[ContactStatus, int], dict[str, int]]:
    own_waits: dict[Reason, int] = {}
    claimable: dict[ContactStatus, int] = {}
    lost: dict[str, int] = {}
    for tally in snapshot.tallies:
        turn = _WAITING_STATUS.get(tally.status)
        if turn is None or tally.contacts == 0:
            continue
        fault = _fault(snapshot, tally, turn)
        if fault is not None:
            lost[fault] = lost.get(fault, 0) + tally.contacts
        elif tally.wait_reason is None:
            claimable[tally.status] = claimable.get(tally.status, 0) + tally.contacts
        else:
            own = own_waits.get(tally.wait_reason, 0)
            own_waits[tally.wait_reason] = own + tally.contacts
    for turn, reason in _COOLDOWN_OF.items():
        # Due, though no worker promoted it yet: its own turn has come.
        overdue = _overdue(snapshot, turn, own_waits.get(reason, 0), now)
        if overdue:
            own_waits[reason] -= overdue
            claimable[STATUS_OF[turn]] = claimable.get(STATUS_OF[turn], 0) + overdue
    return {reason: n for reason, n in own_waits.items() if n}, claimable, lost


def _fault(snapshot: Snapshot, tally: Tally, turn: Turn) -> str | None:
    """Why nothing would ever wake these contacts, if that is so."""
    status = snapshot.batch.status
    if tally.contacts < 0:
        return f"{tally.status} counted below zero"
    if status not in LIVE_BATCH:
        return f"{tally.status} in a batch that is {status}"
    if turn is Turn.FRESH:
        is_queued = snapshot.heads is None or bool(snapshot.heads)
    else:
        is_queued = snapshot.waiting is None or any(
            row.turn is turn and row.oldest_at is not None for row in snapshot.waiting
        )
    return None if is_queued else f"{tally.status} and in no queue"


def _overdue(snapshot: Snapshot, turn: Turn, cooling: int, now: datetime) -> int:
    row = next((row for row in snapshot.waiting or () if row.turn is turn), None)
    if row is None or row.last_due_at is None or cooling <= 0:
        return 0
    # The count stops at a cap; that the last one is due says that all are.
    return cooling if row.last_due_at <= now else min(row.overdue, cooling)


def _limits(snapshot: Snapshot) -> tuple[Limit, ...]:
    if snapshot.open_calls is None:
        return ()
    batch, campaign = snapshot.batch, snapshot.campaign
    mine = sum(row.calls for row in snapshot.open_calls if row.batch_id == batch.id)
    everybody = sum(row.calls for row in snapshot.open_calls)
    own_limit = batch.concurrency_limit
    if own_limit is None:
        own_limit = campaign.concurrency_limit
    return (
        Limit("batch", own_limit, mine),
        Limit("campaign", campaign.concurrency_limit, everybody),
    )
