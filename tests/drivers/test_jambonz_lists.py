"""The live list is read as it arrives: whole or not at all, and never all of it in memory."""

import json
import tracemalloc
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.drivers.conftest import DriverFor
from tests.drivers.jambonz_stand_in import ACCOUNT

from apollo.ports import LiveCall
from apollo.telephony.jambonz.rows import ListReader

TEXT = st.text(max_size=9)
INNER = st.none() | st.integers(-(2**53), 2**53) | TEXT
VALUES = INNER | st.lists(INNER, max_size=2) | st.dictionaries(TEXT, INNER, max_size=2)
LISTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=4)
# The machine may be busy; a list has few kinds of places where it can be cut.
some = settings(deadline=None, max_examples=40)


def read(body: bytes, size: int) -> list[Any]:
    reader, rows = ListReader(), []
    for at in range(0, len(body), size):
        rows += [json.loads(row) for row in reader.feed(body[at : at + size])]
    reader.close()
    return rows


@some
@given(LISTS, st.integers(1, 60), st.sampled_from([None, 1]))
def test_a_list_cut_into_pieces_of_any_size_gives_its_objects(
    rows: list[Any], size: int, indent: int | None
) -> None:
    body = json.dumps(rows, indent=indent, ensure_ascii=False).encode()
    assert read(body, size) == rows
    assert read(b" \n" + body + b"\r\n\t", size) == rows


@some
@given(LISTS, st.data())
def test_part_of_a_list_is_no_list(rows: list[Any], data: st.DataObject) -> None:
    body = json.dumps(rows).encode()
    part = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(ValueError, match="breaks off"):
        read(part, 7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b'["x"]',
        b"[[]]",
        b"[,]",
        b"[{},]",
        b"[{}{}]",
        b"[{}]]",
        b"[{}] x",
        b"<html>",
        b'[{"x":"' + b"x" * 70_000,
        b'[{"x":"\xff"}]',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_list_of_objects_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"list|object|utf-8"):
        read(body, 4096)


async def test_a_list_of_an_hour_of_finished_calls_takes_no_memory_but_for_those_kept(
    driver_for: DriverFor,
) -> None:
    hundreds = 200  # 9 MB, which were in memory at once, and their rows besides
    rows = [
        {
            "call_sid": f"4200d449-0764-4dae-9426-{n:012d}",
            "direction": "outbound",
            "from": "+447400123456",
            "to": f"+9198{n:08d}",
            "call_status": "completed" if n else "in-progress",
            "sip_status": 200,
            "service_url": "http://10.0.0.5:3000/" + "x" * 250,
        }
        for n in range(100)
    ]
    hundred = json.dumps(rows)[1:-1].encode()

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for n in range(hundreds):
            await response.write((b"[" if n == 0 else b",") + hundred)
        await response.write(b"]")
        return response

    def is_up(call: LiveCall) -> bool:
        return call.call_status == "in-progress"

    app = web.Application()
    app.router.add_get(f"/v1/Accounts/{ACCOUNT}/Calls", serve)
    async with TestServer(app) as server:
        driver = driver_for(str(server.make_url("/v1")))
        tracemalloc.start()
        try:
            kept = await driver.list_live(keep=is_up)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(kept) == hundreds
    assert peak < 4_000_000
