"""Runs a worker or an API process with something wrong in it, for tests only.

`python -m tests.faults.entry ROLE {"kill_at": …, "nth": …, "quick": true, "clock_off_s": …,
"mutant": …}`
replaces functions of the process before it starts: one of them kills the process at a marked point,
others make its waits short or its clock wrong. The product has no switch for any of this.
"""

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from apollo.cli.supervisor import stop_with_parent
from apollo.config import configure_logging, load
from apollo.core import breaker, lifecycle
from apollo.core.model import Deadlines
from apollo.errors import Unavailable
from apollo.storage import dialling as dialling_storage
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases import dial_contacts, reconcile_calls, record_call_events
from apollo.usecases.dial_contacts import DialContacts
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.wiring import parts
from apollo.wiring.serve import run_serve
from apollo.wiring.worker import run_worker

# Where a process may die, as spec and docs name them, and which process that is. "request written"
# is not here: the provider of the test kills the worker when it has read the request.
KILL_POINTS = {
    "before the claim commits": "worker",
    "after the claim": "worker",
    "request written": "worker",
    "reply read": "worker",
    "before the record commits": "worker",
    "after the record": "worker",
    "webhook before its commit": "serve",
    "webhook after its commit": "serve",
    "between look-up and record": "worker",
}


class _Countdown:
    """Kills, or stops, this very process at the nth time."""

    def __init__(self, nth: int, how: signal.Signals = signal.SIGKILL) -> None:
        self._left, self._how = nth, how

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._how)


def _after(owner: Any, name: str, die: Callable[[], None]) -> None:
    """Let the process die when this function has done its work, before anybody hears of it."""
    work: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def replaced(*arguments: Any, **named: Any) -> Any:
        answer = await work(*arguments, **named)
        die()
        return answer

    setattr(owner, name, replaced)


def _after_moves(owner: Any, name: str, die: Callable[[], None]) -> None:
    """The same for a function that is also called with nothing to do."""
    work: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def replaced(*arguments: Any, **named: Any) -> Any:
        answer = await work(*arguments, **named)
        if answer:
            die()
        return answer

    setattr(owner, name, replaced)


def _stop_after_claim(die: Callable[[], None]) -> None:
    claim = DialContacts.claim

    async def claimed(self: DialContacts, *arguments: Any) -> Any:
        answer = await claim(self, *arguments)
        if answer.calls:
            die()
        return answer

    setattr(DialContacts, "claim", claimed)  # noqa: B010 - a plain assignment is refused by types


def _lose_claim(nth: int) -> None:
    """The database goes away between the commit of the nth claim and its answer."""
    claim, left = DialContacts.claim, [nth]

    async def lost(self: DialContacts, *arguments: Any) -> Any:
        answer = await claim(self, *arguments)
        left[0] -= bool(answer.calls)
        if answer.calls and left[0] == 0:
            raise Unavailable("the answer to the commit is lost")
        return answer

    setattr(DialContacts, "claim", lost)  # noqa: B010 - a plain assignment is refused by types


def _arrange(point: str, nth: int) -> None:
    die = _Countdown(nth)
    match point:
        case "before the claim commits":
            _after_moves(dialling_storage, "claim_contacts", die)
        case "after the claim":
            _stop_after_claim(die)
        case "reply read":
            _after(JambonzDriver, "place", die)
        case "before the record commits" | "webhook before its commit":
            # Counted whether or not anything moved: a webhook may have been faster than the reply.
            _after(record_call_events._Pass, "run", die)
        case "after the record" | "webhook after its commit":
            _after(RecordCallEvents, "record", die)
        case "between look-up and record":
            for look in ("list_live", "read_call", "list_records"):
                _after(JambonzDriver, look, die)
        case _:
            raise SystemExit(f"no such point: {point}")


def _make_quick() -> None:
    """Every patience of the product, a tenth or a thirtieth of it: tests cannot wait an hour."""
    vars(dial_contacts)["LEASE"] = timedelta(seconds=4)
    lifecycle.FIRST_LOOK_AFTER = timedelta(seconds=0.5)
    second = timedelta(seconds=1)
    for name, value in {
        "_TURN": 2 * second,
        "_LOOKS": (second, 2 * second),
        "_LOOK_EVERY": second,
        "_RECORDS_AFTER": 2 * second,
        "_AFTER_HANG_UP": second,
        "_SILENCE": 2 * second,
        "_POLL_EVERY_S": 1.0,
    }.items():
        assert hasattr(reconcile_calls, name), name
        setattr(reconcile_calls, name, value)
    vars(breaker)["_FIRST_PROBE_AFTER_S"] = 1.0
    vars(breaker)["_PROBE_EVERY_S"] = 3.0
    deadlines = parts.deadlines

    def short(settings: Any) -> Deadlines:
        real = deadlines(settings)
        return Deadlines(
            ring_timeout=real.ring_timeout,
            time_limit=real.time_limit,
            quarantine=timedelta(seconds=8),
            on_unresolved=real.on_unresolved,
            grace=timedelta(seconds=6),
        )

    parts.deadlines = short


def _set_clock_off(seconds: float) -> None:
    right = parts.SystemClock.now

    def wrong(self: parts.SystemClock) -> datetime:
        return right(self) + timedelta(seconds=seconds)

    parts.SystemClock.now = wrong  # type: ignore[method-assign]  # that is the point


def main() -> None:
    role, wishes = sys.argv[1], json.loads(sys.argv[2])
    stop_with_parent()
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)
    if wishes.get("quick"):
        _make_quick()
    if offset_s := wishes.get("clock_off_s"):
        _set_clock_off(offset_s)
    if mutant := wishes.get("mutant"):
        from tests.faults import mutants  # noqa: PLC0415 - it brings the simulation with it

        mutants.make_wrong(mutant)
    if nth := wishes.get("lose_claim"):
        _lose_claim(nth)
    if nth := wishes.get("stop_after_claim"):
        _stop_after_claim(_Countdown(nth, signal.SIGSTOP))
    if point := wishes.get("kill_at"):
        _arrange(point, wishes.get("nth", 1))
    {"serve": run_serve, "worker": run_worker}[role](settings)


if __name__ == "__main__":
    main()
