"""Dead letters: list them, look at one, put it back into its topic once its reader is mended.

Replaying is safe: a pointer only makes a worker look, and a status event that was applied before
changes nothing.
"""

from collections.abc import Awaitable, Callable

from apollo.errors import NotAllowedNow, NotFound
from apollo.storage import dead_letters
from apollo.storage.database import Database
from apollo.storage.dead_letters import KeptLetter


class ReplayDeadLetters:
    """What the operator does about messages nobody could read."""

    def __init__(
        self,
        *,
        db: Database,
        resend: Callable[[str, bytes | None, bytes], Awaitable[None]] | None,
    ) -> None:
        self._db = db
        self._resend = resend

    async def browse(self, *, also_replayed: bool, at_most: int) -> list[KeptLetter]:
        """List them, the newest first."""
        async with self._db.connection() as connection:
            return await dead_letters.list_letters(
                connection, also_replayed=also_replayed, at_most=at_most
            )

    async def count(self) -> int:
        """Count those that wait for somebody. Raises Unavailable."""
        async with self._db.connection() as connection:
            return await dead_letters.count_letters(connection)

    async def show(self, letter_id: int) -> KeptLetter:
        """Read one. Raises NotFound."""
        async with self._db.connection() as connection:
            kept = await dead_letters.read_letter(connection, letter_id)
        if kept is None:
            raise NotFound(f"there is no dead letter {letter_id}; `apollo dlq list` shows them")
        return kept

    async def replay(self, letter_id: int) -> KeptLetter:
        """Put one back into its topic. Raises NotFound, NotAllowedNow or Unavailable."""
        if self._resend is None:
            raise NotAllowedNow("Kafka is not the bus here: set APOLLO_KAFKA_BOOTSTRAP_SERVERS")
        kept = await self.show(letter_id)
        await self._resend(kept.letter.topic, kept.letter.key, kept.letter.value)
        async with self._db.connection() as connection:
            await dead_letters.note_replayed(connection, letter_id)
        return kept
