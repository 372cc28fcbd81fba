"""What somebody typed or a spreadsheet wrote for a phone number, down to its digits.

Owns which characters may be left out of a number, and what each thing that is not a number is
called. Must never judge whether the digits are a number (`numbers` does), and never put them into
an error.
"""

import re
import unicodedata
from itertools import pairwise
from typing import Final, NamedTuple

EXAMPLE: Final = "such as +14155550123"
# The longest E.164 number has 15 digits; the rest is room for spaces, dashes, brackets and `tel:`.
_TYPED_MAX: Final = 60
_DIGITS_MAX: Final = 15
_DASHES: Final = "\\-\u2010-\u2015\u2212"
# Nothing in it needs a closer look.
_ORDINARY: Final = re.compile(r"\+?[0-9( ][0-9() -]*")
# What people write between groups of digits; no-break spaces are spaces.
_SEPARATORS: Final = re.compile(rf"[\s()\[\].{_DASHES}/]+")
# Emoji and dingbats choose their look with these; nobody sees them.
_VARIATION: Final = "\ufe0e\ufe0f"
_FULL_WIDTH: Final = ("\uff00", "\uffef")

# Spreadsheets keep digits as text with an apostrophe or a formula, and exports copy it.
_AS_TEXT: Final = re.compile(
    r"=\s*\"(.*)\"|=\s*(\+?[0-9]+)|\"(.*)\"|['`\u00b4\u2018\u2019](.*)", re.DOTALL
)
_CLOSING: Final = "'`\u00b4\u2019"
_SCHEME: Final = re.compile(r"(?:tel|callto|sms|whatsapp):(?://)?", re.IGNORECASE)
_CHAT_LINK: Final = re.compile(
    r"(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=)", re.IGNORECASE
)
_CHAT_ADDRESS: Final = re.compile(r"([0-9]+)(?::[0-9]+)?@(?:s\.whatsapp\.net|c\.us)")
_CHAT_GROUP: Final = re.compile(r"[0-9-]+@g\.us")

_EXPONENT: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+")
_EXTENSION: Final = re.compile(
    r"[0-9)]\s*[;,.]?\s*(?:x|e?xt?n?|extension|ext\.?\s*n[or°º]?|poste|anexo|ramal|interno|int"
    r"|durchwahl|dw|app|apparat|nst|toestel|доб|#|p|w)\.?\s*[:=#]?\s*[0-9]{1,7}",
    re.IGNORECASE,
)
_PAUSED: Final = re.compile(r".*[0-9)]\s*(?:,{1,4}|;)\s*[0-9]{1,7}#?")
# One point at all, and after it nothing but zeros, or one or two digits up to the end.
_DECIMAL: Final = re.compile(r"[^.,]*[0-9][.,](?:0+|[0-9]{1,2})")
_ENDS_IN_A_DIGIT: Final = re.compile(r".*[0-9][.,][0-9]")
_OPTIONAL_ZERO: Final = re.compile(r"[(\[]\s*0\s*[)\]]")
# A trailing group that a spaced or long dash, or a tilde, cuts off may be the end of a range.
_RANGE_SIGN: Final = re.compile(rf"\s[{_DASHES}]\s|[\u2012-\u2015]")
# ... and so may one as long as the group before it, and greater: 10-19.
_RANGE: Final = re.compile(rf".*[{_DASHES}\s]([0-9]{{1,4}})[{_DASHES}]([0-9]{{1,4}})")
_TAIL_MAX: Final = 4
# Up to five digits of an area code; more before a slash is a number already.
_SLASH: Final = re.compile(r"(\+|0)([0-9 ()-]{1,10}?)\s*/\s*([1-9][0-9 .-]{4,})")
_AREA_DIGITS_MAX: Final = 7
# A number in a cell of its own loses its end to `9.19877E+11`; read again, zeros stand there.
_ZEROS: Final = re.compile(r"[1-9][0-9]*00000")
# Two numbers in a cell: each has at least so many digits.
_NUMBER_DIGITS_MIN: Final = 5


