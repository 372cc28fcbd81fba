"""Bad input to the running product: a sentence that names the thing and the mend, no more."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from scripts.ports import free_port
from tests.e2e.machine import Machine, machine, until
from tests.e2e.provider import SECRET, signed

PROVIDER = "http://127.0.0.1:9/v1"  # nobody is there, and nobody is asked
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("command", "wrong", "words"),
    [
        (
            "serve",
            {"APOLLO_CALLS_PER_SECONDS": "5"},
            (
                "APOLLO_CALLS_PER_SECONDS: there is no such setting; did you mean"
                " APOLLO_CALLS_PER_SECOND?"
            ),
        ),
        (
            "worker",
            {"APOLLO_RING_TIMEOUT": "soon"},
            "APOLLO_RING_TIMEOUT: 'soon' is not a duration of whole seconds, such as 30s or 10m",
        ),
        (
            "migrate",
            {"APOLLO_DATABASE_URL": "mysql://root:secret@localhost/apollo"},
            (
                "APOLLO_DATABASE_URL: its value is not a PostgreSQL address such as"
                " postgresql://user:password@host:5432/apollo"
            ),
        ),
    ],
    ids=["unknown name", "bad duration", "not PostgreSQL"],
)
async def test_a_wrong_setting_stops_the_start_with_its_mend(
    command: str, wrong: dict[str, str], words: str, tmp_path: Path
) -> None:
    async with machine_alone(tmp_path, **wrong) as apollo:
        code, said = await apollo.command(command)
    assert (code, " ".join(said.split())) == (1, f"apollo: {words}")
    # Not even the directory of the database was begun.
    assert not (tmp_path / "postgres").exists()


def machine_alone(folder: Path, **settings: str) -> AbstractAsyncContextManager[Machine]:
    """An Apollo of which only commands are run: nothing is asked of its database."""
    return machine(PROVIDER, logs=folder, makes_token=False, settings=settings)


async def test_a_port_in_use_is_named_with_the_setting(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        settings = {"APOLLO_PORT": port, "APOLLO_DATABASE_URL": database_url}
        async with machine_alone(tmp_path, **settings) as apollo:
            code, said = await apollo.command("serve")
    last = said.strip().splitlines()[-1]
    assert code == 1
    assert last.startswith(f"apollo: APOLLO_PORT: cannot listen on 127.0.0.1:{port}")
    assert "set APOLLO_PORT to a free one" in last


async def test_a_data_directory_of_another_version_is_left_as_it_is(data_dir: Path) -> None:
    cluster = data_dir / "postgres/db"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("13\n")
    async with machine_alone(data_dir) as apollo:
        for arguments in (["serve"], ["token", "list"], ["up"], ["doctor"]):
            code, said = await apollo.command(*arguments)
            assert code == 1
            words = " ".join(said.split())
            assert words.count("was written by PostgreSQL 13 and this Apollo brings 18; dump") == 1
    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


async def test_a_database_that_is_not_there_is_named_to_a_person_at_once(tmp_path: Path) -> None:
    url = f"postgresql://apollo@127.0.0.1:{free_port()}/apollo"
    async with machine_alone(tmp_path, APOLLO_DATABASE_URL=url) as apollo:
        code, said = await apollo.command("token", "list")
    assert code == 1
    assert said.startswith("apollo: the database is not available: ")
    assert "Error:" not in said
    assert said.strip().endswith("; start it, or correct APOLLO_DATABASE_URL")


@pytest.fixture
async def apollo(database_url: str, tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(PROVIDER, logs=tmp_path, database_url=database_url) as apollo:
        apollo.start("serve")
        await until(apollo.is_ready, "ready")
        yield apollo
        assert apollo.surprises() == []


async def campaign_of(apollo: Machine) -> str:
    created = await apollo.post(
        "/campaigns/", {"name": "A", "agent_id": "a", "phone_numbers": ["+912261234567"]}
    )
    return str(created["campaign_id"])


async def counted(database_url: str) -> dict[str, int]:
    connection = await asyncpg.connect(database_url)
    try:
        tables = ("campaigns", "batches", "contacts", "calls", "call_events", "batch_counters")
        return {t: await connection.fetchval(f"select count(*) from {t}") for t in tables}  # noqa: S608 - ours
    finally:
        await connection.close()


async def test_bad_requests_are_refused_by_name_and_leave_nothing(
    apollo: Machine, database_url: str
) -> None:
    campaign_id = await campaign_of(apollo)
    before = await counted(database_url)
    closed = {day: {"enabled": False, "start": "09:00", "end": "18:00"} for day in ("monday",)}
    hours = {"working_hours_enforced": True, "working_hours": closed}
    base = {"name": "B", "agent_id": "b", "phone_numbers": ["+912261234567"]}
    refused = [
        await apollo.ask("POST", "/campaigns/", json=base | hours),
        await apollo.ask("POST", "/campaigns/", json=base | {"phone_numbers": ["12"]}),
        await apollo.ask(
            "POST",
            "/batches/",
            json={
                "campaign_id": campaign_id,
                "contacts": [
                    {"phone_number": "+919812345678"},
                    {"phone_number": "+9198"},
                ],
            },
        ),
    ]
    texts = [json.dumps(said) for status, said in refused if status == 422]
    assert len(texts) == 3
    assert "no day is enabled" in texts[0]
    assert "phone_numbers" in texts[1]
    assert '"contacts", 1, "phone_number"' in texts[2]
    status, said = await upload(apollo, campaign_id, b"name,city\nAsha,Pune\n")
    assert status == 422
    assert "phone_number" in said
    assert await counted(database_url) == before


async def upload(apollo: Machine, campaign_id: str, body: Any, **query: str) -> tuple[int, str]:
    url = f"{apollo.url}/api/v1/batches/csv"
    headers = {"Authorization": f"Bearer {apollo.token}", "Content-Type": "text/csv"}
    async with apollo.http.post(
        url, params={"campaign_id": campaign_id, **query}, data=body, headers=headers, timeout=None
    ) as answer:
        return answer.status, await answer.text()


async def test_wrong_tokens_and_signatures_are_refused_and_leave_nothing(
    apollo: Machine, database_url: str
) -> None:
    before = await counted(database_url)
    other = "y" if apollo.token.endswith("x") else "x"
    for token in ("gat_wrong", apollo.token[:-1] + other, "Basic"):
        status, said = await apollo.ask("GET", "/campaigns/", token=token)
        assert status == 401
        assert said["detail"]
    body = json.dumps({"call_sid": "x", "call_status": "completed", "sip_status": 200}).encode()
    for headers, word in (
        (signed(body, "not the secret"), "does the secret fit|webhook secret"),
        ({"Content-Type": "application/json"}, "signature"),
        (signed(body + b" ", SECRET), "signature"),
    ):
        async with apollo.http.post(
            f"{apollo.url}/webhooks/call-status", data=body, headers=headers
        ) as answer:
            assert answer.status == 401
            assert re.search(word, await answer.text())
    assert await counted(database_url) == before


def memory_mib(apollo: Machine) -> int:
    """The most memory the API's process ever had."""
    status = Path(f"/proc/{apollo.processes['serve'].pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


async def test_an_endless_upload_takes_no_more_memory_and_leaves_nothing(
    apollo: Machine, database_url: str
) -> None:
    campaign_id = await campaign_of(apollo)
    # Long rows, so that megabytes and not phone numbers are what is measured.
    note = "x" * 40_000

    async def rows(mib: int) -> AsyncIterator[bytes]:
        yield b"phone_number,note\n"
        for n in range(mib * MIB // len(note)):
            yield f"+91981{n:07},{note}\n".encode()
        await asyncio.sleep(0)
        yield b'"broken off in a quote\n'

    before = await counted(database_url)
    status, _ = await upload(apollo, campaign_id, rows(4))
    small = memory_mib(apollo)
    assert status == 422
    status, said = await upload(apollo, campaign_id, rows(200))
    assert (status, "quote" in said) == (422, True)
    grown = memory_mib(apollo) - small
    print(f"{small} MiB after 4 MiB, {grown} MiB more after 200")
    assert grown < 48
    assert await counted(database_url) == before
