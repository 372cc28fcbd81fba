"""Phone numbers: from what a person typed to the E.164 that is dialled, or why not.

Owns the one rule for what a number is: *valid* for the numbering plan, not only possible, and with
one reading. Must never guess: a country that nobody named, or which of two readings is meant. Must
never put a whole number into an error.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
    timezone,
)

from apollo.core.typed_numbers import EXAMPLE, Typed, read_typed

# North American area codes have three digits, Indian operators' series four and more.
_PREFIX_DIGITS: Final = 3
# A country code has at most 3 digits.
_CODE_WIDTHS: Final = (1, 2, 3)
_INTERNATIONAL_PREFIX: Final = "00"
# Where lengths vary, numbers are up to two digits longer than the example of their kind.
_LONGER_THAN_USUAL_MAX: Final = 2

_FAULTS: Final = {
    ValidationResult.TOO_SHORT: "it has too few digits for its country",
    ValidationResult.TOO_LONG: "it has too many digits for its country",
    ValidationResult.INVALID_LENGTH: "it has the wrong number of digits for its country",
    ValidationResult.INVALID_COUNTRY_CODE: "it begins with no known country code",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "its area code is missing",
}


class Number(NamedTuple):
    """A valid number: `+E.164`, its country code, its region (`001`: of no country), its type."""

    e164: str
    country_code: int
    region: str
    # One of `phonenumbers.PhoneNumberType`.
    type: int

    @property
    def national(self) -> str:
        """The digits after the country code."""
        return self.e164[1 + len(str(self.country_code)) :]


def parse_number(
    raw: str,
    *,
    country_codes: frozenset[int] = frozenset(),
    default_region: str | None = None,
) -> str:
    """Read a phone number and give it as `+E.164`; ValueError says what is wrong with it."""
    return read_number(raw, country_codes=country_codes, default_region=default_region).e164


def read_number(
    raw: str,
    *,
    country_codes: frozenset[int] = frozenset(),
    default_region: str | None = None,
    row_region: str | None = None,
) -> Number:
    """Read a phone number; ValueError says what is wrong with it.

    Without a plus it is read in `row_region`, which the row itself names, else in `default_region`
    (`IN`), else as an international number if it begins with one of `country_codes`. A number that
    may be meant in two ways is refused.
    """
    typed = read_typed(raw)
    if typed.is_international:
        number = _international(typed)
    elif typed.digits.startswith(_INTERNATIONAL_PREFIX):
        number = _after_zeros(typed, row_region or default_region)
    elif (region := row_region or default_region) is not None:
        number = _in_region(typed, check_region(region), country_codes)
    else:
        number = _of_caller_ids(typed, country_codes)
    _refuse_doubled_code(typed, number)
    for before, after in typed.splits:
        _refuse_two(typed, number, before, after)
    return number


@lru_cache(maxsize=1024)
def country_code_of_region(region: str) -> int:
    """Give the calling code of a region that `check_region` returned."""
    return phonenumbers.country_code_for_region(region)


def check_region(name: str) -> str:
    """Give a region back in upper case; ValueError unless it is known, such as `IN` or `US`."""
    region = name.upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("not a known region; write two letters such as IN or US")
    return region


def _international(typed: Typed) -> Number:
    digits = typed.digits
    # Some write +0049: one reading, since no country code begins with 0.
    digits = digits.removeprefix(_INTERNATIONAL_PREFIX)
    if digits.startswith("0"):
        raise ValueError(f"after the plus comes the country code, never 0; write it {EXAMPLE}")
    if typed.without_zero is None:
        return _one_of([_read(f"+{digits}")])
    without = typed.without_zero.removeprefix(_INTERNATIONAL_PREFIX)
    return _one_of([_read(f"+{without}"), _read(f"+{digits}")])


def _after_zeros(typed: Typed, region: str | None) -> Number:
    """Read 00 as a plus; where the region dials abroad in another way, in that way as well."""
    digits = typed.digits if typed.without_zero is None else typed.without_zero
    readings = [_read(f"+{digits.removeprefix(_INTERNATIONAL_PREFIX)}")]
    if region is not None:
        readings.append(_read(typed.digits, check_region(region)))
    return _one_of(readings)


def _in_region(typed: Typed, region: str, country_codes: frozenset[int]) -> Number:
    """Read nationally; refused where the international reading is another number, and as likely."""
    digits = typed.digits if typed.without_zero is None else typed.without_zero
    national = _read(digits, region)
    if not _begins_with(digits, country_codes | {country_code_of_region(region)}):
        return _one_of([national])
    abroad = _read(f"+{digits}")
    if isinstance(national, str) or isinstance(abroad, str) or national == abroad:
        return _one_of([national, abroad])
    if is_mobile(abroad) or not _is_shorter_than_usual(abroad):
        raise ValueError(
            _ambiguous(national, abroad, f"nationally in {region}, or with its country code")
        )
    return national


def _of_caller_ids(typed: Typed, country_codes: frozenset[int]) -> Number:
    """Read internationally; refused where a lost zero would make it another number as well."""
    digits = typed.digits if typed.without_zero is None else typed.without_zero
    if not _begins_with(digits, country_codes):
        expected = f"write it with a plus and the country code, {EXAMPLE}"
        hint = ", or give default_region" if country_codes else ""
        raise ValueError(f"the country is missing; {expected}{hint}")
    number = _one_of([_read(f"+{digits}")])
    for region in _main_regions(country_codes):
        if not _national_shape(region).fullmatch(digits):
            continue
        national = _read(digits, region)
        if isinstance(national, str) or national == number:
            continue
        if is_mobile(national) or not is_mobile(number):
            how = f"nationally in {region}, or with its country code"
            hint = "write it with a plus, or give default_region if the list's numbers are national"
            raise ValueError(_ambiguous(national, number, how, hint))
    return number


def _begins_with(digits: str, country_codes: Iterable[int]) -> bool:
    # No country code begins with 0.
    return digits[0] != "0" and any(int(digits[:width]) in country_codes for width in _CODE_WIDTHS)


@lru_cache(maxsize=1024)
def _main_regions(country_codes: frozenset[int]) -> tuple[str, ...]:
    regions = (phonenumbers.region_code_for_country_code(code) for code in sorted(country_codes))
    return tuple(one for one in regions if one in phonenumbers.SUPPORTED_REGIONS)


@lru_cache(maxsize=1024)
def _national_shape(region: str) -> re.Pattern[str]:
    """What every national number of a region looks like: a cheap look before a dear one."""
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    pattern = metadata and metadata.general_desc and metadata.general_desc.national_number_pattern
    return re.compile(pattern or "")


def _refuse_doubled_code(typed: Typed, number: Number) -> None:
    """Refuse +49 49151…: a list that had the country code was given it once more.

    With a plus an ordinary number is taken at its word: in Lund, numbers do begin with +46 46.
    """
    code = str(number.country_code)
    if not number.national.startswith(code):
        return
    is_explicit = typed.is_international or typed.digits.startswith(_INTERNATIONAL_PREFIX)
    if not is_explicit and number.e164 != f"+{typed.digits}":
        return  # it was read nationally
    single = _read(f"+{number.national}")
    if isinstance(single, str):
        return
    if (
        not is_explicit
        or is_longer_than_usual(number)
        or (is_mobile(single) and not is_mobile(number))
    ):
        raise ValueError(_ambiguous(number, single, "its country code twice, or once"))


def _refuse_two(typed: Typed, number: Number, before: str, after: str) -> None:
    plus = "+" if typed.is_international else ""
    region = None if plus else number.region
    first = _read(f"{plus}{before}", region)
    if isinstance(first, str):
        return
    if not after:
        raise ValueError("it is a range of numbers; write the one that is to be called")
    holds_two = not isinstance(_read(after, number.region), str)
    if holds_two:
        raise ValueError("it holds two numbers; give each a row, or a column, of its own")


def _ambiguous(
    one: Number,
    other: Number,
    how: str,
    hint: str = "write it with a plus and one country code, such as +14155550123",
) -> str:
    readings = f"{_beginning(one)}… or {_beginning(other)}…"
    return f"it can be read in two ways ({how}), as {readings}; {hint}"


def _beginning(number: Number) -> str:
    return f"+{number.country_code} {number.national[:_PREFIX_DIGITS]}"


def is_mobile(number: Number) -> bool:
    """Tell whether a number is certainly a mobile one."""
    return number.type == PhoneNumberType.MOBILE


def is_longer_than_usual(number: Number) -> bool:
    """Tell whether a number has more digits than its region's numbers of this type ever need."""
    usual = _usual_length(number.region, number.type) or 0
    return len(number.national) > usual + _LONGER_THAN_USUAL_MAX