class Typed(NamedTuple):
    """The digits of what was typed, and what the typing says about them."""

    digits: str
    # A plus stands before them, or an address that always has the country code.
    is_international: bool = False
    # The digits without a `(0)`, which is left out when dialling from abroad.
    without_zero: str | None = None
    # Pairs of digits (before, after): if both are numbers, or if `before` is one and `after` is
    # empty, the cell holds more than one number.
    splits: tuple[tuple[str, str], ...] = ()


def read_typed(raw: str) -> Typed:
    """Give the digits of a typed number; ValueError says what is there instead of a number."""
    # Most numbers of a file that a program wrote; they cost nothing more.
    if raw[:1] == "+" and raw.isascii() and raw[1:].isdigit():
        return Typed(_bounded(raw[1:]), is_international=True)
    text = (raw if raw.isascii() else _visible(raw)).strip()
    is_international = False
    if not _ORDINARY.fullmatch(text):
        text, is_international = _unwrapped(text)
    if not _SEPARATORS.sub("", text):
        raise ValueError(f"the number is empty; write it {EXAMPLE}")
    if len(text) > _TYPED_MAX:
        raise ValueError(f"a phone number has at most 15 digits; write it {EXAMPLE}")
    if not _ORDINARY.fullmatch(text):
        _refuse_what_is_no_number(text)
    if text.lstrip("([ \t").startswith("+"):
        is_international = True
        text = text.replace("+", "", 1)
    if _ZEROS.fullmatch(text) and not is_international:
        raise ValueError(
            "it ends in so many zeros that a spreadsheet may have shortened it; format the column"
            " as text and export again, or, if the number is right, write it with a plus"
        )
    without_zero = None
    if "0" in text and _OPTIONAL_ZERO.search(text):
        without_zero = _digits(_OPTIONAL_ZERO.sub("", text, count=1))
    digits = text if text.isdigit() else _digits(text)
    if not digits:
        raise ValueError(f"there are no digits; write it {EXAMPLE}")
    splits = () if digits is text else _splits(text)
    return Typed(_bounded(digits), is_international, without_zero, splits)


def shown_character(char: str) -> str:
    """Name a character that may not be visible, such as `U+202A LEFT-TO-RIGHT EMBEDDING`."""
    return f"U+{ord(char):04X} {unicodedata.name(char, 'control character')}"


def without_invisible(text: str) -> str:
    """Leave out what nobody sees: direction marks, zero-width spaces, byte-order marks."""
    if text.isascii():
        return text
    return "".join(c for c in text if unicodedata.category(c) != "Cf" and c not in _VARIATION)


def _visible(raw: str) -> str:
    """Leave out what nobody sees, and write every script's digits and wide forms in ASCII."""
    kept = []
    for char in without_invisible(raw):
        if (value := unicodedata.decimal(char, None)) is not None:
            kept.append(str(value))
        elif _FULL_WIDTH[0] <= char <= _FULL_WIDTH[1]:
            kept.append(unicodedata.normalize("NFKC", char))
        else:
            kept.append(char)
    return "".join(kept)


def _unwrapped(text: str) -> tuple[str, bool]:
    """Take off what spreadsheets, links and chats put around a number.

    Gives the rest, and whether the wrapping means that the country code is there.
    """
    while found := _AS_TEXT.fullmatch(text):
        inner = next(one for one in found.groups() if one is not None)
        text = inner.rstrip(_CLOSING).strip()
    if found := _CHAT_ADDRESS.fullmatch(text):
        return found[1], True
    if _CHAT_GROUP.fullmatch(text):
        raise ValueError("this is a chat group, not a person; leave the row out")
    if found := _CHAT_LINK.match(text):
        return text[found.end() :].lstrip("+"), True
    if found := _SCHEME.match(text):
        text = text[found.end() :].strip()
        if "phone-context" in text:
            raise ValueError(f"its country is in a phone-context; write it whole, {EXAMPLE}")
    return text, False


