"""How ids look outside: a prefix and base62, opaque to clients; inside they are UUIDs.

A contact has no id of its own: it is a place (`position`, from 1) in its batch, and its public id
says so, which saves ten million index entries and a look-up.
"""

import uuid
from typing import Final, NamedTuple

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)}
# Ids stand in every line of the log: written two characters at a time they cost half as much.
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
# 62**22 > 2**128: every UUID fits, and the fixed width keeps text order equal to number order.
_UUID_WIDTH: Final = 22
# 62**5 = 916 million positions; an upload is at most 10 million rows.
_POSITION_WIDTH: Final = 5


class ContactKey(NamedTuple):
    """Where a contact lives: its batch, and its place in upload order from 1."""

    batch_id: uuid.UUID
    position: int


def encode(number: int, width: int) -> str:
    """Write a number in base62, left-padded to `width`."""
    pairs = []
    for _ in range(0, width, 2):
        number, pair = divmod(number, 3844)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-width:]


def decode(text: str) -> int | None:
    """Read a base62 number; None when a character does not belong."""
    number = 0
    for char in text:
        value = _VALUES.get(char)
        if value is None:
            return None
        number = number * 62 + value
    return number


def public_id(prefix: str, value: uuid.UUID) -> str:
    """Show an internal id: `cmp_…`, `btc_…`, `exec_…`."""
    return f"{prefix}_{encode(value.int, _UUID_WIDTH)}"


def parse_id(prefix: str, text: str) -> uuid.UUID | None:
    """Read what `public_id` wrote; None for anything else, which callers answer with 404."""
    head, _, tail = text.partition("_")
    if head != prefix or len(tail) != _UUID_WIDTH:
        return None
    number = decode(tail)
    if number is None or number >= 1 << 128:
        return None
    return uuid.UUID(int=number)


def campaign_id(value: uuid.UUID) -> str:
    """Show a campaign's id."""
    return public_id("cmp", value)


def batch_id(value: uuid.UUID) -> str:
    """Show a batch's id."""
    return public_id("btc", value)


def execution_id(value: uuid.UUID) -> str:
    """Show a call's id: the one that travels to the provider as `tag`."""
    return public_id("exec", value)


def contact_id(key: ContactKey) -> str:
    """Show a contact's id; within a batch, ids sort in upload order."""
    return public_id("con", key.batch_id) + encode(key.position, _POSITION_WIDTH)


def parse_contact_id(text: str) -> ContactKey | None:
    """Read what `contact_id` wrote; None for anything else."""
    batch = parse_id("con", text[:-_POSITION_WIDTH])
    position = decode(text[-_POSITION_WIDTH:])
    if batch is None or position is None:
        return None
    return ContactKey(batch, position)
