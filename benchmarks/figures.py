"""What a measurement comes to: figures with their spread, their goals, and how they are shown.

Owns the table at the end and the JSON beside it. Must never measure anything.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_BEGAN = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table: a value for each round, and the goal of the middle one."""

    name: str
    unit: str
    rounds: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def middle(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def goal(self) -> str:
        """The goal in words; nothing for a figure that only stands beside another."""
        if self.at_least is not None:
            return f"≥ {_shown(self.at_least)} {self.unit}"
        if self.at_most is not None:
            return f"≤ {_shown(self.at_most)} {self.unit}"
        return ""

    @property
    def is_met(self) -> bool | None:
        """Whether the middle round reached the goal; None without one."""
        if self.at_least is not None:
            return self.middle >= self.at_least
        if self.at_most is not None:
            return self.middle <= self.at_most
        return None

    def measured(self) -> str:
        """The middle of the rounds, with the lowest and the highest of several."""
        shown = f"{_shown(self.middle)} {self.unit}"
        if len(self.rounds) > 1:
            shown += f" ({_shown(min(self.rounds))} to {_shown(max(self.rounds))})"
        return shown

    def as_json(self) -> dict[str, Any]:
        """The figure as plain values."""
        return {
            "name": self.name,
            "unit": self.unit,
            "rounds": list(self.rounds),
            "min": min(self.rounds),
            "median": self.middle,
            "max": max(self.rounds),
            "goal": self.goal or None,
            "is_met": self.is_met,
            "note": self.note or None,
        }


def share(values: Sequence[float], part: float) -> float:
    """The value that `part` of the values do not exceed: 0.5 the median, 0.95 the p95."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def say(text: str) -> None:
    """A line of progress, on the error stream, so that the table can be kept by itself."""
    sys.stderr.write(f"{time.monotonic() - _BEGAN:6.1f} s  {text}\n")
    sys.stderr.flush()


def table(figures: Sequence[Figure]) -> str:
    """Figures with their goals, one a line."""
    words = {True: "yes", False: "NO", None: ""}
    rows = [("figure", "goal", "measured: median (min to max)", "met?")]
    rows += [(one.name, one.goal, one.measured(), words[one.is_met]) for one in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    rows.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3]))
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    lines += [f"{one.name}: {one.note}" for one in figures if one.note]
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
