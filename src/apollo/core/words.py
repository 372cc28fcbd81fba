"""How instants, spans and evidence read in a sentence."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def stamp(at: datetime) -> str:
    """An instant as everywhere in the API: `2026-05-10T09:05:00Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def local(at: datetime, zone: ZoneInfo) -> str:
    """An instant on a wall in this zone: `Monday 11 May 09:00`."""
    wall = at.astimezone(zone)
    return f"{wall:%A} {wall.day} {wall:%B %H:%M}"


def span(length: timedelta) -> str:
    """A length of time as a person says it, its two largest units: `6 h 12 min`."""
    seconds = max(0, int(length.total_seconds()))
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def count(number: int, words: str) -> str:
    """A number of things: `1 call`, `2 calls`; where an s is not enough, both words: `is|are`."""
    one, _, many = words.partition("|")
    return f"{number:,} {one if number == 1 else many or one + 's'}"


class _Number(int):
    """A number whose format is what is counted, such as `{calls:call}`; without, bare digits."""

    def __format__(self, words: str) -> str:
        return count(int(self), words) if words else str(int(self))


def fill(
    template: str, evidence: Mapping[str, object], words: Mapping[str, object] | None = None
) -> str:
    """Put evidence into a template, and words as they are; raises KeyError when it asks for more.

    What is not known of the evidence reads "unknown"; words that are empty say nothing.
    """
    given = {key: _spoken(value) for key, value in evidence.items()}
    given |= {key: "" if value == "" else _spoken(value) for key, value in (words or {}).items()}
    return template.format_map(given)


def _spoken(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool):
        return _Number(value)
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, timedelta):
        return span(value)
    return "unknown" if value is None or value == "" else str(value)
