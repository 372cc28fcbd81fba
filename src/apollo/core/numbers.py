"""Phone numbers: from what a person typed to the E.164 that is dialled, or why not.

Owns the one rule for which numbers may be called: *valid* for the numbering plan, not only
possible. Must never guess a country that nobody named, and never put a number into an error.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult, timezone

# The longest E.164 number has 15 digits; the rest is room for spaces, dashes and brackets.
_TYPED_MAX: Final = 40
# Typed and pasted separators, spreadsheets' no-break spaces and long dashes among them.
_SEPARATORS: Final = re.compile(r"[\s\u200b\u2060\ufeff()\[\].\u2010-\u2015\u2212-]+")
_DIGITS: Final = re.compile(r"\+?[0-9]+")
# North American area codes have three digits, Indian operators' series four and more.
_PREFIX_DIGITS: Final = 3
_EXAMPLE: Final = "such as +14155550123"

_FAULTS: Final = {
    ValidationResult.TOO_SHORT: "it has too few digits for its country",
    ValidationResult.TOO_LONG: "it has too many digits for its country",
    ValidationResult.INVALID_LENGTH: "it has the wrong number of digits for its country",
    ValidationResult.INVALID_COUNTRY_CODE: "it begins with no known country code",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "its area code is missing",
}


def parse_number(
    raw: str,
    *,
    country_codes: frozenset[int] = frozenset(),
    default_region: str | None = None,
) -> str:
    """Read a phone number and give it as `+E.164`; ValueError says what is wrong with it.

    Without a plus it is read in `default_region` (`IN`), else as an international number if it
    begins with one of `country_codes`; nothing else is guessed.
    """
    if len(raw) > _TYPED_MAX:
        raise ValueError(f"a phone number has at most 15 digits; write it {_EXAMPLE}")
    number = _SEPARATORS.sub("", raw)
    if not number:
        raise ValueError(f"the number is empty; write it {_EXAMPLE}")
    if not _DIGITS.fullmatch(number):
        raise ValueError(f"only digits and a leading plus may be left; write it {_EXAMPLE}")
    readings = _readings(number, country_codes, default_region)
    if not readings:
        expected = f"write it with a plus and the country code, {_EXAMPLE}"
        raise ValueError(f"the country is missing; {expected}, or give default_region")
    faults = []
    for reading, region in readings:
        parsed = _parse(reading, region)
        if isinstance(parsed, str):
            faults.append(parsed)
        elif phonenumbers.is_valid_number(parsed):
            return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        else:
            possible = phonenumbers.is_possible_number_with_reason(parsed)
            faults.append(_FAULTS.get(possible, "no such number is in use in its country"))
    raise ValueError(f"not a valid number: {faults[0]}; write it {_EXAMPLE}")


def country_code_of(e164: str) -> int:
    """Give the country calling code of a number that `parse_number` returned."""
    code = phonenumbers.parse(e164).country_code
    if code is None:
        raise ValueError("not an E.164 number")
    return code


def check_region(name: str) -> str:
    """Give a region back in upper case; ValueError unless it is known, such as `IN` or `US`."""
    region = name.upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("not a known region; write two letters such as IN or US")
    return region


def _readings(
    number: str, country_codes: frozenset[int], default_region: str | None
) -> list[tuple[str, str | None]]:
    """Give every way the number may be meant, the most explicit first."""
    if number.startswith("+"):
        return [(number, None)]
    readings: list[tuple[str, str | None]] = []
    if default_region is not None:
        readings.append((number, check_region(default_region)))
    # A country code has at most 3 digits.
    if any(int(number[:width]) in country_codes for width in (1, 2, 3)):
        readings.append((f"+{number}", None))
    return readings


def _parse(number: str, region: str | None) -> PhoneNumber | str:
    try:
        return phonenumbers.parse(number, region)
    except NumberParseException as fault:
        if fault.error_type == NumberParseException.INVALID_COUNTRY_CODE:
            return _FAULTS[ValidationResult.INVALID_COUNTRY_CODE]
        if fault.error_type == NumberParseException.TOO_LONG:
            return _FAULTS[ValidationResult.TOO_LONG]
        return _FAULTS[ValidationResult.TOO_SHORT]


class Place(NamedTuple):
    """What a number tells of where it belongs, as far as it tells anything."""

    # Two letters, or "unknown".
    region: str
    # Country code and the first digits of the rest: an area or an operator.
    prefix: str
    # None where the number could be in several.
    zone: ZoneInfo | None


@lru_cache(maxsize=8192)
def place_of(e164: str) -> Place:
    """Say where a number that `parse_number` returned belongs: a hint, never a fact about a person.

    Reads two tables, some 50 µs.
    """
    number = phonenumbers.parse(e164)
    region = phonenumbers.region_code_for_number(number) or "unknown"
    national = phonenumbers.national_significant_number(number)
    zones = [z for z in timezone.time_zones_for_number(number) if z != timezone.UNKNOWN_TIMEZONE]
    return Place(
        region,
        f"+{number.country_code}{national[:_PREFIX_DIGITS]}",
        ZoneInfo(zones[0]) if len(zones) == 1 else None,
    )
