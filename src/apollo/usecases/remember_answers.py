"""Idempotency keys: the same request twice is answered once and acts once.

How to use it, in a route:

    remembered = await answers.begin(principal, "/batches", key, body_hash)
    if isinstance(remembered, FirstAnswer):
        return remembered.replayed(body_hash)        # 422 if the body was another one
    ...create; in the creating transaction, on its connection:
        await remembered.store(connection, status_code=201, answer=body, body_hash=body_hash)
    ...on a refusal (4xx):   await remembered.settle(status_code=…, answer=…, body_hash=…)
    ...on anything else:     await remembered.release()

For an upload the hash is known at its end: give `begin` None, read and hash the whole file also
when a FirstAnswer came back, and call `await remembered.keep()` now and then while reading.
Storing in the creating transaction is the point: the object and its answer exist together or not
at all, and a process whose key was taken over meanwhile cannot commit. `web/idempotency.py` does
all of this for a route. Must never run a request itself.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from apollo.errors import Conflict, Invalid, Stale
from apollo.ports import Clock
from apollo.storage import idempotency
from apollo.storage.database import Connection, Database
from apollo.storage.idempotency import Key, KeyRecord
from apollo.usecases.authenticate import Principal

# Long enough for a client's own retries over a weekend night; documented.
_KEPT_FOR: Final = timedelta(hours=24)
# A process that died holds its keys no longer than this; a living one extends them.
_LEASE: Final = timedelta(seconds=60)
_KEEP_EVERY_S: Final = 20.0  # two extensions may fail before the lease ends
_KEY: Final = re.compile(r"[!-~]{1,255}")
_HEADER: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first request with this key was answered."""

    status_code: int
    answer: bytes
    body_hash: bytes

    def replayed(self, body_hash: bytes) -> "FirstAnswer":
        """Give it again for the same body. Raises Invalid for another one."""
        if body_hash != self.body_hash:
            raise _another_body()
        return self


class Reservation:
    """A key that this request holds: it must be stored, settled or released."""

    def __init__(self, db: Database, clock: Clock, key: Key, lease_until: datetime) -> None:
        self._db = db
        self._clock = clock
        self._key = key
        self._lease_until = lease_until
        self._kept_at = clock.monotonic()

    async def keep(self) -> None:
        """Extend the lease when a third of it has passed; cheap otherwise. Raises Stale."""
        if self._clock.monotonic() < self._kept_at + _KEEP_EVERY_S:
            return
        async with self._db.connection() as connection:
            lease_until = await idempotency.extend(
                connection, self._key, lease_until=self._lease_until, lease=_LEASE
            )
        if lease_until is None:
            raise _lost()
        self._lease_until = lease_until
        self._kept_at = self._clock.monotonic()

    async def store(
        self, connection: Connection, *, status_code: int, answer: bytes, body_hash: bytes
    ) -> None:
        """Write the answer down in the caller's transaction. Raises Stale, which undoes it all."""
        is_ours = await idempotency.store(
            connection,
            self._key,
            lease_until=self._lease_until,
            body_hash=body_hash,
            status_code=status_code,
            answer=answer,
        )
        if not is_ours:
            raise _lost()

    async def settle(self, *, status_code: int, answer: bytes, body_hash: bytes) -> None:
        """Write down the answer to a request that changed nothing. Raises Stale."""
        async with self._db.connection() as connection:
            await self.store(
                connection, status_code=status_code, answer=answer, body_hash=body_hash
            )

    async def release(self) -> None:
        """Give the key back: the same request may be sent again."""
        async with self._db.connection() as connection:
            await idempotency.forget(connection, self._key, lease_until=self._lease_until)


class RememberAnswers:
    """Reserves keys and finds the answers that were given under them."""

    def __init__(self, *, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def begin(
        self, principal: Principal, path: str, key: str, body_hash: bytes | None
    ) -> Reservation | FirstAnswer:
        """Reserve a key for this organisation and path, or give the first answer.

        Raises Conflict while the first request is still running, Invalid for a malformed key and
        for another body.
        """
        if not _KEY.fullmatch(key):
            expected = "use 1 to 255 printable ASCII characters without spaces, such as a UUID"
            raise Invalid.field(_HEADER, f"not a usable key; {expected}", where="header")
        name = Key(principal.organization_id, path, key)
        async with self._db.connection() as connection:
            lease_until = await idempotency.reserve(
                connection, name, body_hash=body_hash, lease=_LEASE, kept_for=_KEPT_FOR
            )
            if lease_until is not None:
                return Reservation(self._db, self._clock, name, lease_until)
            return _first_answer(await idempotency.read(connection, name), body_hash)

    async def forget_old(self) -> int:
        """Remove what is older than a day; gives how many. For a slow loop."""
        async with self._db.connection() as connection:
            return await idempotency.forget_old(connection, kept_for=_KEPT_FOR)


def _first_answer(found: KeyRecord | None, body_hash: bytes | None) -> FirstAnswer:
    if found is None:
        raise Stale("the first request with this key was just given up")
    if None not in (body_hash, found.body_hash) and body_hash != found.body_hash:
        raise _another_body()
    if found.status_code is None or found.answer is None or found.body_hash is None:
        raise Conflict(f"The first request with this {_HEADER} is still running: try again soon")
    return FirstAnswer(found.status_code, found.answer, found.body_hash)


def _another_body() -> Invalid:
    msg = "this key was used with another body; use a new key for a new request"
    return Invalid.field(_HEADER, msg, where="header")


def _lost() -> Stale:
    return Stale("this request took too long and its idempotency key was taken over")
