"""Who is asking? Tokens are made, shown once, recognised by their hash, and revoked.

Owns the only way from a request to an organisation. Must never keep, log or return a token after
the moment it was made.
"""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from apollo.core import tokens
from apollo.errors import Invalid, NotFound, Stale, Unauthorised, Unavailable
from apollo.ports import Clock
from apollo.storage import access
from apollo.storage.access import TokenListed
from apollo.storage.database import Connection, Database
from apollo.storage.latency import answered_within

__all__ = ["Authenticate", "NewToken", "Principal", "TokenListed", "organization_id_of"]

Lend = Callable[[], contextlib.AbstractAsyncContextManager[Connection]]
# A revoked token works no longer than this; short enough to wait for, and it spares a query for
# nearly every request of a busy client.
_CACHED_FOR_S: Final = 10.0
# Ten thousand clients of one process; more are simply asked about again.
_CACHED_MAX: Final = 10_000
# "When was it used last" needs no second, and a write per request would cost more than the request.
_USE_NOTED_EVERY: Final = timedelta(minutes=1)
_NAME_MAX: Final = 100
_NUMBER_DIGITS_MAX: Final = 18  # fits a bigint
_ORGANIZATION: Final = re.compile(r"org_[A-Za-z0-9_-]{1,60}")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: the organisation, and the token's name for the record of actions."""

    organization_id: str
    token_name: str


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; `token` is the only time it is ever shown."""

    token: str
    number: int
    organization_id: str
    name: str


class Authenticate:
    """Makes, recognises, lists and revokes tokens."""

    def __init__(
        self,
        *,
        db: Database,
        clock: Clock,
        random_below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._db = db
        self._clock = clock
        self._random_below = random_below
        # Good tokens only, by hash, oldest first; a bad one is never worth remembering.
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def principal_of(self, token: str, *, within_s: float | None = None) -> Principal:
        """Recognise a token; a malformed one is refused without a query.

        `within_s` is for who cannot wait: no other request's connection is waited for then.
        Raises Unauthorised or Unavailable.
        """
        if not tokens.is_token(token):
            expected = "expected gat_ and 36 letters and digits, as printed when it was made"
            raise Unauthorised(f"the token is malformed; {expected}")
        token_hash = _hash(token)
        known = self._known.get(token_hash)
        if known is not None and self._clock.monotonic() < known[1]:
            return known[0]
        asked_at = self._clock.monotonic()
        if within_s is None:
            principal = await self._find(token_hash, self._db.connection)
        else:
            found = self._find(token_hash, self._db.reserved)
            principal = await answered_within(within_s, found)
        self._remember(token_hash, principal, asked_at + _CACHED_FOR_S)
        return principal

    async def create_token(self, organization: str, name: str = "default") -> NewToken:
        """Make a token, and its organisation if it is new. Raises Invalid on a bad name."""
        organization_id = organization_id_of(organization)
        name = _checked_name(name)
        token = tokens.build_token(self._random_below(tokens.RANDOM_BELOW))
        async with self._db.transaction() as connection:
            await access.make_organization(connection, organization_id)
            number = await access.add_token(
                connection,
                organization_id=organization_id,
                name=name,
                token_hash=_hash(token),
                shown=tokens.shown_token(token),
                created_at=self._clock.now(),
            )
        return NewToken(token, number, organization_id, name)

    async def list_tokens(self, organization: str | None = None) -> list[TokenListed]:
        """List the tokens of one organisation, or of all; revoked ones too."""
        organization_id = None if organization is None else organization_id_of(organization)
        async with self._db.connection() as connection:
            return await access.list_tokens(connection, organization_id)

    async def revoke_token(self, which: str) -> TokenListed:
        """Revoke the token with this number, or this very token; other processes notice in 10 s.

        Raises NotFound.
        """
        is_number = which.isascii() and which.isdigit() and len(which) <= _NUMBER_DIGITS_MAX
        async with self._db.connection() as connection:
            revoked = await access.revoke_token(
                connection,
                number=int(which) if is_number else None,
                token_hash=_hash(which) if tokens.is_token(which) else None,
                at=self._clock.now(),
            )
        if revoked is None:
            raise NotFound("Token not found: give its number from the list, or the whole token")
        self._known.clear()
        return revoked

    async def _find(self, token_hash: bytes, lend: Lend) -> Principal:
        now = self._clock.now()
        seen_before = now - _USE_NOTED_EVERY
        async with lend() as connection:
            token = await access.find_token(connection, token_hash, seen_before=seen_before)
        if token is None:
            self._known.pop(token_hash, None)
            raise Unauthorised("the token is unknown or was revoked")
        if token.is_use_due:
            # A database that only reads at the moment must not lock everybody out.
            with contextlib.suppress(Unavailable, Stale):
                async with lend() as connection:
                    await access.note_use(
                        connection, token.id, used_at=now, seen_before=seen_before
                    )
        return Principal(token.organization_id, token.name)

    def _remember(self, token_hash: bytes, principal: Principal, until: float) -> None:
        self._known.pop(token_hash, None)
        while len(self._known) >= _CACHED_MAX:
            del self._known[next(iter(self._known))]
        self._known[token_hash] = (principal, until)


def organization_id_of(name: str) -> str:
    """Give the id of an organisation from what an operator wrote: `acme` is `org_acme`."""
    organization_id = name if name.startswith("org_") else f"org_{name}"
    if not _ORGANIZATION.fullmatch(organization_id):
        expected = "use 1 to 60 letters, digits, - and _, such as acme"
        raise Invalid.field("org", f"not a name for an organisation; {expected}", where="command")
    return organization_id


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= _NAME_MAX or not name.isprintable():
        expected = f"use 1 to {_NAME_MAX} printable characters, such as crm-production"
        raise Invalid.field("name", f"not a name for a token; {expected}", where="command")
    return name


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
