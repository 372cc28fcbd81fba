"""The form of an API token: `gat_`, 30 random base62 characters, 6 of checksum.

Owns what a token looks like, so that a mistyped one costs no query and a scanner can tell a real
one from a look-alike. Must never draw randomness or see a database.
"""

import re
import zlib
from typing import Final

from apollo.core import ids

PREFIX: Final = "gat_"
_RANDOM_WIDTH: Final = 30
# 62**30 values, 178 bits: nobody guesses one, so a plain hash is enough to store it.
RANDOM_BELOW: Final = 62**_RANDOM_WIDTH
# 62**6 > 2**32: every CRC32 fits.
_CHECKSUM_WIDTH: Final = 6
_FORM: Final = re.compile(r"gat_[0-9A-Za-z]{36}")


def build_token(number: int) -> str:
    """Write a random number below `RANDOM_BELOW` as a token."""
    body = PREFIX + ids.encode(number, _RANDOM_WIDTH)
    return body + _checksum(body)


def is_token(text: str) -> bool:
    """Whether this can be a token at all: its form and its checksum are right."""
    if not _FORM.fullmatch(text):
        return False
    return _checksum(text[:-_CHECKSUM_WIDTH]) == text[-_CHECKSUM_WIDTH:]


def shown_token(token: str) -> str:
    """Give what may be kept of a token: enough to recognise it in a list."""
    return f"{token[:6]}…{token[-4:]}"


def _checksum(body: str) -> str:
    return ids.encode(zlib.crc32(body.encode()), _CHECKSUM_WIDTH)
