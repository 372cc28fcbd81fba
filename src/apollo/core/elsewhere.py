"""Numbers of a list that lie in another time zone than the hours of the campaign that calls them.

Calling hours are the campaign's, not the callee's: a list that spans zones has people called at
night. It is counted by the places that numbers were given out for, which is a hint and no fact.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE as COUNTRY_CODES
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

_NORTH_AMERICA: Final = "1"
_CODE: Final = "numbers_in_other_zones"


class Elsewhere:
    """Counts as a list comes in; `zone` None: the campaign's hours do not bound its calls."""

    def __init__(self, zone: str | None, at: datetime | None) -> None:
        self.numbers = 0
        self._of = 0
        self._example = ""
        self._zone, self._at = zone, at

    def add(self, e164: str) -> None:
        """Count a number of which no possible zone has the campaign's time."""
        if self._zone is None or self._at is None:
            return
        self._of += 1
        zones = _zones_of(e164[1:])
        if zones and not _may_be_beside(zones, self._zone, self._at):
            self.numbers += 1
            self._example = self._example or zones[0]

    def warnings(self) -> list[dict[str, Any]]:
        """Return `[{code, text}]`, empty if no number lies elsewhere."""
        if not self.numbers:
            return []
        are = "number lies" if self._of == 1 else "numbers lie"
        text = (
            f"{self.numbers:,} of {self._of:,} {are} in other time zones than the campaign's hours"
            f" ({self._zone}), for example in {self._example}. Those people may be called at night."
            " Make a campaign for each zone, and give each its part of the list."
        )
        return [{"code": _CODE, "text": text}]


def _zones_of(digits: str) -> tuple[str, ...]:
    """Return the zones in which a number may be; empty: the library knows none.

    With +1 an area code has its place. Elsewhere a mobile number may be anywhere in its country.
    """
    if not digits.startswith(_NORTH_AMERICA):
        code = next((digits[:n] for n in (1, 2, 3) if int(digits[:n]) in COUNTRY_CODES), "")
        return _zones_of_country(code)
    for length in range(TIMEZONE_LONGEST_PREFIX, 0, -1):
        zones = TIMEZONE_DATA.get(digits[:length])
        if zones is not None:
            return tuple(zones)
    return ()


@lru_cache(maxsize=512)
def _zones_of_country(code: str) -> tuple[str, ...]:
    if not code:
        return ()
    zones = [
        zone for key, all_of in TIMEZONE_DATA.items() if key.startswith(code) for zone in all_of
    ]
    return tuple(dict.fromkeys(zones))


@lru_cache(maxsize=4096)
def _may_be_beside(zones: tuple[str, ...], zone: str, at: datetime) -> bool:
    ours = at.astimezone(ZoneInfo(zone)).utcoffset()
    return any(_offset(one, at) in {ours, None} for one in zones)


def _offset(zone: str, at: datetime) -> Any:
    try:
        return at.astimezone(ZoneInfo(zone)).utcoffset()
    except ZoneInfoNotFoundError:
        return None
