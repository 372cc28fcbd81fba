"""Apollo, made wrong on purpose: the negative control of the simulation.

Each mutant replaces functions of the real code while a seed runs; nothing in `src` knows of it. The
same runs that find nothing wrong with Apollo must catch every one of them.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from msgspec import structs
from tests.simulation import world
from tests.simulation.engine import UPDATE, Blocked, Server, Transaction
from tests.simulation.lifecycle_statements import STATEMENTS
from tests.simulation.story import play

from apollo.core import corrections, lifecycle
from apollo.core.absence import Look
from apollo.core.audit import judge
from apollo.core.corrections import Correction
from apollo.core.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    Evidence,
    QuarantineOver,
    RequestLost,
    RequestNotPlaced,
)
from apollo.core.lifecycle import Step
from apollo.core.model import Call, CallSetting, Contact
from apollo.core.states import BatchStatus, CallState, ContactStatus
from apollo.errors import DriverError
from apollo.storage import dialling
from apollo.storage.dialling import ClaimedCall
from apollo.usecases import (
    audit_ledger,
    detect_restore,
    dial_contacts,
    prove_absence,
    provider_history,
    reconcile_calls,
    record_call_events,
    record_call_result,
)
from apollo.usecases.detect_restore import DetectRestore
from apollo.usecases.dial_contacts import Claimed, DialContacts, ToPlace
from apollo.usecases.prove_absence import ProveAbsence
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import Arrival


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def mark_after_post() -> Iterator[None]:
    """The call is written down when the provider has answered, not before it is asked."""
    real_end, real_claim, real_place = Transaction.end, DialContacts.claim, DialContacts.place
    kept: dict[uuid.UUID, Transaction] = {}
    under_way: dict[Any, set[Any]] = {}
    claiming: set[Transaction] = set()

    def end(transaction: Transaction, *, commits: bool) -> None:
        new = [i for i, row in transaction.own.get("calls", {}).items() if _is_new(row)]
        if commits and new and not transaction.is_over and transaction not in claiming:
            for call_id in new:
                kept[call_id] = transaction
            commits = False
        real_end(transaction, commits=commits)

    async def claim(dial: DialContacts, campaign_id: uuid.UUID, request_slots: int) -> Claimed:
        # A process knows what it is busy with; another one does not.
        busy = under_way.setdefault(dial, set())
        claimed = await real_claim(dial, campaign_id, request_slots)
        fresh = [job for job in claimed.calls if job.call.contact not in busy]
        busy.update(job.call.contact for job in fresh)
        return replace(claimed, calls=fresh, has_more=False)

    async def place(dial: DialContacts, job: ToPlace) -> CallEvent:
        event = await real_place(dial, job)
        await asyncio.sleep(0.002)
        _mark(kept.pop(job.call.id, None), job.call.id)
        under_way[dial].discard(job.call.contact)
        return event

    with (
        _replaced(Transaction, "end", end),
        _replaced(DialContacts, "claim", claim),
        _replaced(DialContacts, "place", place),
    ):
        yield


def _is_new(row: Any) -> bool:
    return row is not None and row["state"] == "placing" and row["version"] == 1


def _mark(transaction: Transaction | None, call_id: uuid.UUID) -> None:
    """Write down a call that was made, if its contact and its number are still free."""
    if transaction is None:
        return
    server: Server = transaction.server
    call = transaction.own["calls"][call_id]
    assert call is not None
    key = call["batch_id"], call["position"]
    contact = server.tables["contacts"][key]
    is_taken = any(
        c["ended_at"] is None and c["phone_number"] == call["phone_number"]
        for c in server.tables["calls"].values()
    )
    if contact["status"] not in {"pending", "retrying", "followup_scheduled"} or is_taken:
        return
    mine = server.begin()
    try:
        for table, row in (
            *(("calls", call_id), ("contacts", key), ("due_contacts", key)),
            ("batch_cursors", key[0]),
        ):
            mine.lock(table, row, UPDATE)
        mine.put("calls", call_id, {**call, "attempt": contact["attempts"] + 1})
        moved = {**contact, "status": "dispatched", "wait_reason": None}
        moved["attempts"] = contact["attempts"] + 1
        moved["tries"] = contact["tries"] + 1
        mine.put("contacts", key, moved)
        mine.delete("due_contacts", key)
        cursor = server.tables["batch_cursors"][key[0]]
        after = max(cursor["next_position"], key[1] + 1)
        mine.put("batch_cursors", key[0], {**cursor, "next_position": after})
        mine.count(call["campaign_id"], "attempts", 1)
    except Blocked:
        Transaction.end(mine, commits=False)
        return
    mine.own["calls"][call_id] = {**(mine.own["calls"][call_id] or {}), "version": 2}
    Transaction.end(mine, commits=True)


def requeue_on_lease_expiry() -> Iterator[None]:
    """A call whose worker is gone goes back into the queue, as in an ordinary job queue."""

    def expired(**given: Any) -> CallEvent:
        return RequestNotPlaced(reason="lease_expired", **given)

    with _replaced(reconcile_calls, "LeaseExpired", expired):
        yield


def timeout_is_failed() -> Iterator[None]:
    """No usable answer means that the call failed, and may be tried again."""

    real = DialContacts._failed

    def failed(dial: DialContacts, call: ClaimedCall, error: DriverError) -> CallEvent:
        event = real(dial, call, error)
        if not isinstance(event, RequestLost):
            return event
        return CallEnded(at=event.at, evidence=event.evidence, call_status="failed")

    with _replaced(DialContacts, "_failed", failed):
        yield


def not_found_is_retry() -> Iterator[None]:
    """An unknown call that the first look-up does not find was never placed."""
    real = ReconcileCalls._search

    async def search(reconcile: ReconcileCalls, call: Any, live: Any) -> Any:
        look = await real(reconcile, call, live)
        if look.event is None or isinstance(look.event, QuarantineOver):
            event = RequestNotPlaced(at=call.read_at, evidence=Evidence.ASSUMED, reason="not_found")
            return type(look)(event)
        return look

    with _replaced(ReconcileCalls, "_search", search):
        yield


def last_webhook_wins() -> Iterator[None]:
    """Events are applied in the order in which they arrive, whatever their rank."""
    real = lifecycle.step
    states = {
        CallTrying: CallState.ACCEPTED,
        CallRinging: CallState.RINGING,
        CallAnswered: CallState.ANSWERED,
    }

    def step(
        call: Call, contact: Contact, setting: CallSetting, event: CallEvent, **more: Any
    ) -> Step:
        state = states.get(type(event))
        is_back = state is not None and call.state in {
            CallState.RINGING,
            CallState.ANSWERED,
            CallState.ENDED,
        }
        if event.evidence is not Evidence.WEBHOOK or state is None or not is_back:
            return real(call, contact, setting, event, **more)
        moved = structs.replace(call, state=state, ended_at=None, outcome=None)
        shown = ContactStatus.IN_PROGRESS
        shown_now = structs.replace(contact, status=shown, due=None, updated_at=event.at)
        return Step(moved, shown_now)

    with _replaced(record_call_events, "step", step):
        yield


def correlate_by_provider_id() -> Iterator[None]:
    """A webhook is matched by the provider's id alone, which is not known before the 201."""
    real = record_call_events._Pass._find

    async def find(mine: Any, arrivals: Sequence[Arrival]) -> list[uuid.UUID | None]:
        blind = [
            a if a.webhook is None else structs.replace(a, execution_id=None) for a in arrivals
        ]
        return await real(mine, blind)

    with _replaced(record_call_events._Pass, "_find", find):
        yield


