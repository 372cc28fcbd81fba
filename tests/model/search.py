"""Visits every reachable state of the protocol's model, and says what is wrong with it.

What must never be is judged by what the provider sees; each kind of violation comes with its
shortest counter-example.
"""

import gc
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
    # States from which the truth can no longer be written down; 0 in a search cut short.
    lost: int


def search(rules: Rules, *, at_most: int | None = None) -> Found:
    """Visit every reachable state; each kind of violation with its shortest counter-example.

    With `at_most` a search that found something wrong ends after so many states.
    """
    # Millions of small tuples and not one cycle: looking for cycles would double the time.
    gc.disable()
    try:
        return _search(rules, at_most)
    finally:
        gc.enable()


def _search(rules: Rules, at_most: int | None) -> Found:
    begin = start(rules)
    number = {begin: 0}
    states = [begin]
    came_from: list[tuple[int, str]] = [(-1, "")]
    leads_to: list[list[int]] = [[]]
    transitions = 0
    violations: dict[str, list[str]] = {}
    for n, s in enumerate(states):  # which grows on the way: a breadth-first search
        if violations and at_most is not None and n >= at_most:
            return Found(len(states), transitions, violations, 0)
        for label, t in steps(rules, s):
            transitions += 1
            m = number.get(t)
            if m is None:
                m = number[t] = len(states)
                states.append(t)
                came_from.append((n, label))
                leads_to.append([])
            leads_to[m].append(n)
            wrong = wrong_state(t) or wrong_step(rules, s, label, t)
            if wrong is not None and wrong not in violations:
                violations[wrong] = [*_way_to(came_from, n), label]
    lost = _cannot_settle(states, leads_to)
    if lost:
        # The first one found is one of the nearest.
        violations["the true outcome can no longer be recorded"] = _way_to(came_from, min(lost))
    return Found(len(states), transitions, violations, len(lost))


def _way_to(came_from: list[tuple[int, str]], n: int) -> list[str]:
    way = []
    while n > 0:
        n, label = came_from[n]
        way.append(label)
    return way[::-1]


def _cannot_settle(states: list[State], leads_to: list[list[int]]) -> list[int]:
    can = [is_settled(s) for s in states]
    queue = deque(n for n, settled in enumerate(can) if settled)
    while queue:
        for n in leads_to[queue.popleft()]:
            if not can[n]:
                can[n] = True
                queue.append(n)
    return [n for n, settled in enumerate(can) if not settled]
