"""`apollo dlq` on a database of its own, and the count that Prometheus sees."""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from tests.cli.running import Ran, run

from apollo.storage.database import Database
from apollo.storage.dead_letters import DeadLetter, bury
from apollo.usecases.replay_dead_letters import ReplayDeadLetters
from apollo.web.health import health_router

Apollo = Callable[..., Ran]
LETTERS = [
    DeadLetter("apollo.batch.dispatch", 3, 41, b"cmp_1", b"\xff{", "not a pointer"),
    DeadLetter("apollo.call.status", 0, 7, None, b'{"call_sid": 1}', "status webhook: wrong"),
]


async def _bury(url: str) -> None:
    db = await Database.connect(url, connections_max=1)
    async with db.connection() as connection:
        await bury(connection, LETTERS)
    await db.close()


@pytest.fixture
def apollo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str
) -> Apollo:
    monkeypatch.setenv("APOLLO_DATABASE_URL", database_url)
    return partial(run, capsys, monkeypatch)


@pytest.fixture
def with_letters(apollo: Apollo, database_url: str) -> Apollo:
    asyncio.run(_bury(database_url))
    return apollo


def test_dead_letters_are_listed_with_where_from_and_why(with_letters: Apollo) -> None:
    ran = with_letters("dlq", "list")
    assert ran.code == 0, ran.err
    assert "not a pointer" in ran.out
    newest, oldest = json.loads(with_letters("dlq", "list", "--json").out)
    assert (newest["topic"], newest["offset"], newest["key"]) == ("apollo.call.status", 7, None)
    assert oldest["topic"] == "apollo.batch.dispatch"
    assert oldest["replayed_at"] is None


def test_a_letter_is_shown_as_it_came(with_letters: Apollo) -> None:
    number = json.loads(with_letters("dlq", "list", "--json").out)[1]["number"]
    ran = with_letters("dlq", "show", str(number))
    assert ran.code == 0, ran.err
    assert "\\xff{" in ran.out
    assert json.loads(with_letters("dlq", "show", str(number), "--json").out)["value"] == "\\xff{"


def test_an_empty_list_says_so_and_a_letter_that_is_not_there_is_named(apollo: Apollo) -> None:
    assert "There is no dead letter" in apollo("dlq", "list").err
    ran = apollo("dlq", "show", "4711")
    assert ran.code == 1
    assert "no dead letter 4711" in ran.err


def test_replaying_without_kafka_says_which_setting_is_missing(with_letters: Apollo) -> None:
    ran = with_letters("dlq", "replay", "--all")
    assert ran.code == 1
    assert "APOLLO_KAFKA_BOOTSTRAP_SERVERS" in ran.err
    assert with_letters("dlq", "replay").code == 2


async def test_prometheus_sees_how_many_letters_wait(database_url: str) -> None:
    await _bury(database_url)
    db = await Database.connect(database_url, connections_max=1)
    registry = CollectorRegistry()
    app = FastAPI()
    app.include_router(health_router(registry))
    app.state.use_cases = _Uses(ReplayDeadLetters(db=db, resend=None))
    sent: list[bytes] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        body = message.get("body", b"")
        assert isinstance(body, bytes)
        sent.append(body)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "headers": [],
        "query_string": b"",
    }
    await app(scope, receive, send)  # type: ignore[arg-type]  # ASGI's own types name no field
    await db.close()
    assert b"apollo_dead_letters 2.0" in b"".join(sent)


class _Uses:
    """The part of the use-cases that /metrics asks."""

    def __init__(self, dead_letters: ReplayDeadLetters) -> None:
        self.dead_letters = dead_letters