def ignore_after_cancel() -> Iterator[None]:
    """Events of calls of a cancelled batch are thrown away."""
    real = record_call_events._Pass._apply

    def apply(mine: Any, arrival: Arrival, call_id: uuid.UUID | None) -> str:
        locked = mine._now.get(call_id)
        if locked is not None and locked.batch_status is BatchStatus.CANCELLED:
            return str(mine._off("ignored"))
        return real(mine, arrival, call_id)

    with _replaced(record_call_events._Pass, "_apply", apply):
        yield


def no_number_index() -> Iterator[None]:
    """Nothing stops two open calls to one number."""
    real = Server.__init__

    def init(server: Server, *given: Any) -> None:
        real(server, *given)
        server.has_number_index = False

    with _replaced(Server, "__init__", init):
        yield


def unknown_holds_no_slot() -> Iterator[None]:
    """A call of which nothing is known is not counted against the limits, and makes room."""
    texts = {statement.__name__: text for text, (_, statement) in STATEMENTS.items()}
    loads_params, real_loads = STATEMENTS[texts["read_loads"]]
    moves_params, real_moves = STATEMENTS[texts["write_moves"]]

    def read_loads(t: Transaction, *given: Any, **named: Any) -> list[dict[str, Any]]:
        rows = real_loads(t, *given, **named)
        unknown = [c["batch_id"] for c in t.rows("calls") if c["state"] == "unknown"]
        for row in rows:
            row["open_calls"] -= unknown.count(row["batch_id"])
            row["campaign_open_calls"] -= sum(
                1 for r in rows for b in unknown if b == r["batch_id"]
            )
        return rows

    def write_moves(t: Transaction, *given: Any, **named: Any) -> list[dict[str, Any]]:
        rows = real_moves(t, *given, **named)
        calls = [t.get("calls", call_id) for call_id in named["ids"]]
        t.notices += [str(c["campaign_id"]) for c in calls if c and c["state"] == "unknown"]
        return rows

    changed = {
        **STATEMENTS,
        texts["read_loads"]: (loads_params, read_loads),
        texts["write_moves"]: (moves_params, write_moves),
    }
    with _replaced(world, "STATEMENTS", changed):
        yield


