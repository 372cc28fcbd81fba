"""What one client may cost the others: errors, lists, bodies and how many of them at a time."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog
from tests.web.api_world import CAMPAIGN, ApiWorld

from apollo.web import requests, shell

PATIENCE_S = 30.0
TOO_MANY = "members; at most 10000 are allowed"


async def ask(api: ApiWorld, method: str, path: str, body: Any) -> tuple[int, str]:
    reply = await api.ask(method, f"/api/v1{path}", body=io.BytesIO(json.dumps(body).encode()))
    text = json.dumps(reply.body)
    assert len(text) < 64_000, "an answer must not be larger than its question"
    return reply.status, text


async def test_a_hundred_errors_are_shown_and_the_others_counted(api: ApiWorld) -> None:
    reply = await api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN | {"phone_numbers": [1] * 500})
    assert reply.status == 422
    assert len(reply.body["detail"]) == 101
    assert reply.body["detail"][-1]["msg"].startswith("400 more errors are not shown")


@pytest.mark.parametrize(
    "fields",
    [
        {"phone_numbers": [1] * 300_000},
        {f"key{n}": 1 for n in range(50_000)},
        {"working_hours": {f"day{n}": 1 for n in range(50_000)}},
        {"retry_policy": {f"key{n}": 1 for n in range(50_000)}},
        {"metadata": {"a": {"b": [0] * 300_000}}},
    ],
)
async def test_long_lists_and_objects_are_refused_before_their_members_are_looked_at(
    api: ApiWorld, fields: dict[str, Any]
) -> None:
    for method, path in (
        ("POST", "/campaigns"),
        ("PATCH", f"/campaigns/{(await api.campaign())['campaign_id']}"),
    ):
        status, text = await ask(api, method, path, fields | (CAMPAIGN | fields))
        assert status == 422
        assert TOO_MANY in text


@pytest.mark.parametrize("name", ["working_hours", "retry_policy"])
async def test_many_unknown_keys_are_a_few_errors(api: ApiWorld, name: str) -> None:
    fields = {name: {f"key{n}": 1 for n in range(9_000)}}
    status, text = await ask(api, "POST", "/campaigns", CAMPAIGN | fields)
    assert status == 422
    assert text.count('"loc"') <= 10


async def test_of_many_unknown_keys_of_a_batch_a_hundred_are_named(api: ApiWorld) -> None:
    fields = {f"key{n}": 1 for n in range(50_000)} | {"contacts": [1]}
    status, text = await ask(api, "POST", "/batches", fields)
    assert status == 422
    assert text.count("unknown key; ") == 99, "and campaign_id is missing"
    fields = {f"key{n}": 1 for n in range(100_000)} | {"contacts": [1]}
    status, text = await ask(api, "POST", "/batches", fields)
    assert status == 413
    assert "everything but the contacts is over 1024 KiB" in text


async def test_of_a_million_bad_contacts_a_hundred_are_named_and_no_more_is_read(
    api: ApiWorld,
) -> None:
    campaign = await api.campaign()
    body = f'{{"campaign_id":"{campaign["campaign_id"]}","contacts":[{"0," * 1_000_000}0]}}'
    reply = await api.ask("POST", "/api/v1/batches", body=io.BytesIO(body.encode()))
    assert reply.status == 422
    assert len(reply.body["detail"]) == 100


# ------------------------------------------------------------------------------------- bodies


@pytest.fixture
async def small_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "UPLOAD_BODY_MAX", 2 * 1024 * 1024)


@pytest.mark.usefixtures("small_uploads")
@pytest.mark.parametrize("line", [b"+12025550143," + b"x" * 2000 + b"\n", b"\n"])
async def test_a_file_over_its_size_is_a_413_also_where_its_rows_are_empty(
    api: ApiWorld, line: bytes
) -> None:
    campaign = await api.campaign()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"phone_number,name\n"
        for _ in range(50):
            yield line * (64 * 1024 // len(line))

    reply = await api.ask(
        "POST",
        f"/api/v1/batches/csv?campaign_id={campaign['campaign_id']}",
        headers={"Content-Type": "text/csv"},
        data=pieces(),
    )
    assert reply.status == 413
    assert "split the file" in reply.body["detail"]
    assert await api.sql("select from batches") == []


async def test_an_organisation_waits_behind_its_own_large_bodies_and_nobody_elses(
    api: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "_LARGE_AT_ONCE", 1)
    other = (await api.uses.authenticate.create_token("other", "tests")).token
    url = "/api/v1/batches/csv?campaign_id=cmp_unknown"
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"phone_number\n"
        has_begun.set()
        await may_end.wait()

    async def one_row() -> AsyncIterator[bytes]:
        yield b"phone_number\n+12025550143\n"

    csv = {"Content-Type": "text/csv"}
    campaign = await api.campaign()
    mine = f"/api/v1/batches/csv?campaign_id={campaign['campaign_id']}"
    async with asyncio.timeout(PATIENCE_S):
        first = asyncio.create_task(api.ask("POST", mine, headers=csv, data=stalled()))
        await has_begun.wait()
        second = asyncio.create_task(api.ask("POST", url, headers=csv, data=one_row()))
        theirs = await api.ask("POST", url, token=other, headers=csv, data=one_row())
        # Small bodies, and everything else, wait for nothing.
        small = await api.ask("POST", "/api/v1/batches", json={"campaign_id": "cmp_x"})
        assert (theirs.status, small.status) == (404, 422)
        assert not second.done()
        may_end.set()
        assert (await first).status == 422
        assert (await second).status == 404


async def test_who_breaks_a_body_off_writes_nothing_into_the_log(api: ApiWorld) -> None:
    with structlog.testing.capture_logs() as logs:
        for path in ("/api/v1/campaigns", "/api/v1/batches", "/api/v1/batches/csv?campaign_id=x"):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", int(api.url[-5:].lstrip(":"))
            )
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {api.token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{".encode()
            )
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            del reader
        # Only when they were served has anything that they would log been logged.
        metrics = ""
        async with asyncio.timeout(PATIENCE_S):
            while metrics.count('status="499"') + metrics.count('status="422"') < 2:
                metrics = (await api.ask("GET", "/metrics", token="")).body
    assert [one for one in logs if one["log_level"] in {"warning", "error"}] == []


# ------------------------------------------------------------------------------------ answers


async def test_every_answer_says_not_to_guess_its_type_nor_to_keep_it(api: ApiWorld) -> None:
    for path, token in (
        ("/api/v1/campaigns", None),
        ("/api/v1/campaigns", ""),
        ("/api/v1/batches/btc_x/debug", None),
        ("/livez", ""),
        ("/docs", ""),
        ("/no/such/page", ""),
    ):
        async with api.http.get(
            api.url + path,
            headers={} if token == "" else {"Authorization": f"Bearer {api.token}"},
        ) as reply:
            assert reply.headers.getall("X-Content-Type-Options") == ["nosniff"], path
            assert reply.headers.getall("Cache-Control") == ["no-store"], path
            assert "Server" not in reply.headers


async def test_a_websocket_is_answered_like_any_other_request(api: ApiWorld) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    async with aiohttp.ClientSession() as http, http.get(f"{api.url}/livez", headers=headers) as r:
        assert r.status == 200


async def test_large_bodies_are_decoded_one_after_the_other_and_half_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half_time, now, turns = requests.HalfTime(), 0.0, []
    slept: list[float] = []
    wait = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        for _ in range(5):
            await wait(0)
        turns.append("others")

    def decode(body: bytes) -> int:
        nonlocal now
        now += 3.0
        turns.append("decoded")
        if body[:1] == b"!":
            raise ValueError("not JSON")
        return len(body)

    monkeypatch.setattr("apollo.web.requests.asyncio.sleep", sleep)
    monkeypatch.setattr("apollo.web.requests.time.perf_counter", lambda: now)
    large = b"x" * 100_000
    answers = await asyncio.gather(
        *(half_time.decode(one, decode) for one in (large, b"!" + large, large)),
        return_exceptions=True,
    )
    assert [answers[0], str(answers[1]), answers[2]] == [100_000, "not JSON", 100_000]
    # What is refused is paid for as well.
    assert slept == [3.0, 3.0, 3.0]
    assert turns == ["decoded", "others"] * 3
    # What is small waits for nobody.
    async with half_time._turn:
        assert await half_time.decode(b"{}", decode) == 2
