"""Bars of coloured cells for the terminal: many parts of one whole, in exactly one line.

Owns how numbers are rounded to cells. Must not know what the numbers mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

_FULL: Final = "█"
# Where nothing is coloured, neighbours still differ.
_SHADES: Final = "█▒▓░"
_SHADES_ASCII: Final = "#=+-"
_EMPTY: Final = "·"
_EMPTY_ASCII: Final = "."
# Wider bars say no more and tear numbers and names apart on a wide screen.
_WIDTH_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Bar:
    """Parts of a whole as (number, style); what they leave of `total` stays empty."""

    parts: Sequence[tuple[int, str]]
    total: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        empty = _EMPTY_ASCII if options.ascii_only else _EMPTY
        shades = _SHADES_ASCII if options.ascii_only else _SHADES
        if not options.ascii_only and console.color_system is not None and not console.no_color:
            shades = _FULL
        width = min(options.max_width, _WIDTH_MAX)
        line = Text()
        sizes = cells([number for number, _ in self.parts], self.total, width)
        shown = [(size, style) for size, (_, style) in zip(sizes, self.parts, strict=True) if size]
        for nth, (size, style) in enumerate(shown):
            line.append(shades[nth % len(shades)] * size, style)
        line.append(empty * (width - sum(sizes)), "dim")
        yield line

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(10, min(options.max_width, _WIDTH_MAX))


def cells(numbers: Sequence[int], total: int, width: int) -> list[int]:
    """Share `width` cells out by size; whoever is there at all gets one, as long as there are any.

    A full whole fills the line, and less than a whole never does.
    """
    total = max(total, sum(numbers))
    if total == 0:
        return [0] * len(numbers)
    sizes = [max(number * width // total, min(number, 1)) for number in numbers]
    is_whole = sum(numbers) == total
    # What is missing goes to, and what is too much comes from, the part that shows it least.
    while sizes and (excess := sum(sizes) - (width if is_whole else width - 1)) != 0:
        if excess < 0 and not is_whole:
            break
        largest = max(range(len(sizes)), key=lambda at: (sizes[at], numbers[at]))
        sizes[largest] -= 1 if excess > 0 else -1
    return sizes
