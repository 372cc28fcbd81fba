"""Writes `docs/reference/states.md` from `apollo.core.states`, so that the page cannot rot.

Run it after a change of the tables: `python scripts/draw_states.py`. A test fails until then.
"""

import enum
import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from apollo.core.events import CallEvent
from apollo.core.states import (
    CALL_MOVES,
    CLOSED_BATCH,
    CONTACT_SHOWS,
    FINAL_CONTACT,
    LIVE_BATCH,
    OPEN_CALL,
    BatchStatus,
    CallKind,
    CallState,
    CampaignStatus,
    ContactStatus,
    Off,
    Outcome,
    PausedBy,
)

PAGE = Path(__file__).parents[1] / "docs/reference/states.md"

_OPENING = """\
# States

Every state there is and every move that is legal, as the code has them. This page is written from
`src/apollo/core/states.py` by `scripts/draw_states.py`; nothing moves that is not in those tables.
"""
_CALLS = """\
## Calls

One row for each attempt. The first five states are *open*: they hold a slot, and the number is on
no second call. Nothing leads back to `placing`, and a closed call never opens again.
"""
_MATRIX = """\
Every pair of state and event is named. *repeat*: late or duplicate, nothing moves. *surprise*:
should be impossible; nothing moves, and an alarm is raised. An `ended` call that stays `ended` may
have its outcome corrected by later, better evidence, which never schedules a call.
"""
_CONTACTS = """\
## Contacts

A contact's status follows from its calls; `lifecycle.step` decides it. A final one changes only
through a recorded correction, or through a follow-up that was asked for.
"""
_BATCHES = """\
## Batches

A batch is live until every contact is final, or until it is closed before that.
"""
_CAMPAIGNS = """\
## Campaigns

A campaign's status is never stored: it follows from its flags and its batches, so it cannot be
wrong.
"""


def render() -> str:
    """Write the page."""
    parts = [
        _OPENING,
        _CALLS,
        _diagram(),
        _table(CallState, {"open": OPEN_CALL}),
        _shows(),
        _MATRIX,
        _matrix(),
        "### Kinds\n",
        _table(CallKind, {}),
        "### Outcomes\n",
        _table(Outcome, {}),
        _CONTACTS,
        _table(ContactStatus, {"final": FINAL_CONTACT}),
        _BATCHES,
        _table(BatchStatus, {"live": LIVE_BATCH, "closed early": CLOSED_BATCH}),
        "Who paused a batch, and so who may resume it:\n",
        _table(PausedBy, {}),
        _CAMPAIGNS,
        _table(CampaignStatus, {}),
    ]
    return "\n".join(parts)


def _diagram() -> str:
    """Draw the moves of a call; what closes it from any state is drawn once for all."""
    labels: dict[tuple[CallState, CallState], list[str]] = {}
    for state, moves in CALL_MOVES.items():
        for event, target in moves.items():
            if isinstance(target, CallState):
                labels.setdefault((state, target), []).append(event.__name__)
    lines = ["```mermaid", "stateDiagram-v2", "  [*] --> placing: claimed"]
    lines += [f"  {a} --> {b}: {', '.join(names)}" for (a, b), names in labels.items()]
    lines += [f"  {state} --> [*]" for state in CallState if state not in OPEN_CALL]
    return "\n".join([*lines, "```", ""])


def _matrix() -> str:
    events = list(CALL_MOVES[CallState.PLACING])
    rows = [
        [f"`{event.__name__}`", *(_cell(state, event) for state in CallState)] for event in events
    ]
    return _rows(["", *(f"`{state}`" for state in CallState)], rows)


def _cell(state: CallState, event: type[CallEvent]) -> str:
    target = CALL_MOVES[state][event]
    return f"*{target.value}*" if isinstance(target, Off) else f"`{target}`"


def _shows() -> str:
    pairs = [[f"`{state}`", f"`{status}`"] for state, status in CONTACT_SHOWS.items()]
    return _rows(["while its call is", "a contact shows"], pairs)


def _table(kind: type[enum.StrEnum], groups: Mapping[str, Collection[enum.StrEnum]]) -> str:
    """List an enum: each member's own line of the source, and the groups it belongs to."""
    meanings = dict(re.findall(r"^\s+(\w+) = \S+  # (.*)$", inspect.getsource(kind), re.MULTILINE))
    rows = [
        [
            f"`{member}`",
            meanings[member.name],
            *("yes" if member in g else "" for g in groups.values()),
        ]
        for member in kind
    ]
    return _rows(["", "meaning", *groups], rows)


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
