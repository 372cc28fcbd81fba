"""Whom a campaign may call: not every valid number is one that anybody means to dial.

Owns which kinds of number and which countries are refused unless the campaign allows them: a single
planted premium number costs more than the rest of its list. Must never read a number itself.
"""

import enum
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import phonenumbers
from phonenumbers import PhoneNumberType

from apollo.core.numbers import Number, check_region, read_number

# Every country, in `allowed_countries`.
EVERYWHERE: Final = "*"
_NO_COUNTRY: Final = "001"


class NumberKind(enum.StrEnum):
    """Numbers that are refused unless the campaign's `allowed_number_types` names them."""

    PREMIUM_RATE = "premium_rate"  # part of what a call costs goes to who is called
    SHARED_COST = "shared_cost"  # costs more than an ordinary call
    PERSONAL = "personal"  # UK 070 and the like: led on to anywhere, at any price
    UNIVERSAL_ACCESS = "universal_access"  # a company's one number for a whole country
    SATELLITE = "satellite"  # several euros a minute
    GLOBAL_SERVICE = "global_service"  # a country code that belongs to no country
    PAGER = "pager"  # nobody speaks there
    VOICEMAIL = "voicemail"  # only a machine answers
    OWN_CALLER_ID = "own_caller_id"  # the campaign would call itself


_SHOWN: Final = {
    NumberKind.PREMIUM_RATE: "a premium-rate number",
    NumberKind.SHARED_COST: "a shared-cost number",
    NumberKind.PERSONAL: "a personal number, which leads on to anywhere",
    NumberKind.UNIVERSAL_ACCESS: "a universal access number",
    NumberKind.SATELLITE: "a satellite phone",
    NumberKind.GLOBAL_SERVICE: "a global service number, of no country",
    NumberKind.PAGER: "a pager",
    NumberKind.VOICEMAIL: "a voicemail number",
    NumberKind.OWN_CALLER_ID: "one of the campaign's own caller ids",
}
_OF_TYPE: Final = {
    PhoneNumberType.PREMIUM_RATE: NumberKind.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST: NumberKind.SHARED_COST,
    PhoneNumberType.PERSONAL_NUMBER: NumberKind.PERSONAL,
    PhoneNumberType.UAN: NumberKind.UNIVERSAL_ACCESS,
    PhoneNumberType.PAGER: NumberKind.PAGER,
    PhoneNumberType.VOICEMAIL: NumberKind.VOICEMAIL,
}
# Inmarsat, and Globalstar with Iridium.
_SATELLITES: Final = frozenset({870, 881})
# Called as part of the country, at its rates: its plan has no border there.
_TERRITORIES: Final = {
    "US": ("AS", "GU", "MP", "PR", "VI"),
    "GB": ("GG", "IM", "JE"),
    "FI": ("AX",),
    "NO": ("SJ",),
    "IT": ("VA",),
    "AU": ("CC", "CX"),
    "GP": ("BL", "MF"),
    "RE": ("YT",),
}
# Enough to recognise a setting by.
_COUNTRIES_SHOWN: Final = 8


class Reach(NamedTuple):
    """Whom a campaign may call, and how its lists are read."""

    # Those of the caller ids: a number without a plus may begin with one of them.
    country_codes: frozenset[int]
    caller_ids: frozenset[str]
    # None: every country.
    countries: frozenset[str] | None
    kinds: frozenset[str]


def reach_of(
    caller_ids: Sequence[str],
    allowed_countries: Sequence[str] | None = None,
    allowed_number_types: Iterable[str] = (),
) -> Reach:
    """Give a campaign's reach; without `allowed_countries`, the countries of its caller ids."""
    numbers = [read_number(one) for one in caller_ids]
    countries: frozenset[str] | None
    if allowed_countries is None:
        # A caller id of no country, or one we cannot place, names none: then nothing is refused.
        countries = frozenset().union(*map(_countries_of, numbers)) or None
    elif EVERYWHERE in allowed_countries:
        countries = None
    else:
        countries = frozenset(allowed_countries)
    return Reach(
        frozenset(number.country_code for number in numbers),
        frozenset(number.e164 for number in numbers),
        countries,
        frozenset(allowed_number_types),
    )


def fault_of(number: Number, reach: Reach) -> str | None:
    """Say why a campaign may not call a valid number, and which setting allows it; None: it may."""
    kind = _kind_of(number, reach)
    if kind is not None and kind not in reach.kinds:
        return (
            f"it is {_SHOWN[kind]}; if the campaign is to call it, add {kind} to its"
            " allowed_number_types"
        )
    countries = reach.countries
    if countries is None or number.region in countries or number.region == _NO_COUNTRY:
        return None
    if any(_is_of(number, country) for country in countries):
        return None
    named = sorted(countries)
    shown = ", ".join(named[:_COUNTRIES_SHOWN]) + (" …" if len(named) > _COUNTRIES_SHOWN else "")
    return (
        f"it is a number of {number.region}, and the campaign calls {shown} only; if it is to call"
        f" there, add {number.region} to its allowed_countries"
    )


def checked_countries(given: Sequence[str]) -> list[str]:
    """Give countries in upper case, without repeats; ValueError names what is not known."""
    if not given:
        raise ValueError("must name at least one country; leave it out for those of the caller ids")
    return list(dict.fromkeys(one if one == EVERYWHERE else check_region(one) for one in given))


def checked_kinds(given: Sequence[str]) -> list[str]:
    """Give kinds of number without repeats; ValueError names those that there are."""
    known = list(NumberKind)
    if unknown := [one for one in given if one not in known]:
        raise ValueError(f"unknown type {unknown[0][:40]!r}; use one or more of {', '.join(known)}")
    return list(dict.fromkeys(given))


def _kind_of(number: Number, reach: Reach) -> NumberKind | None:
    if number.e164 in reach.caller_ids:
        return NumberKind.OWN_CALLER_ID
    if number.country_code in _SATELLITES:
        return NumberKind.SATELLITE
    kind = _OF_TYPE.get(number.type)
    if kind is None and number.region == _NO_COUNTRY:
        return NumberKind.GLOBAL_SERVICE
    return kind


def _countries_of(number: Number) -> frozenset[str]:
    """Give the countries that a caller id belongs to: several for a toll-free one of +1."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(number.country_code, ())
    own = [region for region in regions if region != _NO_COUNTRY and _is_of(number, region)]
    return frozenset(own).union(*(_TERRITORIES.get(region, ()) for region in own))


def _is_of(number: Number, region: str) -> bool:
    """Tell whether a number is valid in a region; those that countries share are in several."""
    if phonenumbers.country_code_for_region(region) != number.country_code:
        return False
    return phonenumbers.is_valid_number_for_region(phonenumbers.parse(number.e164), region)
