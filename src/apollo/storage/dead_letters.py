"""Messages nobody can read, kept until somebody looks: as they came, with where from and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("dead_letters")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was set aside."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter as it is kept."""

    id: int
    letter: DeadLetter
    buried_at: datetime
    replayed_at: datetime | None


async def bury(connection: Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep these messages; one that comes again is the same letter."""
    await _Q["bury"].run(
        connection,
        topics=[one.topic for one in letters],
        partitions=[one.partition for one in letters],
        offsets=[one.offset for one in letters],
        keys=[one.key for one in letters],
        values=[one.value for one in letters],
        reasons=[one.reason for one in letters],
    )


async def list_letters(
    connection: Connection, *, also_replayed: bool, at_most: int
) -> list[KeptLetter]:
    """List dead letters, the newest first."""
    rows = await _Q["list_letters"].rows(connection, also_replayed=also_replayed, at_most=at_most)
    return [_kept(row) for row in rows]


async def read_letter(connection: Connection, letter_id: int) -> KeptLetter | None:
    """Read one dead letter."""
    row = await _Q["read_letter"].row(connection, id=letter_id)
    return None if row is None else _kept(row)


async def note_replayed(connection: Connection, letter_id: int) -> None:
    """Note that a letter went back into its topic."""
    await _Q["note_replayed"].run(connection, id=letter_id)


async def count_letters(connection: Connection) -> int:
    """Count the letters that still wait for somebody."""
    return int(await _Q["count_letters"].value(connection))


def _kept(row: Record) -> KeptLetter:
    return KeptLetter(
        id=row["id"],
        letter=DeadLetter(
            topic=row["topic"],
            partition=row["partition"],
            offset=row["message_offset"],
            key=row["key"],
            value=row["value"],
            reason=row["reason"],
        ),
        buried_at=row["buried_at"],
        replayed_at=row["replayed_at"],
    )
