"""Whatever goes wrong on the wire, a call is asked for once and its fate is told truly."""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from scripts.ports import free_port
from tests.drivers.conftest import DriverFor, StoppedClock, request_to
from tests.drivers.jambonz_stand_in import Cut, Reply, StandIn

from apollo.errors import DriverError, NotPlaced, OutcomeUnknown, WillNeverWork
from apollo.ports import Placed, RateLimit
from apollo.telephony.jambonz import JambonzDriver

TO, FROM = "919876543210", "447400123456"
BAD_TO = f'missing or invalid to property: {{"type":"phone","number":"+{TO}"}}'
LONG = b'{"sid":"' + b"x" * 100_000 + b'"}'
CREATED = {"sid": "779087c4-adb5-490a-b2b6-9d5385446c21", "callId": "86de19a4@10.0.0.5"}

REFUSALS = [
    (Reply(400, {"msg": BAD_TO}), WillNeverWork, "number"),
    (Reply(422, {"message": f"cannot reach +{TO}"}), WillNeverWork, "number"),
    (Reply(400, {"msg": "missing from parameter"}), WillNeverWork, "request"),
    (Reply(400, {"msg": f"+{FROM} may not call {TO}"}), WillNeverWork, "request"),
    (Reply(400, {"msg": "invalid from number or to number"}), WillNeverWork, "request"),
    (Reply(400, {"msg": "call_hook url be an absolute url"}), WillNeverWork, "request"),
    (Reply(404, b"Not Found"), WillNeverWork, "request"),
    (Reply(400, {"msg": f"no such url …?k={request_to().agent_key}"}), WillNeverWork, "request"),
    (Reply(400, b'{"msg":"\xff"}'), WillNeverWork, "request"),
    (Reply(400, b'{"x":' + b"[" * 60_000), WillNeverWork, "request"),
    (
        Reply(400, {"msg": "unauthorized createCall request for account 1c0de0a4"}),
        NotPlaced,
        "unauthorised",
    ),
    (Reply(401, b"Unauthorized"), NotPlaced, "unauthorised"),
    (Reply(403, {"msg": "insufficient permissions"}), NotPlaced, "unauthorised"),
    (Reply(429, b"Too many requests"), NotPlaced, "rate_limited"),
    (Reply(480, {"msg": "no available feature servers"}), NotPlaced, "no_capacity"),
    (Reply(301, headers={"Location": "/v1/elsewhere"}), NotPlaced, "redirect"),
    (Reply(307, headers={"Location": "/v1/elsewhere"}), NotPlaced, "redirect"),
    (Reply(308, headers={"Location": "/v1/elsewhere"}), NotPlaced, "redirect"),
    (Reply(500, b"Internal Server Error"), OutcomeUnknown, "server_error"),
    (Reply(500, {"msg": "fetch failed"}), OutcomeUnknown, "server_error"),
    (Reply(500, {"msg": "connect ECONNREFUSED 127.0.0.1:3306"}), NotPlaced, "store_down"),
    (Reply(502, {"msg": "connect ECONNREFUSED 127.0.0.1:3306"}), OutcomeUnknown, "server_error"),
    (Reply(500, b"fetch failed: connect ECONNREFUSED"), OutcomeUnknown, "server_error"),
    (
        Reply(500, {"msg": "connect ECONNREFUSED 10.0.0.5:3306"}, cut=Cut.MIDWAY),
        OutcomeUnknown,
        "broken_body",
    ),
    (Reply(502, b"<html>Bad Gateway</html>"), OutcomeUnknown, "server_error"),
    (Reply(503), OutcomeUnknown, "server_error"),
    (Reply(504), OutcomeUnknown, "server_error"),
    (Reply(408), OutcomeUnknown, "server_error"),
    (Reply(200, {"ok": True}), OutcomeUnknown, "server_error"),
    (Reply(400, LONG), OutcomeUnknown, "broken_body"),
    (Reply(400, {"msg": BAD_TO}, cut=Cut.MIDWAY), OutcomeUnknown, "broken_body"),
    (Reply(400, {"msg": BAD_TO}, cut=Cut.SILENT_MIDWAY), OutcomeUnknown, "broken_body"),
    (Reply(cut=Cut.BEFORE), OutcomeUnknown, "reset"),
    (Reply(cut=Cut.SILENT), OutcomeUnknown, "timeout"),
    (
        Reply(400, b"not gzip at all", headers={"Content-Encoding": "gzip"}),
        OutcomeUnknown,
        "broken_body",
    ),
]