def _refuse_what_is_no_number(text: str) -> None:
    if _EXPONENT.fullmatch(text):
        raise ValueError(
            "a spreadsheet has shortened it (there is an exponent, E+), and the missing digits are"
            " lost; format the column as text and export again"
        )
    if (
        text.count("+") > 1
        or "+" in text.lstrip("([ \t")[1:]
        or re.search(r"[0-9]\s*(?::+|\||&|\n|\r)\s*[0-9(]", text)
    ):
        raise ValueError(_two_numbers(text))
    if _EXTENSION.search(text) or _PAUSED.fullmatch(text.removesuffix("#")):
        if _is_decimal(text):
            raise ValueError(_DECIMAL_FAULT)
        raise ValueError(
            "it has an extension, which cannot be dialled; write the number alone, or the direct"
            " number"
        )
    if any(char.isalpha() for char in text):
        raise ValueError(
            f"it contains letters; only digits and a leading plus may be left, {EXAMPLE}"
        )
    if re.search(r"[;,]\s*[0-9(]", text) and not _is_decimal(text):
        raise ValueError(_two_numbers(text))
    if _is_decimal(text):
        raise ValueError(_DECIMAL_FAULT)
    if re.match(rf"[{_DASHES}]\s*[0-9]", text):
        raise ValueError(f"it begins with a minus sign; write it {EXAMPLE}")
    if "~" in text or "\u301c" in text:
        raise ValueError(_RANGE_FAULT)
    if "/" in text:
        _check_slash(text)
    _refuse_characters(text)


def _two_numbers(text: str) -> str:
    if text.lstrip().startswith("++"):
        return f"it has more than one plus; write it {EXAMPLE}"
    return "it holds two numbers; give each a row, or a column, of its own"


_DECIMAL_FAULT: Final = (
    "it has a decimal point or comma, so a program took it for an amount; format the column as text"
    " and export again, or write the digits alone"
)
_RANGE_FAULT: Final = "it is a range of numbers; write the one that is to be called"


def _is_decimal(text: str) -> bool:
    return bool(_DECIMAL.fullmatch(text) or _ENDS_IN_A_DIGIT.fullmatch(text))


def _check_slash(text: str) -> None:
    """A slash may follow an area code, as in 030/231250; anywhere else it divides two numbers."""
    found = _SLASH.fullmatch(text)
    if found is None or len(_digits(found[1] + found[2])) > _AREA_DIGITS_MAX:
        raise ValueError(
            "it holds two numbers, or a slash that is not after the area code; give each number a"
            " row of its own"
        )


def _refuse_characters(text: str) -> None:
    for char in _SEPARATORS.sub("", text).lstrip("+"):
        if char in "*#":
            raise ValueError(f"it contains {char}, which is a key and not part of a number")
        if not ("0" <= char <= "9"):
            raise ValueError(
                f"it contains {shown_character(char)}; only digits and a leading plus may be left,"
                f" {EXAMPLE}"
            )


def _digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))


def _bounded(digits: str) -> str:
    # Room for 00 before the country code, and for a trunk prefix after it.
    if len(digits) > _DIGITS_MAX + 4:
        hint = "if it holds two numbers, give each a row of its own"
        raise ValueError(f"a phone number has at most 15 digits; {hint}")
    return digits


def _splits(text: str) -> tuple[tuple[str, str], ...]:
    """Say where the text may be divided into a number and the end of a range, or a second one."""
    groups = list(re.finditer(r"[0-9]+", text))
    splits = []
    for before, after in pairwise(groups):
        left, right = _digits(text[: before.end()]), _digits(text[after.start() :])
        if len(left) >= _NUMBER_DIGITS_MIN and len(right) >= _NUMBER_DIGITS_MIN:
            splits.append((left, right))
    if len(groups) > 1 and len(groups[-1][0]) <= _TAIL_MAX:
        left = _digits(text[: groups[-1].start()])
        between = text[groups[-2].end() : groups[-1].start()]
        ends = _RANGE.fullmatch(text)
        is_range = ends is not None and len(ends[1]) == len(ends[2]) and ends[1] < ends[2]
        if is_range or _RANGE_SIGN.search(between):
            splits.append((left, ""))
    return tuple(splits)
