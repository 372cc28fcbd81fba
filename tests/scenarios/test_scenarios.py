"""Runs every `*.txt` beside it: a command, dashes, what must follow.

A scenario is one contact. `policy` sets the rules, `call KIND` claims and opens a call, `event N …`
tells call N that something happened, `agent N WHOM` and `detector N WHOM` say who picked up, `batch
STATUS` changes the batch. After each event stand the call's new state, the contact's, and the
effects. Times are seconds since the start.
"""

import shlex
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from apollo.core.campaign_settings import FOLLOW_UPS_DEFAULT
from apollo.core.carrier import silent_family
from apollo.core.events import (
    AnswererKnown,
    CallAccepted,
    CallAnswered,
    CallEnded,
    CallEvent,
    CallRinging,
    CallTrying,
    CallVanished,
    Evidence,
    HangUp,
    LeaseExpired,
    NumberRefused,
    QuarantineOver,
    Reached,
    RequestLost,
    RequestNotPlaced,
)
from apollo.core.ids import ContactKey
from apollo.core.lifecycle import Step, step
from apollo.core.model import (
    Call,
    CallSetting,
    Contact,
    Deadlines,
    OnUnresolved,
    RetryPolicy,
    RetryStrategy,
)
from apollo.core.sip import Family
from apollo.core.states import BatchStatus, CallKind, CallState, ContactStatus

START = datetime(2026, 5, 10, 9, tzinfo=UTC)
DEADLINES = Deadlines(
    ring_timeout=timedelta(seconds=30),
    time_limit=timedelta(minutes=30),
    quarantine=timedelta(minutes=10),
    on_unresolved=OnUnresolved.HOLD,
)