async def refused(driver: JambonzDriver) -> DriverError:
    """Place a call that must fail; the error may show neither numbers nor keys, however printed."""
    with pytest.raises(DriverError) as caught:
        await driver.place(request_to())
    printed = "".join(traceback.format_exception(caught.value))
    for secret in (TO, FROM, request_to().agent_key, StandIn.api_key):
        assert secret not in str(caught.value)
        assert secret not in printed
    return caught.value


@pytest.mark.parametrize(("reply", "kind", "cause"), REFUSALS, ids=str)
async def test_an_answer_that_is_no_yes_is_sorted_and_the_request_was_sent_once(
    stand_in: StandIn, reply: Reply, kind: type[DriverError], cause: str, driver_for: DriverFor
) -> None:
    stand_in.script.append(reply)
    driver = driver_for(stand_in.base_url, total_timeout_s=0.3)
    error = await refused(driver)

    assert (type(error), error.cause) == (kind, cause)
    assert error.status == (None if reply.cut in {Cut.BEFORE, Cut.SILENT} else reply.status)
    assert sum(stand_in.seen.values()) == 1
    assert len(stand_in.posts) == 1


@pytest.mark.parametrize(
    ("reply", "ids"),
    [
        (Reply(201, CREATED), (CREATED["sid"], CREATED["callId"])),
        (Reply(201, CREATED | {"news": 1}), (CREATED["sid"], CREATED["callId"])),
        (Reply(201, {"sid": CREATED["sid"]}), (CREATED["sid"], None)),
        (Reply(201), (None, None)),
        (Reply(201, b"created"), (None, None)),
        (Reply(201, b'{"sid":"\xff"}'), (None, None)),
        (Reply(201, b'{"x":' + b"[" * 60_000), (None, None)),
        (Reply(201, {"sid": 7}), (None, None)),
        (Reply(201, {"sid": "../../Accounts"}), (None, None)),
        (Reply(201, LONG), (None, None)),
        (Reply(201, CREATED, cut=Cut.MIDWAY), (None, None)),
        (Reply(201, CREATED, cut=Cut.SILENT_MIDWAY), (None, None)),
    ],
    ids=str,
)
async def test_a_201_is_a_yes_even_when_its_body_is_not_readable(
    stand_in: StandIn, reply: Reply, ids: tuple[str | None, str | None], driver_for: DriverFor
) -> None:
    stand_in.script.append(reply)
    driver = driver_for(stand_in.base_url, total_timeout_s=0.3)
    assert await driver.place(request_to()) == Placed(*ids)
    assert len(stand_in.posts) == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"msg": "call +91 98765 43210 first"}, "call [number] first"),
        ({"msg": 'to: {"number":14155550123}'}, 'to: {"number":[number]}'),
        ({"message": "no\n  such  thing"}, "no such thing"),
        ({"code": 7}, '{"code": 7}'),
        (b"connect 10.0.0.5:8086", "connect 10.0.0.5:8086"),
        (b"application 5a9d43a8-9c1c-4f0e-8d0f-000000000001", None),
        (b"", "(nothing)"),
        (b"x" * 1000, "x" * 200),
    ],
    ids=str,
)
async def test_the_words_of_the_provider_are_shown_short_and_without_any_number(
    stand_in: StandIn, driver: JambonzDriver, said: object, shown: str | None
) -> None:
    stand_in.script.append(Reply(422, said))
    text = shown or (said.decode() if isinstance(said, bytes) else "")
    assert str(await refused(driver)) == f"the provider answered 422: {text}"