def _is_shorter_than_usual(number: Number) -> bool:
    """Whether the number has fewer digits than its region's numbers of this type commonly have."""
    usual = _usual_length(number.region, number.type)
    return usual is not None and len(number.national) < usual


@lru_cache(maxsize=1024)
def _usual_length(region: str, type_: int) -> int | None:
    example = phonenumbers.example_number_for_type(region, type_)
    if example is None:
        return None
    return len(phonenumbers.national_significant_number(example))


def _one_of(readings: list[Number | str]) -> Number:
    """Give the one valid reading; ValueError if there is none, or if there are two that differ."""
    valid = [one for one in dict.fromkeys(readings) if not isinstance(one, str)]
    if not valid:
        raise ValueError(f"not a valid number: {readings[0]}; write it {EXAMPLE}")
    if len(valid) > 1:
        raise ValueError(_ambiguous(valid[0], valid[1], "with its zero, or without"))
    return valid[0]


def _read(digits: str, region: str | None = None) -> Number | str:
    """Read digits in one way; gives the number, or why there is none."""
    try:
        parsed = phonenumbers.parse(digits, region)
    except NumberParseException as fault:
        if fault.error_type == NumberParseException.INVALID_COUNTRY_CODE:
            return _FAULTS[ValidationResult.INVALID_COUNTRY_CODE]
        if fault.error_type == NumberParseException.TOO_LONG:
            return _FAULTS[ValidationResult.TOO_LONG]
        return _FAULTS[ValidationResult.TOO_SHORT]
    # A number of a known type is what `is_valid_number` calls valid.
    type_ = phonenumbers.number_type(parsed)
    if type_ == PhoneNumberType.UNKNOWN or parsed.country_code is None:
        return _fault_of(parsed)
    return Number(
        phonenumbers.format_number(parsed, PhoneNumberFormat.E164),
        parsed.country_code,
        phonenumbers.region_code_for_number(parsed) or "001",
        type_,
    )


def _fault_of(parsed: PhoneNumber) -> str:
    national = phonenumbers.national_significant_number(parsed)
    code = str(parsed.country_code)
    if national.startswith(code) and not isinstance(_read(f"+{national}"), str):
        return "its country code stands there twice"
    possible = phonenumbers.is_possible_number_with_reason(parsed)
    return _FAULTS.get(possible, "no such number is in use in its country")


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