class Stage:
    def __init__(self) -> None:
        self.now = START
        self.policy = RetryPolicy(3, RetryStrategy.FIXED, timedelta(minutes=30))
        self.batch = BatchStatus.IN_PROGRESS
        self.set_up: Family | None = None
        self.calls: dict[str, Call] = {}
        self.contact = Contact(
            key=ContactKey(uuid.UUID(int=1), 1), status=ContactStatus.PENDING, updated_at=START
        )

    def run(self, line: str) -> str:
        word, *rest = shlex.split(line)
        match word:
            case "policy":
                retries, strategy, minutes = rest
                self.policy = RetryPolicy(
                    int(retries), RetryStrategy(strategy), timedelta(minutes=int(minutes))
                )
            case "batch":
                self.batch = BatchStatus(rest[0])
            case "row":
                self.set_up = Family(rest[0])
            case "at":
                self.now = START + timedelta(seconds=int(rest[0]))
            case "call":
                return self._claim(rest[0])
            case "follow_up":
                name, seconds = rest
                at = START + timedelta(seconds=int(seconds))
                self.calls[name] = replace(self.calls[name], follow_up_at=at)
            case "event":
                name, *words = rest
                return self._event(name, self._read(*words))
            case "agent" | "detector":
                name, reached = rest
                return self._event(name, self._heard(Reached(reached), by_agent=word == "agent"))
            case _:
                raise AssertionError(f"no such command: {line}")
        return ""

    def _claim(self, kind: str) -> str:
        name, contact = str(len(self.calls) + 1), self.contact
        self.calls[name] = Call(
            id=uuid.UUID(int=100 + len(self.calls)),
            state=CallState.PLACING,
            version=1,
            kind=CallKind(kind),
            provider="p",
            phone_number="+14155550123",
            from_number="+14155552670",
            requested_at=self.now,
            prior_due_at=contact.due.due_at if contact.due else None,
            prior_updated_at=contact.updated_at,
            prior_attempted_at=contact.last_attempted_at,
        )
        # What the claim statement does to a contact.
        self.contact = replace(
            contact,
            status=ContactStatus.DISPATCHED,
            wait_reason=None,
            due=None,
            attempts=contact.attempts + 1,
            tries=contact.tries + 1,
            retry_count=contact.retry_count + (kind == "retry" and contact.tries > 0),
            follow_up_count=contact.follow_up_count + (kind == "follow_up"),
            last_attempted_at=self.now,
            updated_at=self.now,
        )
        return f"{name} placing"

    def _heard(self, reached: Reached, *, by_agent: bool) -> CallEvent:
        told = Evidence.AGENT if by_agent else Evidence.WEBHOOK
        return AnswererKnown(at=self.now, evidence=told, reached=reached, by_agent=by_agent)

    def _event(self, name: str, event: CallEvent) -> str:
        before = self.calls[name]
        setting = CallSetting(
            follow_ups_max=FOLLOW_UPS_DEFAULT,
            batch_status=self.batch,
            retry=self.policy,
            deadlines=DEADLINES,
            other_calls=tuple(
                c for n, c in self.calls.items() if n != name and c.state is not CallState.RELEASED
            ),
        )
        # As the gates say it: only of a call that ends before it rang.
        silent = silent_family(before, event)
        set_up = self.set_up if silent is self.set_up else None
        done = step(before, self.contact, setting, event, set_up=set_up)
        self.calls[name], self.contact = done.call, done.contact
        return self._show(name, before, done)

    def _read(self, word: str, *rest: str) -> CallEvent:
        told = {"found_ended": Evidence.RECORD}.get(word, Evidence.WEBHOOK)
        base: dict[str, Any] = {"at": self.now, "evidence": told}
        sid: dict[str, Any] = {
            "provider_call_id": next((r[4:] for r in rest if r.startswith("sid=")), None)
        }
        plain = [r for r in rest if not r.startswith("sid=")]
        match word:
            case "accepted":
                return CallAccepted(**base, **sid)
            case "trying":
                return CallTrying(**base, **sid)
            case "ringing":
                return CallRinging(**base, **sid)
            case "answered":
                return CallAnswered(**base, **sid)
            case "not_placed":
                return RequestNotPlaced(**base, reason=plain[0])
            case "number_refused":
                return NumberRefused(**base, reason="bad_number")
            case "lost":
                return RequestLost(**base, reason=plain[0])
            case "lease_expired":
                return LeaseExpired(**base)
            case "vanished":
                return CallVanished(
                    at=self.now, evidence=Evidence.ASSUMED, may_retry=plain != ["unproven"]
                )
            case "quarantine_over":
                return QuarantineOver(
                    at=self.now, evidence=Evidence.ASSUMED, may_retry=plain == ["may_retry"]
                )
            case "ended" | "found_ended":
                status = plain[0]
                sip = int(plain[1]) if len(plain) > 1 else None
                return CallEnded(**base, **sid, call_status=status, sip_status=sip)
        raise AssertionError(f"no such event: {word}")

    def _show(self, name: str, before: Call, done: Step) -> str:
        call = done.call
        lines = [f"{name} {before.state.value} -> {call.state.value}"]
        if done.off is not None:
            lines = [f"{name} {call.state.value} ({done.off.value})"]
        elif done.is_correction:
            lines[0] += " (correction)"
        if call.outcome is not None and (done.off is None):
            lines[0] += f" {call.outcome.value}: {call.hangup_reason}"
        if done.off is None:
            lines.append(f"  contact {self._contact()}")
        for effect in done.effects:
            target = effect.provider_call_id if isinstance(effect, HangUp) else ""
            lines.append(f"  {type(effect).__name__} {target}".rstrip())
        return "\n".join(lines)

    def _contact(self) -> str:
        c = self.contact
        shown = f"{c.status.value} retries={c.retry_count} carrier={c.carrier_failures}"
        if c.due is not None:
            shown += f" due={int((c.due.due_at - START).total_seconds())}"
        if c.wait_reason is not None:
            shown += f" {c.wait_reason.value}"
        return shown


def blocks(path: Path) -> list[tuple[int, list[str], str]]:
    """Split a scenario into (line number, commands, expected answer)."""
    found = []
    commands: list[str] = []
    expected: list[str] | None = None
    first = 1
    for number, line in enumerate([*path.read_text().splitlines(), ""], start=1):
        if line.startswith("#"):
            continue
        if line == "----":
            expected = []
        elif line == "" and commands:
            found.append((first, commands, "\n".join(expected or [])))
            commands, expected = [], None
        elif expected is not None:
            expected.append(line)
        elif line:
            if not commands:
                first = number
            commands.append(line)
    return found


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.glob("*.txt")), ids=lambda path: path.stem
)
def test_scenario(path: Path) -> None:
    stage = Stage()
    for number, commands, expected in blocks(path):
        answers = [answer for answer in (stage.run(c) for c in commands) if answer]
        assert "\n".join(answers) == expected, f"{path.name}, line {number}"
