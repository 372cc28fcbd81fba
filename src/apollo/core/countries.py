"""Countries as lists write them: a calling code, two letters, or a name in any usual language.

Owns how such a cell is understood. Must never guess: what it does not know has no region.
"""

from functools import lru_cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

import phonenumbers

from apollo.core.typed_numbers import without_invisible

_TWO_LETTERS: Final = 2
# The letters of a calling code and an area code of +1, as in 1-876.
_AREA_OF_ONE_DIGITS: Final = 4
# What people and dialers write besides ISO's two letters and the names in the library.
_ALIASES: Final = {
    "uk": "GB", "great britain": "GB", "england": "GB", "scotland": "GB", "wales": "GB",
    "northern ireland": "GB", "u k": "GB", "gbr": "GB", "el": "GR", "usa": "US", "u s": "US",
    "u s a": "US", "united states of america": "US", "america": "US", "eeuu": "US",
    "estados unidos da america": "US", "etats unis d amerique": "US", "can": "CA", "mex": "MX",
    "aus": "AU", "nzl": "NZ", "ind": "IN", "bharat": "IN", "deu": "DE", "ger": "DE", "aut": "AT",
    "che": "CH", "fra": "FR", "bel": "BE", "nld": "NL", "holland": "NL", "the netherlands": "NL",
    "esp": "ES", "prt": "PT", "bra": "BR", "ita": "IT", "irl": "IE", "pol": "PL", "swe": "SE",
    "nor": "NO", "dnk": "DK", "fin": "FI", "arg": "AR", "chl": "CL", "col": "CO", "per": "PE",
    "zaf": "ZA", "are": "AE", "uae": "AE", "sgp": "SG", "phl": "PH", "idn": "ID", "mys": "MY",
    "pak": "PK", "bgd": "BD", "lka": "LK", "nga": "NG", "ken": "KE", "tur": "TR", "jpn": "JP",
    "czech republic": "CZ", "south korea": "KR", "russia": "RU",
}  # fmt: skip


@lru_cache(maxsize=4096)
def region_of(text: str) -> str | None:
    """Give the region that a cell names, such as `GB` for 44, +44, gb or Reino Unido; or None."""
    name = _plain(text)
    digits = name.replace(" ", "").removeprefix("+").removeprefix("00")
    if digits.isdecimal() and digits.isascii():
        return _region_of_code(digits)
    if len(name) == _TWO_LETTERS and name.upper() in phonenumbers.SUPPORTED_REGIONS:
        return name.upper()
    return _ALIASES.get(name) or _names().get(name)


def is_calling_code(text: str) -> bool:
    """Tell whether a cell that names a country does so by its calling code."""
    return any(char.isdecimal() for char in text)


def _region_of_code(digits: str) -> str | None:
    if len(digits) == _AREA_OF_ONE_DIGITS and digits.startswith("1"):
        digits = "1"
    region = phonenumbers.region_code_for_country_code(int(digits[:9]))
    return region if region in phonenumbers.SUPPORTED_REGIONS else None


def _plain(text: str) -> str:
    text = without_invisible(text).strip().casefold()
    # A spreadsheet may have made an amount of a code.
    text = text.removesuffix(".0").lstrip("'")
    return " ".join("".join(c if c.isalnum() or c == "+" else " " for c in text).split())


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Give every country's names in every language that the library knows, to its region."""
    names: dict[str, str] = {}
    # Its package would load the places of all numbers with it: 40 MB, which nobody here asks for.
    file = Path(phonenumbers.__file__).parent / "geodata/locale.py"
    library = ModuleType("phonenumbers.geodata.locale")
    library.__package__ = "phonenumbers.geodata"
    SourceFileLoader(library.__name__, str(file)).exec_module(library)
    for region, by_language in library.LOCALE_DATA.items():
        if region in phonenumbers.SUPPORTED_REGIONS:
            for name in by_language.values():
                if not name.startswith("*"):
                    names.setdefault(_plain(name), region)
    return names
