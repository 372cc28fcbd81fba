"""Numbers of a list that lie in another time zone than the hours of the campaign that calls them.

Calling hours are the campaign's, not the callee's: a list that spans zones has people called at
night. It is counted by the places that numbers were given out for, which is a hint and no fact.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE as COUNTRY_CODES
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

_NORTH_AMERICA: Final = "1"
_CODE: Final = "numbers_in_other_zones"


class HoursIn(NamedTuple):
    """The zone of a campaign's hours, and when its clock is compared with others'."""

    zone: str
    at: datetime


class Elsewhere:
    """Counts as a list comes in; `hours_in` None: no hours bound the campaign's calls."""

    def __init__(self, hours_in: HoursIn | None) -> None:
        self.numbers = 0
        self._of = 0
        self._example = ""
        self._hours_in = hours_in

    def add(self, e164: str) -> None:
        """Take a number into account; it counts if none of its possible zones has the time."""
        if self._hours_in is None:
            return
        self._of += 1
        zones = _zones_of(e164[1:])
        if zones and not _may_be_beside(zones, *self._hours_in):
            self.numbers += 1
            self._example = self._example or zones[0]

    def warnings(self) -> list[dict[str, Any]]:
        """Return `[{code, text}]`, empty if no number lies elsewhere."""
        if self._hours_in is None or not self.numbers:
            return []
        lie = "number lies" if self._of == 1 else "numbers lie"
        text = (
            "Make a campaign for each time zone, and give each its part of the list: these people"
            f" may be called at night. {self.numbers:,} of {self._of:,} {lie} in other zones than"
            f" the campaign's hours ({self._hours_in.zone}), for example in {self._example}."
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
