"""Visits every reachable state of the protocol's model, and says what is wrong with it.

What must never be is judged by what the provider sees; each kind of violation comes with its
shortest counter-example.
"""

from collections import deque
from dataclasses import dataclass

from tests.model.protocol_model import OPEN, THROWN_AWAY, Rules, State, start, steps


def wrong_state(s: State) -> str | None:
    """Say what must never be, by what the provider sees."""
    if sum(line.phone in {"ring", "talk"} for line in s.lines) > 1:
        return "two live calls to one number"
    return None


def wrong_step(rules: Rules, s: State, label: str, t: State) -> str | None:
    """Say what must never happen from one state to the next."""
    if label.endswith(THROWN_AWAY):
        return "an acknowledged outcome is lost"
    for k, (before, after) in enumerate(zip(s.lines, t.lines, strict=False)):
        is_placed = before.phone == "-" and after.phone != "-"
        others = (line.phone for j, line in enumerate(s.lines) if j != k)
        if is_placed and rules.contacts == 1 and any(phone in {"talk", "done"} for phone in others):
            return "a call after an answered one"
    for row, moved in zip(s.rows, t.rows, strict=False):
        if row is not None and row.state == "ended" and (moved is None or moved.state != "ended"):
            return "an ended call begins again"
    return None


def is_settled(s: State) -> bool:
    """Tell whether everything that the provider saw is written down as it was."""
    for row, line in zip(s.rows, s.lines, strict=True):
        if line.is_coming or line.phone in {"ring", "talk"}:
            return False
        if row is not None and row.state in OPEN:
            return False
        if line.phone != "-" and (row is None or row.outcome != line.phone):
            return False
    return all(c != "on_call" for c in s.contacts) and all(w.does == "idle" for w in s.workers)


@dataclass
class Found:
    """What a search came to."""

    states: int
    transitions: int
    violations: dict[str, list[str]]
    # States from which the truth can no longer be written down.
    lost: int


def search(rules: Rules) -> Found:
    """Visit every reachable state; each kind of violation with its shortest counter-example."""
    begin = start(rules)
    came_from: dict[State, tuple[State, str] | None] = {begin: None}
    leads_to: dict[State, list[State]] = {}
    queue = deque([begin])
    transitions = 0
    violations: dict[str, list[str]] = {}
    while queue:
        s = queue.popleft()
        for label, t in steps(rules, s):
            transitions += 1
            if t not in came_from:
                came_from[t] = (s, label)
                queue.append(t)
            leads_to.setdefault(t, []).append(s)
            wrong = wrong_state(t) or wrong_step(rules, s, label, t)
            if wrong is not None and wrong not in violations:
                violations[wrong] = [*_way_to(came_from, s), label]
    lost = _cannot_settle(came_from, leads_to)
    if lost:
        first = min(lost, key=lambda s: len(_way_to(came_from, s)))
        violations["the true outcome can no longer be recorded"] = _way_to(came_from, first)
    return Found(len(came_from), transitions, violations, len(lost))


def _way_to(came_from: dict[State, tuple[State, str] | None], s: State) -> list[str]:
    way = []
    step = came_from[s]
    while step is not None:
        s, label = step
        way.append(label)
        step = came_from[s]
    return way[::-1]


def _cannot_settle(
    came_from: dict[State, tuple[State, str] | None], leads_to: dict[State, list[State]]
) -> list[State]:
    settled = {s for s in came_from if is_settled(s)}
    queue = deque(settled)
    while queue:
        for s in leads_to.get(queue.popleft(), ()):
            if s not in settled:
                settled.add(s)
                queue.append(s)
    return [s for s in came_from if s not in settled]
