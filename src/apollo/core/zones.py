"""Timezone names: which one says where a campaign's clocks are, and what was meant by another.

A zone is a place, because only a place says when clocks change: EST has no summer time, and
Etc/GMT+5 lies five hours *behind* UTC. Must never guess: a name without a place is refused with
the places that it may stand for.
"""

import re
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from apollo.errors import Invalid

# Longer than any zone name; enough to recognise one's own value, and to find its like.
_SHOWN_MAX: Final = 40
# Files in zone directories that name no place: the machine's own zone, and "not set up yet".
_NO_ZONE: Final = frozenset({"localtime", "Factory"})
# These say exactly what they are: the time without a place, and without summer time.
_UTC: Final = frozenset({"UTC", "Etc/UTC"})
_ALSO_UTC: Final = frozenset(
    {"z", "zulu", "uct", "universal", "etc/uct", "etc/zulu", "etc/universal"}
)
# What people write for a zone, and the places whose clocks they may mean, most people first.
_MEANT: Final = {
    "est edt et est5edt eastern": "America/New_York America/Toronto America/Panama",
    "cst cdt ct cst6cdt central": "America/Chicago America/Mexico_City Asia/Shanghai",
    "mst mdt mt mst7mdt mountain": "America/Denver America/Phoenix",
    "pst pdt pt pst8pdt pacific": "America/Los_Angeles America/Vancouver",
    "akst akdt": "America/Anchorage",
    "hst hdt": "Pacific/Honolulu",
    "ast adt": "America/Halifax America/Puerto_Rico Asia/Riyadh",
    "nst ndt": "America/St_Johns",
    "brt brst": "America/Sao_Paulo",
    "art": "America/Argentina/Buenos_Aires",
    "clt clst": "America/Santiago",
    "cot": "America/Bogota",
    "pet": "America/Lima",
    "gmt gmt0 gmt+0 gmt-0 greenwich etc/gmt etc/gmt0 etc/greenwich": (
        "Europe/London Africa/Accra UTC"
    ),
    "bst": "Europe/London Asia/Dhaka",
    "wet west": "Europe/Lisbon",
    "cet cest met mest": "Europe/Berlin Europe/Paris Europe/Madrid",
    "eet eest": "Europe/Athens Europe/Helsinki Africa/Cairo",
    "msk": "Europe/Moscow",
    "trt": "Europe/Istanbul",
    "wat": "Africa/Lagos",
    "cat": "Africa/Harare",
    "sast": "Africa/Johannesburg",
    "eat": "Africa/Nairobi",
    "gst": "Asia/Dubai",
    "pkt": "Asia/Karachi",
    "ist": "Asia/Kolkata Europe/Dublin Asia/Jerusalem",
    "npt": "Asia/Kathmandu",
    "ict": "Asia/Bangkok Asia/Ho_Chi_Minh",
    "wib": "Asia/Jakarta",
    "sgt": "Asia/Singapore",
    "myt": "Asia/Kuala_Lumpur",
    "hkt": "Asia/Hong_Kong",
    "pht": "Asia/Manila",
    "awst": "Australia/Perth",
    "jst": "Asia/Tokyo",
    "kst": "Asia/Seoul",
    "acst acdt": "Australia/Adelaide Australia/Darwin",
    "aest aedt": "Australia/Sydney Australia/Brisbane",
    "nzst nzdt": "Pacific/Auckland",
}
_BY_ABBREVIATION: Final = {
    short: places.split() for shorts, places in _MEANT.items() for short in shorts.split()
}
# UTC+05:30, GMT-5, +0530. In names of the Etc/ family the sign is the other way round.
_OFFSET: Final = re.compile(r"(etc/)?(?:gmt|utc)?([+-])([0-9]{1,2})(?::?([0-9]{2}))?")
# A year with both halves: its lower offset is a place's time outside summer.
_HALVES: Final = (datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC))
# Enough to find one's own; more would be a list to read.
_NAMED_MAX: Final = 4


def check_timezone(name: str) -> ZoneInfo:
    """Return the zone of a place, or UTC. Raises Invalid with the places that may be meant."""
    if name in _places():
        return ZoneInfo(name)
    asked = name[:_SHOWN_MAX].strip().lower()
    shown = repr(name) if len(name) <= _SHOWN_MAX else repr(name[:_SHOWN_MAX]) + "…"
    meant = _places_meant(asked)
    if meant is not None:
        msg = f"{shown} names no place, so it does not say when its clocks change"
        raise Invalid.field("timezone", f"{msg}; {_asking(meant)}")
    raise Invalid.field("timezone", f"{shown} is not an IANA timezone; {_nearest(asked)}")


def known_zone(name: str) -> ZoneInfo:
    """Return the zone of any IANA name: what was accepted once is kept as it was meant."""
    if name in _names():
        return ZoneInfo(name)
    return check_timezone(name)


@lru_cache(maxsize=1)  # reads a directory tree; the set cannot change while we run
def _names() -> frozenset[str]:
    return frozenset(available_timezones()) - _NO_ZONE


@lru_cache(maxsize=1)
def _places() -> frozenset[str]:
    """Names of places, and UTC."""
    is_place = {n for n in _names() if not n.startswith("Etc/") and n.lower() not in _NAMELESS}
    return frozenset(is_place) | (_UTC & _names())


_NAMELESS: Final = frozenset(_BY_ABBREVIATION) | _ALSO_UTC | {"utc"}


def _places_meant(asked: str) -> list[str] | None:
    """Return the places that a name without one may stand for; None when it is no such name."""
    if asked in _ALSO_UTC:
        return ["UTC"]
    if asked in _BY_ABBREVIATION:
        return _BY_ABBREVIATION[asked]
    offset = _OFFSET.fullmatch(asked)
    if offset is None:
        return None
    is_etc, sign, hours, minutes = offset.groups()
    ahead = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if (sign == "-") != (is_etc is not None):
        ahead = -ahead
    places = dict.fromkeys(place for places in _BY_ABBREVIATION.values() for place in places)
    return [place for place in places if _winter_offset(place) == ahead][:_NAMED_MAX]


def _winter_offset(place: str) -> timedelta:
    zone = ZoneInfo(place)
    return min(half.astimezone(zone).utcoffset() or timedelta() for half in _HALVES)


def _nearest(asked: str) -> str:
    """What to write instead, found by the whole name or by its city alone, in any case."""
    places = sorted(place for place in _places() if "/" in place or place == "UTC")
    by_spelling = {zone.rpartition("/")[2].lower(): zone for zone in places}
    by_spelling |= {zone.lower(): zone for zone in places}
    # Strict: a wrong suggestion is worse than none.
    near = get_close_matches(asked, by_spelling, n=3, cutoff=0.8)
    spellings = [asked] if asked in by_spelling else near
    return _asking(list(dict.fromkeys(by_spelling[spelling] for spelling in spellings)))


def _asking(places: list[str]) -> str:
    if not places:
        return "write one such as Europe/Berlin, Asia/Kolkata or UTC"
    *first, last = places
    return f"did you mean {', '.join(first)} or {last}?" if first else f"did you mean {last}?"