async def test_no_cookie_is_ever_sent_back(stand_in: StandIn, driver_for: DriverFor) -> None:
    driver = driver_for(stand_in.base_url.replace("127.0.0.1", "localhost"))
    stand_in.script.append(Reply(404, headers={"Set-Cookie": "session=1; Path=/"}))
    await driver.probe()
    await driver.place(request_to())
    assert stand_in.cookies == [None, None]


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "152", "RateLimit-Reset": "9"}, 152.0),
        ({"Retry-After": "Sun, 10 May 2026 09:05:40 GMT"}, 40.0),
        ({"Retry-After": "Sun, 10 May 2026 09:05:40 -0000"}, 40.0),
        ({"Retry-After": "Sun, 10 May 2026 08:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon", "RateLimit-Reset": "9"}, 9.0),
        ({"Retry-After": "999999999"}, 3600.0),
        ({"Retry-After": "-5"}, 5.0),
        ({"Retry-After": "Sun, 10 May 99999999999 09:05:40 GMT"}, 5.0),
        ({}, 5.0),
    ],
    ids=str,
)
async def test_a_rate_limit_says_how_long_to_wait(
    stand_in: StandIn, driver: JambonzDriver, headers: dict[str, str], wait_s: float
) -> None:
    stand_in.script.append(Reply(429, b"Too many requests", headers))
    error = await refused(driver)
    assert isinstance(error, NotPlaced)
    assert error.retry_after_s == wait_s


