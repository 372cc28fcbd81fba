"""The text of a list from its bytes: which encoding, which separator.

Owns how both are recognised, with one block of memory. Must never go on when bytes do not fit the
encoding that the file began with: half a file would be read as something else.
"""

import codecs
import re
from typing import Final

SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    # Before UTF-16: its mark begins with the other's.
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_WESTERN: Final = "Windows-1252"
# What is no list, by the bytes it begins with.
_OTHERS: Final = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of before 2007 (.xls)"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"%PDF", "a PDF"),
    (b"{\\rtf", "a text document (RTF)"),
)
# A header of Latin letters; in UTF-16 every second byte of it is zero.
_LOOKED_AT: Final = 200
_MOSTLY: Final = 0.4
_NAMED_SEPARATOR: Final = re.compile(r"sep=(.)\s*", re.IGNORECASE)


class NoText(ValueError):
    """The bytes are no text; says what they are, and whole text before them may be read."""

    def __init__(self, msg: str, before: str = "") -> None:
        super().__init__(msg)
        self.before = before


class TextDecoder:
    """Decodes one file, block by block."""

    def __init__(self) -> None:
        # As a person calls it; empty until the first block.
        self.encoding = ""
        self._codec: codecs.IncrementalDecoder | None = None
        self._is_ascii = True

    def decode(self, block: bytes, *, is_last: bool) -> str:
        """Give the text of the next block; raises NoText where it is none."""
        if self._codec is None:
            self._codec = self._settle(block)
        waiting = self._codec.getstate()[0] if self.encoding == "UTF-8" else b""
        try:
            text = self._codec.decode(block, is_last)
        except UnicodeDecodeError as fault:
            return self._in_western(waiting + block, fault)
        self._is_ascii = self._is_ascii and text.isascii()
        return text

    def _settle(self, block: bytes) -> codecs.IncrementalDecoder:
        for mark, what in _OTHERS:
            if block.startswith(mark):
                msg = f"the file is {what}; save it as .xlsx or as CSV UTF-8"
                raise NoText(msg)
        for mark, codec, name in _MARKS:
            if block.startswith(mark):
                self.encoding = name
                return codecs.getincrementaldecoder(codec)()
        codec, self.encoding = _without_mark(block[:_LOOKED_AT])
        return codecs.getincrementaldecoder(codec)()

    def _in_western(self, block: bytes, fault: UnicodeDecodeError) -> str:
        """Read the rest as Windows-1252, if nothing so far was UTF-8 beyond ASCII."""
        before = fault.object[: fault.start].decode("utf-8", "ignore")
        if self.encoding != "UTF-8" or not self._is_ascii or not before.isascii():
            raise NoText(f"is not {self.encoding}; save the file as CSV UTF-8", before) from None
        self.encoding, self._codec = _WESTERN, codecs.getincrementaldecoder("cp1252")()
        try:
            return self._codec.decode(block)
        except UnicodeDecodeError as wrong:
            before = wrong.object[: wrong.start].decode("cp1252", "ignore")
            msg = f"is neither UTF-8 nor {_WESTERN}; save the file as CSV UTF-8"
            raise NoText(msg, before) from None


def separator_of(line: str) -> str:
    """Give what separates the cells of a header line: the most frequent outside quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)


def named_separator(line: str) -> str | None:
    """Give the separator that Excel's first line `sep=;` names; None if it is no such line."""
    found = _NAMED_SEPARATOR.fullmatch(line.strip("\r\n"))
    return found[1] if found else None


def _without_mark(start: bytes) -> tuple[str, str]:
    pairs = len(start) // 2
    if pairs and start[1::2].count(0) > pairs * _MOSTLY:
        return "utf-16-le", "UTF-16"
    if pairs and start[0::2].count(0) > pairs * _MOSTLY:
        return "utf-16-be", "UTF-16"
    return "utf-8", "UTF-8"
