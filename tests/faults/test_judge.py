"""What the judge lets pass: only what a provider that was killed cannot have written down."""

import asyncio
import json
import math

import pytest
from tests.faults.judge import was_unwritten
from tests.faults.proxy import Asked, FaultProxy

KILLED = 100.0


@pytest.mark.parametrize(
    ("at", "over_at", "lost"),
    [
        (99.9, 99.91, True),
        # Put off by a fault before it was placed, and answered just before the end.
        (98.4, 99.99, True),
        (98.4, math.inf, True),
        (98.4, 98.5, False),
        (100.1, math.inf, False),
    ],
)
def test_only_what_was_under_way_at_the_kill_or_just_before_may_be_missing(
    at: float, over_at: float, lost: bool
) -> None:
    assert was_unwritten(Asked(at, "exec_1", over_at), [KILLED]) is lost


@pytest.mark.parametrize("is_answered", [True, False])
async def test_the_proxy_knows_when_a_request_was_over(is_answered: bool) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await go_on.wait()
        if is_answered:
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(provider, "127.0.0.1", 0)
    body = json.dumps({"tag": {"execution_id": "exec_1"}}).encode()
    proxy = FaultProxy(target=server.sockets[0].getsockname()[1])
    async with server, proxy.serving():
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"POST /v1/Accounts/a/Calls HTTP/1.1\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await arrived.wait()
        (asked,) = proxy.asked
        assert asked.over_at == math.inf
        go_on.set()
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 201") is is_answered
    assert asked.at <= asked.over_at < math.inf