def retry_after_a_late_answer() -> Iterator[None]:
    """Late evidence that the person was reached is not weighed at all."""
    real = lifecycle.step

    def step(
        call: Call, contact: Contact, setting: CallSetting, event: CallEvent, **more: Any
    ) -> Step:
        if call.state is CallState.ENDED:
            return Step(call, contact)
        return real(call, contact, setting, event, **more)

    with _replaced(record_call_events, "step", step):
        yield


def send_however_late() -> Iterator[None]:
    """A request is sent whenever its turn comes, whatever the clock says by then."""
    real = DialContacts._to_place

    def to_place(*given: Any) -> list[ToPlace]:
        return [replace(job, send_before=float("inf")) for job in real(*given)]

    with _replaced(DialContacts, "_to_place", to_place):
        yield


def send_while_the_lease_lasts() -> Iterator[None]:
    """A request may be sent as long as its claim is leased and the window open."""
    with _replaced(dial_contacts, "SEND_WITHIN_S", dial_contacts.LEASE.total_seconds()):
        yield


def records_are_waited_for_for_ever() -> Iterator[None]:
    """Past failure: without a record store, a call whose live record was gone held its slot."""
    with _replaced(ReconcileCalls, "_patience", lambda *_: timedelta.max):
        yield


def a_stale_queue_entry_is_written_back() -> Iterator[None]:
    """Past failure: late news of an answer queued somebody who was on a call meanwhile.

    What a statement that had to wait has joined is as old as its beginning.
    """
    real = corrections._correct_to_answered

    def correct(call: Call, contact: Contact, setting: CallSetting, event: CallEvent) -> Correction:
        moved, after, effects = real(call, contact, setting, event)
        if after.status is contact.status:
            after = structs.replace(after, due=contact.due, wait_reason=contact.wait_reason)
        return moved, after, effects

    with _replaced(corrections, "_correct_to_answered", correct):
        yield


def calls_without_a_name_are_strangers() -> Iterator[None]:
    """After a restart only what the provider has named to us counts as ours."""
    real = provider_history.match

    def match(calls: Any, ours: Any) -> Any:
        return real(calls, [one for one in ours if one.provider_call_id is not None])

    with _replaced(detect_restore, "match", match):
        yield


def dials_on_after_a_restore() -> Iterator[None]:
    """Whatever the provider knows, a restored database is dialled from at once."""
    real = provider_history.match

    def match(calls: Any, ours: Any) -> Any:
        return real(calls, ours)[0], []

    with _replaced(detect_restore, "match", match):
        yield


def a_list_that_forgot_is_believed() -> Iterator[None]:
    """A restored database is dialled from, though the provider's list lost the calls it lacks."""

    async def see(*_: Any) -> None:
        return None

    with _replaced(DetectRestore, "_see", see):
        yield


