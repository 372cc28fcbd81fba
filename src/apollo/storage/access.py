"""Organisations and their tokens. A token itself is never stored, only its hash."""

from dataclasses import dataclass
from datetime import datetime

from apollo.storage.database import Connection, Record, load_queries

_Q = load_queries("access")


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token in force, as a request finds it by its hash."""

    id: int
    organization_id: str
    name: str
    # Its last use was written down long enough ago to be written again.
    is_use_due: bool


@dataclass(frozen=True, slots=True)
class TokenListed:
    """A token as an operator sees it in a list."""

    id: int
    organization_id: str
    name: str
    shown: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


async def make_organization(connection: Connection, organization_id: str) -> None:
    """Make the organisation unless it is there."""
    await _Q["make_organization"].run(connection, organization_id=organization_id)


async def add_token(
    connection: Connection,
    *,
    organization_id: str,
    name: str,
    token_hash: bytes,
    shown: str,
    created_at: datetime,
) -> int:
    """Store a new token by its SHA-256; gives its number."""
    return int(
        await _Q["add_token"].value(
            connection,
            organization_id=organization_id,
            name=name,
            hash=token_hash,
            shown=shown,
            created_at=created_at,
        )
    )


async def find_token(
    connection: Connection, token_hash: bytes, *, seen_before: datetime
) -> KnownToken | None:
    """Find a token that is in force."""
    row = await _Q["find_token"].row(connection, hash=token_hash, seen_before=seen_before)
    return None if row is None else KnownToken(**row)


async def note_use(
    connection: Connection, token_number: int, *, used_at: datetime, seen_before: datetime
) -> None:
    """Write down that a token was used, unless another process just did."""
    await _Q["note_use"].run(connection, id=token_number, used_at=used_at, seen_before=seen_before)


async def list_tokens(connection: Connection, organization_id: str | None) -> list[TokenListed]:
    """List the tokens of one organisation, or of all; revoked ones too."""
    rows = await _Q["list_tokens"].rows(connection, organization_id=organization_id)
    return [_listed(row) for row in rows]


async def revoke_token(
    connection: Connection, *, number: int | None, token_hash: bytes | None, at: datetime
) -> TokenListed | None:
    """Revoke one token by its number or its hash; None when there is none."""
    row = await _Q["revoke_token"].row(connection, id=number, hash=token_hash, at=at)
    return None if row is None else _listed(row)


def _listed(row: Record) -> TokenListed:
    return TokenListed(**row)
