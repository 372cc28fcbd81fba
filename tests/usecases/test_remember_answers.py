"""Idempotency keys: one request acts, its repeats hear the same answer, and a crash forgets."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from tests.usecases.batch_world import ACME, OTHER, SetClock

from apollo.errors import Conflict, Invalid, Stale
from apollo.storage.database import Database
from apollo.usecases.remember_answers import FirstAnswer, RememberAnswers, Reservation

BODY, ANOTHER = b"\x01" * 32, b"\x02" * 32


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.connect(database_url, connections_max=6)
    async with opened.connection() as connection:
        await connection.execute("insert into organizations values ('org_acme'), ('org_other')")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def answers(db: Database, clock: SetClock) -> RememberAnswers:
    return RememberAnswers(db=db, clock=clock)


async def reserved(
    answers: RememberAnswers, key: str = "k1", body_hash: bytes | None = BODY
) -> Reservation:
    begun = await answers.begin(ACME, "/batches", key, body_hash)
    assert isinstance(begun, Reservation)
    return begun


async def age(db: Database, by: timedelta) -> None:
    """Let time pass for every key."""
    async with db.connection() as connection:
        await connection.execute(
            "update idempotency_keys set created_at = created_at - $1::interval,"
            " lease_until = lease_until - $1::interval",
            by,
        )


async def test_a_repeat_hears_the_first_answer_to_the_byte(answers: RememberAnswers) -> None:
    first = await reserved(answers)
    await first.settle(status_code=201, answer=b'{"b": 1,  "a": 2}', body_hash=BODY)
    again = await answers.begin(ACME, "/batches", "k1", BODY)
    assert isinstance(again, FirstAnswer)
    assert again.replayed(BODY) == FirstAnswer(201, b'{"b": 1,  "a": 2}', BODY)


async def test_another_body_is_refused_before_and_after_the_answer(
    answers: RememberAnswers,
) -> None:
    first = await reserved(answers)
    with pytest.raises(Invalid, match="another body"):
        await answers.begin(ACME, "/batches", "k1", ANOTHER)
    await first.settle(status_code=201, answer=b"{}", body_hash=BODY)
    with pytest.raises(Invalid, match="another body"):
        await answers.begin(ACME, "/batches", "k1", ANOTHER)


async def test_an_upload_is_compared_once_it_has_been_read(answers: RememberAnswers) -> None:
    first = await reserved(answers, body_hash=None)
    with pytest.raises(Conflict, match="still running"):
        await answers.begin(ACME, "/batches", "k1", None)
    await first.settle(status_code=201, answer=b"{}", body_hash=BODY)
    again = await answers.begin(ACME, "/batches", "k1", None)
    assert isinstance(again, FirstAnswer)
    assert again.replayed(BODY).status_code == 201
    with pytest.raises(Invalid, match="another body"):
        again.replayed(ANOTHER)


async def test_of_many_at_once_one_acts_and_the_others_are_told_to_wait(
    answers: RememberAnswers,
) -> None:
    begun = await asyncio.gather(
        *(answers.begin(ACME, "/batches", "k1", BODY) for _ in range(12)), return_exceptions=True
    )
    assert sum(isinstance(one, Reservation) for one in begun) == 1
    assert sum(isinstance(one, Conflict) for one in begun) == 11


async def test_keys_belong_to_an_organisation_and_a_path(answers: RememberAnswers) -> None:
    await reserved(answers)
    for principal, path in ((OTHER, "/batches"), (ACME, "/campaigns")):
        begun = await answers.begin(principal, path, "k1", ANOTHER)
        assert isinstance(begun, Reservation)


async def test_a_released_key_may_be_used_again(answers: RememberAnswers) -> None:
    first = await reserved(answers)
    await first.release()
    await reserved(answers)


async def test_a_holder_that_died_holds_its_key_for_a_minute(
    answers: RememberAnswers, db: Database
) -> None:
    dead = await reserved(answers)
    await age(db, timedelta(seconds=50))
    with pytest.raises(Conflict):
        await answers.begin(ACME, "/batches", "k1", BODY)
    await age(db, timedelta(seconds=11))
    successor = await reserved(answers)
    # The one thought dead comes back: it can neither commit its work nor disturb its successor.
    async with db.connection() as connection:
        with pytest.raises(Stale):
            await dead.store(connection, status_code=201, answer=b"{}", body_hash=BODY)
    await dead.release()
    await successor.settle(status_code=201, answer=b"{}", body_hash=BODY)


async def test_a_long_upload_keeps_its_key(
    answers: RememberAnswers, db: Database, clock: SetClock
) -> None:
    upload = await reserved(answers, body_hash=None)
    await age(db, timedelta(seconds=59))
    upload._lease_until -= timedelta(seconds=59)
    await upload.keep()
    (before,) = await _leases(db)
    assert before == upload._lease_until
    clock.at += timedelta(seconds=20)
    await upload.keep()
    (after,) = await _leases(db)
    assert after - before > timedelta(seconds=55)
    await upload.settle(status_code=201, answer=b"{}", body_hash=BODY)
    clock.at += timedelta(seconds=20)
    with pytest.raises(Stale):
        await upload.keep()


async def test_an_answer_undone_with_its_transaction_is_not_remembered(
    answers: RememberAnswers, db: Database
) -> None:
    first = await reserved(answers)

    async def commit_and_fail() -> None:
        async with db.transaction() as connection:
            await first.store(connection, status_code=201, answer=b"{}", body_hash=BODY)
            raise LookupError

    with pytest.raises(LookupError):
        await commit_and_fail()
    await first.release()
    await reserved(answers)


async def test_a_key_is_forgotten_after_a_day(answers: RememberAnswers, db: Database) -> None:
    first = await reserved(answers)
    await first.settle(status_code=201, answer=b"{}", body_hash=BODY)
    await age(db, timedelta(hours=23))
    assert isinstance(await answers.begin(ACME, "/batches", "k1", BODY), FirstAnswer)
    assert await answers.forget_old() == 0
    await age(db, timedelta(hours=2))
    await reserved(answers, body_hash=ANOTHER)
    await age(db, timedelta(hours=25))
    assert await answers.forget_old() == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "é", "a\n"])
async def test_an_unusable_key_is_refused(answers: RememberAnswers, key: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key"):
        await answers.begin(ACME, "/batches", key, BODY)


async def _leases(db: Database) -> list[datetime]:
    async with db.connection() as connection:
        return [r["lease_until"] for r in await connection.fetch("select * from idempotency_keys")]