def what_looks_unsent_is_given_back() -> Iterator[None]:
    """Past failure: after a restore, calls that were made were given back as never sent."""
    real = DialContacts.find_unsent

    async def find_unsent(dial: DialContacts, _: Any) -> list[uuid.UUID]:
        return await real(dial, None)

    with _replaced(DialContacts, "find_unsent", find_unsent):
        yield


def numbers_never_rest() -> Iterator[None]:
    """Whoever was called a moment ago out of another batch is called again at once."""
    real = dialling.claim_contacts

    async def claim_contacts(*given: Any, **named: Any) -> list[ClaimedCall]:
        return await real(*given, **{**named, "number_gap": timedelta()})

    with _replaced(dialling, "claim_contacts", claim_contacts):
        yield


def follow_ups_have_no_bound() -> Iterator[None]:
    """An agent that asks for another call after each call gets it, for ever."""

    def may_follow_up(*_: Any) -> bool:
        return True

    with (
        _replaced(lifecycle, "may_follow_up", may_follow_up),
        _replaced(record_call_result, "may_follow_up", may_follow_up),
    ):
        yield


def absence_is_believed() -> Iterator[None]:
    """Past failure: what neither the list nor the records show has ended, and is tried again."""

    async def run(_: Any, absent: Any, policy: Any) -> frozenset[uuid.UUID]:
        del policy
        return frozenset(call.id for call in absent)

    with _replaced(ProveAbsence, "run", run):
        yield


def a_blind_look_is_believed() -> Iterator[None]:
    """Two places that answer are enough, whatever they know of other calls."""
    with _replaced(prove_absence, "worth", lambda *_: Look.SIGHTED):
        yield


def a_missing_record_is_a_fault() -> Iterator[None]:
    """Past failure: the audit took records for a ledger that has every call."""
    real = judge

    def blind(witnessed: Any, books: Any, listed: Any = None) -> Any:
        del listed
        return real(witnessed, books)

    with _replaced(audit_ledger, "judge", blind):
        yield


# In the words of spec/dialling.md; those after the first eight are our own.
PROTOCOL: Final[dict[str, Callable[[], Iterator[None]]]] = {
    "mark after POST": mark_after_post,
    "requeue on lease expiry": requeue_on_lease_expiry,
    "timeout = failed": timeout_is_failed,
    "not found = retry": not_found_is_retry,
    "last webhook wins": last_webhook_wins,
    "correlate by provider id only": correlate_by_provider_id,
    "ignore events after cancel": ignore_after_cancel,
    "claim without the unique index": no_number_index,
    "unknown holds no slot": unknown_holds_no_slot,
    "late answers are ignored": retry_after_a_late_answer,
    "send however late": send_however_late,
    "send while the lease lasts": send_while_the_lease_lasts,
    "numbers never rest": numbers_never_rest,
    "follow-ups have no bound": follow_ups_have_no_bound,
    "calls without a name are strangers": calls_without_a_name_are_strangers,
    "dials on after a restore": dials_on_after_a_restore,
    "a list that forgot is believed": a_list_that_forgot_is_believed,
    "a blind look is believed": a_blind_look_is_believed,
}
# What seeds once found in Apollo: each takes the mend out again.
PAST_FAILURES: Final[dict[str, Callable[[], Iterator[None]]]] = {
    "records are waited for for ever": records_are_waited_for_for_ever,
    "a stale queue entry is written back": a_stale_queue_entry_is_written_back,
    "what looks unsent is given back": what_looks_unsent_is_given_back,
    "absence is believed": absence_is_believed,
    "a missing record is a fault": a_missing_record_is_a_fault,
}
MUTANTS: Final = PROTOCOL | PAST_FAILURES


def switched(name: str) -> Any:
    """Give the context in which Apollo is this mutant."""
    return contextmanager(MUTANTS[name])()


def is_caught(name: str, seed: int) -> bool:
    """Tell whether a seed catches a mutant; one that falls over its own feet is not caught."""
    with switched(name):
        outcome = play(seed)
    return bool(outcome.violations) and not outcome.crashes


def first_to_catch(name: str, seeds: Iterable[int]) -> int | None:
    """Give the first of these seeds that catches a mutant; None when none does."""
    return next((seed for seed in seeds if is_caught(name, seed)), None)
