"""Every region's example numbers in every form people write, and what tools make of them.

A form still says which number is meant: reading it may be refused, and must not give another one. A
mutation has lost or gained something: giving any number but the one it came from is a stranger
called.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from apollo.core.numbers import read_number

_TYPES: Final = [
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.MOBILE,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.VOIP,
    PhoneNumberType.PERSONAL_NUMBER,
    PhoneNumberType.UAN,
]
_ARABIC: Final = {ord("0") + n: 0x660 + n for n in range(10)}
_WIDE: Final = {ord("0") + n: 0xFF10 + n for n in range(10)} | {ord("+"): 0xFF0B}


@dataclass(frozen=True)
class Example:
    """A valid number, and how its parts are written."""

    region: str
    code: int
    national: str
    e164: str
    as_international: str
    as_national: str

    @property
    def plain(self) -> str:
        return self.e164[1:]


def examples() -> Iterator[Example]:
    """Give each region's example of each type, without repeats."""
    seen = set()
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for type_ in _TYPES:
            number = phonenumbers.example_number_for_type(region, type_)
            if number is None or not phonenumbers.is_valid_number(number):
                continue
            shown = _example(region, number)
            if shown.e164 not in seen:
                seen.add(shown.e164)
                yield shown


def _example(region: str, number: PhoneNumber) -> Example:
    return Example(
        region,
        number.country_code or 0,
        phonenumbers.national_significant_number(number),
        phonenumbers.format_number(number, PhoneNumberFormat.E164),
        phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL),
        phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL),
    )


Written = Callable[[Example], str]

# What says its country itself: read without any setting.
INTERNATIONAL_FORMS: Final[dict[str, Written]] = {
    "E.164": lambda x: x.e164,
    "international": lambda x: x.as_international,
    "dots": lambda x: x.as_international.replace(" ", ".").replace("-", "."),
    "dashes": lambda x: x.as_international.replace(" ", "-"),
    "spaced dashes": lambda x: x.as_international.replace("-", " - "),
    "no-break spaces": lambda x: x.as_international.replace(" ", "\u00a0"),
    "direction marks": lambda x: f"\u202a{x.as_international}\u202c",
    "non-breaking hyphens": lambda x: x.as_international.replace("-", "\u2011"),
    "brackets": lambda x: f"(+{x.code}) {x.national}",
    "brackets around all": lambda x: f"({x.e164})",
    "(0)": lambda x: f"+{x.code} (0){x.national}",
    "tel:": lambda x: f"tel:{x.e164}",
    "apostrophe": lambda x: f"'{x.e164}",
    "formula": lambda x: f'="{x.e164}"',
    "quotes": lambda x: f'"{x.e164}"',
    "Arabic digits": lambda x: x.e164.translate(_ARABIC),
    "wide digits": lambda x: x.e164.translate(_WIDE),
    "00": lambda x: f"00{x.plain}",
    "00 and spaces": lambda x: f"00 {x.code} {x.national}",
    "+00": lambda x: f"+00{x.plain}",
    "chat address": lambda x: f"{x.plain}@s.whatsapp.net",
}
# What says it only to somebody who knows the country.
NATIONAL_FORMS: Final[dict[str, Written]] = {
    "no plus": lambda x: x.plain,
    "no plus, spaces": lambda x: x.as_international.lstrip("+"),
    "national": lambda x: x.as_national,
    "national, dashes": lambda x: x.as_national.replace(" ", "-"),
    "national, digits": lambda x: "".join(filter(str.isdecimal, x.as_national)),
    "lost zero": lambda x: x.national,
}
MUTATIONS: Final[dict[str, Written]] = {
    "float": lambda x: f"{x.plain}.0",
    "float with a plus": lambda x: f"{x.e164}.0",
    "float, comma": lambda x: f"{x.plain},0",
    "two decimals": lambda x: f"{x.national}.00",
    "half": lambda x: f"{x.national}.5",
    "exponent": lambda x: f"{float(x.plain):.5E}",
    "exponent, comma": lambda x: f"{float(x.plain):.4E}".replace(".", ","),
    "zeros of an exponent": lambda x: str(int(float(f"{float(x.plain):.2E}"))),
    "x12": lambda x: f"{x.as_international} x12",
    "ext. 123": lambda x: f"{x.e164} ext. 123",
    "#12": lambda x: f"{x.e164}#12",
    "pause": lambda x: f"{x.e164},,12",
    "semicolon extension": lambda x: f"{x.e164};ext=1",
    "two, slash": lambda x: f"{x.e164} / {x.e164[:-1]}9",
    "two, comma": lambda x: f"{x.e164},{x.e164}",
    "two, semicolon": lambda x: f"{x.plain};{x.plain}",
    "two, national, slash": lambda x: f"{x.as_national}/{x.as_national}",
    "two, spaces": lambda x: f"{x.national} {x.national}",
    "two, line break": lambda x: f"{x.national}\n{x.national}",
    "two, Google": lambda x: f"{x.as_international} ::: {x.as_international}",
    "range": lambda x: f"{x.as_international} - 99",
    "range, en dash": lambda x: f"{x.as_international}\u201319",
    "range, tilde": lambda x: f"{x.e164}~9",
    "last digits of another": lambda x: f"{x.e164}/99",
    "letters": lambda x: f"{x.e164[:-2]}XX",
    "minus": lambda x: f"-{x.plain}",
    # Five digits are a service, and stand in nobody's list with a country code.
    "doubled code": lambda x: f"{x.code}{x.plain}" if len(x.national) > 5 else "",
    "doubled plus": lambda x: f"+{x.code}{x.e164}",
    "plus before a national number": lambda x: f"+0{x.national}",
    "00 within": lambda x: f"+{x.code}00{x.plain}",
}
# With a plus a valid number is taken at its word, unless nobody has such a number: +46 46 81234 is
# one in Lund. These are counted, and not held against the reading.
AT_THEIR_WORD: Final[dict[str, Written]] = {
    "doubled code with a plus": lambda x: f"+{x.code}{x.plain}",
}


@dataclass
class Figures:
    """What became of many readings."""

    right: int = 0
    refused: int = 0
    # Which form, under which setting, of which number, came out as which other number.
    wrong: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, form: str, setting: str, example: Example, text: str, **rules: Any) -> None:
        """Read a text, and count what came of it."""
        try:
            read = read_number(text, **rules).e164
        except ValueError:
            self.refused += 1
            return
        if read == example.e164:
            self.right += 1
        else:
            self.wrong.append((form, setting, example.e164, read))


def settings_of(example: Example) -> dict[str, dict[str, Any]]:
    """Give the rules under which an example would be read, none of them about another country."""
    own = frozenset({example.code})
    return {
        "nothing": {},
        "caller ids": {"country_codes": own},
        "default_region": {"default_region": example.region},
        "both": {"country_codes": own, "default_region": example.region},
        "country column": {"row_region": example.region, "default_region": "US"},
    }


def read_all(forms: dict[str, Written], numbers: Iterable[Example]) -> dict[str, Figures]:
    """Read every form of every number under every setting; gives the figures of each form."""
    figures = {name: Figures() for name in forms}
    for example in numbers:
        for setting, rules in settings_of(example).items():
            for name, written in forms.items():
                figures[name].add(name, setting, example, written(example), **rules)
    return figures