async def test_the_request_budget_is_that_of_the_last_answer(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    told = [driver.rate_limit]
    await driver.probe()
    told.append(driver.rate_limit)
    for headers in (
        {"RateLimit-Remaining": "0", "RateLimit-Reset": "9"},
        {"RateLimit-Remaining": "many", "RateLimit-Reset": "9"},
    ):
        stand_in.script.append(Reply(503, headers=headers))
        await refused(driver)
        told.append(driver.rate_limit)
    assert told == [None, RateLimit(596, 300.0, 600), RateLimit(0, 9.0), None]


async def test_a_used_up_budget_is_full_again_when_the_provider_said(
    stand_in: StandIn, driver: JambonzDriver, clock: StoppedClock
) -> None:
    used_up = {"RateLimit-Remaining": "0", "RateLimit-Reset": "9"}
    stand_in.script.append(Reply(429, headers=used_up))
    await refused(driver)
    clock.seconds = 8.0
    assert driver.rate_limit == RateLimit(0, 1.0, None, 8.0)
    clock.seconds = 9.0
    assert driver.rate_limit is None, "it did not say how large the next one is"


async def test_the_next_window_is_taken_to_be_as_the_policy_says_until_it_is_told(
    driver: JambonzDriver, clock: StoppedClock
) -> None:
    told = [driver.rate_policy]
    await driver.probe()
    told.append(driver.rate_policy)
    assert told == [None, (600, 300.0)]
    clock.seconds = 300.0
    assert driver.rate_limit == RateLimit(600, 300.0, 600, 300.0)


# ------------------------------------------------------- the connection, below HTTP


@asynccontextmanager
async def wire_that(*lives: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve these answers, one to each request; a request too many finds its connection closed.

    Yields the address, and the method of each request as it comes.
    """
    heard: list[bytes] = []
    unused = list(lives)
    writers: list[asyncio.StreamWriter] = []

    async def live(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while method := await _request_method(reader):
            heard.append(method)
            if not unused:
                break
            writer.write(unused.pop(0))
        writer.close()

    server = await asyncio.start_server(live, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", heard
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _request_method(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    await reader.readexactly(int(fields.get(b"content-length", b"0")))
    return head.partition(b" ")[0]


GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found"


async def test_a_call_sent_down_a_kept_connection_that_dies_is_unknown_and_not_sent_again(
    driver_for: DriverFor,
) -> None:
    async with wire_that(GONE) as (url, heard):
        driver = driver_for(url)
        await driver.probe()
        error = await refused(driver)
    assert (type(error), error.cause) == (OutcomeUnknown, "reset")
    assert heard == [b"GET", b"POST"]


async def test_a_look_up_down_such_a_connection_is_sent_again_so_the_proof_above_can_fail(
    driver_for: DriverFor,
) -> None:
    async with wire_that(GONE) as (url, heard):
        driver = driver_for(url)
        await driver.probe()
        with pytest.raises(OutcomeUnknown):
            await driver.probe()
    assert heard == [b"GET", b"GET", b"GET"]


async def test_a_kept_connection_that_the_server_closed_meanwhile_is_not_used(
    driver_for: DriverFor,
) -> None:
    closing = GONE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    created = b'HTTP/1.1 201 Created\r\nContent-Length: 13\r\n\r\n{"sid":"abc"}'
    async with wire_that(closing, created) as (url, heard):
        driver = driver_for(url)
        await driver.probe()
        assert await driver.place(request_to()) == Placed("abc", None)
    assert heard == [b"GET", b"POST"]


@pytest.mark.parametrize(
    "noise", [b"220 smtp.example.com ESMTP\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 201"]
)
async def test_an_answer_that_is_not_http_leaves_the_call_unknown(
    noise: bytes, driver_for: DriverFor
) -> None:
    async with wire_that(noise) as (url, heard):
        driver = driver_for(url, total_timeout_s=0.3)
        error = await refused(driver)
    assert isinstance(error, OutcomeUnknown)
    assert error.cause in {"broken_body", "timeout", "reset"}
    assert heard == [b"POST"]


async def test_a_refused_connection_places_nothing(driver_for: DriverFor) -> None:
    driver = driver_for(f"http://127.0.0.1:{free_port()}/v1")
    error = await refused(driver)
    assert (type(error), error.cause) == (NotPlaced, "connect")


async def test_a_name_that_does_not_resolve_places_nothing(driver_for: DriverFor) -> None:
    driver = driver_for("http://no-such-host.invalid/v1", connect_timeout_s=1.0)
    error = await refused(driver)
    assert (type(error), error.cause) == (NotPlaced, "connect")


async def test_a_connection_that_is_never_accepted_places_nothing(driver_for: DriverFor) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        port = deaf.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        driver = driver_for(f"http://127.0.0.1:{port}/v1", connect_timeout_s=0.2)
        error = await refused(driver)
        for one in crowd:
            one.close()
    assert (type(error), error.cause) == (NotPlaced, "connect")


async def test_a_tls_handshake_that_stalls_places_nothing(driver_for: DriverFor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        driver = driver_for(f"https://127.0.0.1:{port}/v1", connect_timeout_s=0.2)
        error = await refused(driver)
    assert (type(error), error.cause) == (NotPlaced, "connect")


async def test_a_server_that_speaks_no_tls_gets_no_request(
    stand_in: StandIn, driver_for: DriverFor
) -> None:
    driver = driver_for(stand_in.base_url.replace("http:", "https:"))
    error = await refused(driver)
    assert (type(error), error.cause) == (NotPlaced, "connect")
    assert not stand_in.seen


async def test_a_request_that_waits_in_vain_for_a_free_connection_places_nothing(
    stand_in: StandIn, driver_for: DriverFor
) -> None:
    stand_in.script.append(Reply(cut=Cut.SILENT))
    driver = driver_for(
        stand_in.base_url, connect_timeout_s=0.1, total_timeout_s=0.5, connections_max=1
    )
    errors = await asyncio.gather(
        *(driver.place(request_to(call=call)) for call in (1, 2)), return_exceptions=True
    )
    assert {(type(error), getattr(error, "cause", "")) for error in errors} == {
        (NotPlaced, "connect"),
        (OutcomeUnknown, "timeout"),
    }
    assert len(stand_in.posts) == 1


async def test_idle_connections_are_let_go_before_the_server_does(driver: JambonzDriver) -> None:
    connector = driver._wire._session().connector
    assert connector is not None
    assert connector._keepalive_timeout == 2.0


async def test_an_error_about_a_look_up_does_not_show_the_number_that_was_asked_for(
    stand_in: StandIn, driver_for: DriverFor
) -> None:
    wanted = "+" + TO
    stand_in.script.append(Reply(cut=Cut.SILENT))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with wire_that(b"220 smtp.example.com ESMTP\r\n") as (url, _):
            for driver in (
                driver_for(f"http://127.0.0.1:{free_port()}/v1"),
                driver_for(f"https://127.0.0.1:{mute.getsockname()[1]}/v1", connect_timeout_s=0.1),
                driver_for(stand_in.base_url, total_timeout_s=0.1),
                driver_for(url),
            ):
                with pytest.raises(DriverError) as caught:
                    await driver.list_live(wanted)
                assert TO not in "".join(traceback.format_exception(caught.value))
