"""Reads a JSON list of objects as it arrives, one object at a time.

The live list is not paged, and an hour of finished calls is in it: its bytes must never be in
memory at once. Part of a list is no list: what breaks off, or is none, raises ValueError.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Final

# An object of the live list has about 500 characters; what is far longer is not from jambonz.
_ROW_CHARS_MAX: Final = 64 * 1024
_BLANK: Final = " \t\r\n"


class ListReader:
    """Takes the bytes of one list in pieces of any size, and gives those of its objects."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        # Only to find where an object ends; whoever gets it decides what may be in it.
        self._row = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode
        self._text = ""
        # What may come next: the bracket, an object, a comma; nothing once the list is whole.
        self._awaits = "["
        self._is_empty = True

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the objects that are complete now; raises ValueError for what is no such list."""
        text = self._text + self._decode(piece)
        at, end = 0, len(text)
        while True:
            while at < end and text[at] in _BLANK:
                at += 1
            if at == end:
                break
            if self._awaits == "{" and text[at] == "{":
                try:
                    _, after = self._row(text, at)
                except json.JSONDecodeError:
                    if end - at > _ROW_CHARS_MAX:
                        raise ValueError("an object of the list is no JSON, or too long") from None
                    break  # the rest of it is still to come
                self._awaits, self._is_empty = ",", False
                yield text[at:after].encode()
                at = after
            else:
                self._step(text[at])
                at += 1
        self._text = text[at:]

    def _step(self, mark: str) -> None:
        """Take a bracket or a comma where one belongs."""
        if self._awaits == mark == "[":
            self._awaits = "{"
        elif self._awaits == mark == ",":
            self._awaits, self._is_empty = "{", False
        elif mark == "]" and (self._awaits == "," or (self._awaits == "{" and self._is_empty)):
            self._awaits = ""
        else:
            raise ValueError(f"expected a list of objects, found {mark!r}")

    def close(self) -> None:
        """Say that nothing more comes; raises ValueError when the list is not whole."""
        if self._awaits or self._decode(b"", final=True):
            raise ValueError("the list breaks off")
