"""Tokens: their form, who they stand for, and how soon a revoked one stops working."""

import random
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.usecases.batch_world import SetClock

from apollo.core import tokens
from apollo.errors import Invalid, NotFound, Unauthorised
from apollo.storage.database import Database
from apollo.usecases.authenticate import Authenticate, Principal

SOME_TOKEN = tokens.build_token(12345)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database_url, connections_max=2)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def authenticate(db: Database, clock: SetClock) -> Authenticate:
    return Authenticate(db=db, clock=clock)


@given(st.integers(0, tokens.RANDOM_BELOW - 1))
def test_every_token_has_the_form_a_scanner_looks_for(number: int) -> None:
    token = tokens.build_token(number)
    assert re.fullmatch(r"gat_[0-9A-Za-z]{36}", token)
    assert tokens.is_token(token)


@given(st.integers(0, tokens.RANDOM_BELOW - 1), st.integers(4, 39), st.sampled_from("0aZ9"))
def test_one_mistyped_character_is_noticed(number: int, place: int, char: str) -> None:
    token = tokens.build_token(number)
    typed = token[:place] + char + token[place + 1 :]
    assert tokens.is_token(typed) == (typed == token)


async def test_a_token_stands_for_its_organisation(authenticate: Authenticate) -> None:
    new = await authenticate.create_token("acme", "crm")
    assert new.organization_id == "org_acme"
    assert await authenticate.principal_of(new.token) == Principal("org_acme", "crm")
    again = await authenticate.create_token("org_acme")
    assert (await authenticate.principal_of(again.token)).organization_id == "org_acme"
    assert new.token != again.token


async def test_only_the_hash_of_a_token_is_stored(authenticate: Authenticate, db: Database) -> None:
    new = await authenticate.create_token("acme")
    async with db.connection() as connection:
        (row,) = await connection.fetch("select tokens::text as everything, shown from tokens")
    assert new.token not in row["everything"]
    assert new.token[8:30] not in row["everything"]
    assert row["shown"] == f"{new.token[:6]}…{new.token[-4:]}"


@pytest.mark.parametrize(
    "token", ["", "gat_", "gat_" + "a" * 36, SOME_TOKEN[:-1], SOME_TOKEN + "x", "gät_" + "é" * 36]
)
async def test_a_malformed_token_is_refused_without_a_query(
    token: str, clock: SetClock, database_url: str
) -> None:
    closed = await Database.connect(database_url, connections_max=1)
    await closed.close()
    with pytest.raises(Unauthorised, match="malformed"):
        await Authenticate(db=closed, clock=clock).principal_of(token)


async def test_an_unknown_token_is_refused(authenticate: Authenticate) -> None:
    with pytest.raises(Unauthorised, match="unknown or was revoked"):
        await authenticate.principal_of(SOME_TOKEN)


async def test_a_revoked_token_stops_at_once_here_and_within_ten_seconds_elsewhere(
    authenticate: Authenticate, db: Database, clock: SetClock
) -> None:
    elsewhere = Authenticate(db=db, clock=clock)
    new = await authenticate.create_token("acme")
    await elsewhere.principal_of(new.token)
    await authenticate.principal_of(new.token)
    revoked = await authenticate.revoke_token(str(new.number))
    assert revoked.revoked_at == clock.at
    with pytest.raises(Unauthorised):
        await authenticate.principal_of(new.token)
    await elsewhere.principal_of(new.token)
    clock.at += timedelta(seconds=10)
    with pytest.raises(Unauthorised):
        await elsewhere.principal_of(new.token)


async def test_a_token_in_use_stays_known_for_ten_seconds_not_for_ever(
    authenticate: Authenticate, db: Database, clock: SetClock
) -> None:
    elsewhere = Authenticate(db=db, clock=clock)
    new = await authenticate.create_token("acme")
    await elsewhere.principal_of(new.token)
    await authenticate.revoke_token(new.token)
    # Each request in between must not extend what was once found good.
    for _ in range(9):
        clock.at += timedelta(seconds=1)
        await elsewhere.principal_of(new.token)
    clock.at += timedelta(seconds=1)
    with pytest.raises(Unauthorised):
        await elsewhere.principal_of(new.token)


async def test_the_last_use_is_written_at_most_once_a_minute(
    authenticate: Authenticate, clock: SetClock
) -> None:
    new = await authenticate.create_token("acme")
    first = clock.at
    seen = []
    for _ in range(7):
        await authenticate.principal_of(new.token)
        (listed,) = await authenticate.list_tokens("acme")
        seen.append(listed.last_used_at)
        clock.at += timedelta(seconds=11)
    minute_later = first + timedelta(seconds=66)
    assert seen == [first] * 6 + [minute_later]


async def test_tokens_are_listed_by_organisation(authenticate: Authenticate) -> None:
    await authenticate.create_token("acme", "one")
    await authenticate.create_token("other", "two")
    assert [token.name for token in await authenticate.list_tokens()] == ["one", "two"]
    assert [token.name for token in await authenticate.list_tokens("org_other")] == ["two"]


@pytest.mark.parametrize("which", ["999", "9" * 30, "٣", "", "gat_nonsense", SOME_TOKEN])
async def test_revoking_what_is_not_there_says_so(authenticate: Authenticate, which: str) -> None:
    await authenticate.create_token("acme")
    with pytest.raises(NotFound, match="Token not found"):
        await authenticate.revoke_token(which)


@pytest.mark.parametrize("organization", ["", "org_", "a b", "a" * 61, "acme\n", "ümlaut", "a/b"])
async def test_a_bad_organisation_is_refused_before_anything_is_written(
    authenticate: Authenticate, organization: str
) -> None:
    with pytest.raises(Invalid, match="organisation"):
        await authenticate.create_token(organization)
    assert await authenticate.list_tokens() == []


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 101])
async def test_a_bad_token_name_is_refused(authenticate: Authenticate, name: str) -> None:
    with pytest.raises(Invalid, match="token"):
        await authenticate.create_token("acme", name)


async def test_the_memory_of_good_tokens_is_bounded(
    authenticate: Authenticate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apollo.usecases.authenticate._CACHED_MAX", 3)
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201 - a failure shows it
    made = [(await authenticate.create_token("acme")).token for _ in range(6)]
    for token in random.Random(seed).choices(made, k=30):
        await authenticate.principal_of(token)
        assert len(authenticate._known) <= 3
