"""The witness: one line per call, true, in order, and still there after a kill."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.rotary.world import (
    CALLER_ID,
    PERSON,
    Receiver,
    World,
    person,
    running,
    until,
)

from apollo.errors import Misconfigured

TALK = {"people": {"preset": "instant", "talk_s": [60, 60]}}


def lines_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def killed(world: World, path: Path, copy: Path) -> None:
    """What a kill -9 would leave a moment later: without a clean stop."""
    world.router.ledger.flush()
    killed_now(path, copy)


def killed_now(path: Path, copy: Path) -> None:
    """What a kill -9 would leave: the files as they are."""
    copy.parent.mkdir()
    for file in path.parent.iterdir():
        shutil.copy(file, copy.parent / file.name)


async def test_a_line_holds_the_whole_life_of_a_call(receiver: Receiver) -> None:
    async with running(receiver=receiver) as world:
        line = await world.called()
    assert line["tag"] == {"execution_id": "e-1"}
    assert (line["to"], line["from"]) == (PERSON, CALLER_ID)
    stages = ["requested_at", "placed_at", "rang_at", "answered_at", "ended_at"]
    times = [datetime.fromisoformat(line[stage]) for stage in stages]
    assert times == sorted(times)
    assert all(one.utcoffset() is not None for one in times)
    assert (line["reply"], line["sip_status"], line["call_status"]) == ("201", 200, "completed")
    assert (line["live_at_placing"], line["live_for_number"]) == (1, 1)
    assert line["webhook_url"] == receiver.url
    attempt = line["webhooks"][0]["attempts"][0]
    assert (attempt["status"], attempt["error"]) == (200, None)
    assert datetime.fromisoformat(attempt["at"]) >= times[1]


async def test_calls_that_are_up_are_in_the_ledger_too() -> None:
    async with running(TALK) as world:
        sid = await world.call(call_status_hook=None)
        await until(lambda: world.router.exchange.calls[sid].call_status == "in-progress")
        [line] = await world.ledger()
    assert line["answered_at"] is not None
    assert line["ended_at"] is None


async def test_each_call_is_one_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.jsonl"
    async with running(ledger_path=path) as world:
        for one in range(5):
            await world.called(person(one), call_status_hook=None)
        world.router.ledger.flush()
        assert [line["to"] for line in lines_in(path)] == [person(one) for one in range(5)]
    assert len(lines_in(path)) == 5
    assert [file.name for file in path.parent.iterdir()] == ["ledger.jsonl"]
    assert path.stat().st_mode & 0o077 == 0


async def test_a_clean_stop_cuts_live_calls_short_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with running(TALK, ledger_path=path) as world:
        sid = await world.call(call_status_hook=None)
        await until(lambda: world.router.exchange.calls[sid].call_status == "in-progress")
    [line] = lines_in(path)
    assert line["cut_short"] is True
    assert line["ended_at"] is not None
    assert (line["call_status"], line["sip_status"]) == ("completed", 200)


async def test_the_ledger_survives_a_kill_with_calls_up(tmp_path: Path) -> None:
    path, copy = tmp_path / "before" / "ledger.jsonl", tmp_path / "after" / "ledger.jsonl"
    async with running(TALK, ledger_path=path) as world:
        sid = await world.call(call_status_hook=None)
        await until(lambda: world.router.exchange.calls[sid].call_status == "in-progress")
        await world.call(call_status_hook=None)
        await killed(world, path, copy)
    async with running(ledger_path=copy) as world:
        old = await world.ledger()
        assert [line["cut_short"] for line in old] == [True, True]
        assert {line["call_sid"] for line in old} >= {sid}
        records = await world.ask("GET", f"RecentCalls?page=1&count=10&filter={sid}")
        assert [record["answered"] for record in records.body["data"]] == [True]
        line = await world.called(call_status_hook=None)
        assert (line["nth_call"], line["nth_request"]) == (3, 3)
        stats = (await world.ask("GET", "/rotary/stats")).body
        assert stats["calls_placed"] == 3
        assert stats["calls_live_max"] == 2
        assert stats["calls_live_now"] == 0
        assert stats["numbers_called_twice_at_once"] == {PERSON[1:]: 2}
    assert len(lines_in(copy)) == 3


async def test_no_kill_makes_the_router_forget_a_call_that_it_has_answered(tmp_path: Path) -> None:
    path, copy = tmp_path / "before" / "ledger.jsonl", tmp_path / "after" / "ledger.jsonl"
    async with running(TALK, ledger_path=path) as world:
        sid = await world.call(call_status_hook=None)
        killed_now(path, copy)
    async with running(ledger_path=copy) as world:
        [line] = await world.ledger()
        records = await world.ask("GET", f"RecentCalls?page=1&count=10&filter={sid}")
    assert (line["call_sid"], line["cut_short"]) == (sid, True)
    assert [record["call_sid"] for record in records.body["data"]] == [sid]


async def test_a_call_that_was_answered_and_never_placed_is_written_down_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.jsonl"
    async with running({"faults": {"never_place": {}}}, ledger_path=path) as world:
        sid = await world.call(call_status_hook=None)
        [line] = lines_in(path)
    assert (line["call_sid"], line["reply"], line["placed_at"]) == (sid, "201", None)


async def test_a_call_that_ended_before_the_kill_is_not_told_twice(tmp_path: Path) -> None:
    path, copy = tmp_path / "before" / "ledger.jsonl", tmp_path / "after" / "ledger.jsonl"
    async with running(TALK, ledger_path=path) as world:
        sids = [await world.call(person(one), call_status_hook=None) for one in (1, 2)]
        calls = world.router.exchange.calls
        await until(lambda: all(calls[sid].call_status == "in-progress" for sid in sids))
        world.router.ledger.flush()
        await world.ask("PUT", f"Calls/{sids[0]}", {"call_status": "completed"})
        ended = await world.settled(sids[0])
        await killed(world, path, copy)
    async with running(ledger_path=copy) as world:
        lines = await world.ledger()
    assert [line["call_sid"] for line in lines] == sids
    assert lines[0] == ended


async def test_finished_calls_survive_a_restart_as_call_detail_records(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with running(ledger_path=path) as world:
        line = await world.called(call_status_hook=None)
    async with running(ledger_path=path) as world:
        page = (await world.ask("GET", "RecentCalls?page=1&count=9")).body
        assert [one["call_sid"] for one in page["data"]] == [line["call_sid"]]
        assert await world.ledger() == [line]
        assert (await world.ask("GET", f"Calls/{line['call_sid']}")).status == 404


async def test_a_line_torn_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    async with running(ledger_path=path) as world:
        line = await world.called(call_status_hook=None)
    with path.open("ab") as file:
        file.write(b'{"call_sid":"half a li')
    async with running(ledger_path=path) as world:
        assert await world.ledger() == [line]
        await world.called(call_status_hook=None)
    assert len(lines_in(path)) == 2


async def test_a_file_that_is_no_ledger_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n")
    with pytest.raises(Misconfigured, match="is not a ledger"):
        async with running(ledger_path=path):
            pass
    assert path.read_text() == "buy milk\n"


async def test_the_journal_does_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apollo.rotary.ledger.JOURNAL_BYTES", 2_000)
    path = tmp_path / "ledger.jsonl"
    journal = tmp_path / "ledger.jsonl.open"
    async with running(TALK, ledger_path=path) as world:
        kept = await world.call(call_status_hook=None)
        for one in range(20):
            sid = await world.call(person(one), call_status_hook=None)
            calls = world.router.exchange.calls
            await until(lambda: calls[sid].call_status == "in-progress")  # noqa: B023
            world.router.ledger.flush()
            await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
            await world.settled(sid)
        world.router.ledger.flush()
        assert journal.stat().st_size < 5_000
        assert kept in journal.read_text()


async def test_since_leaves_out_earlier_requests(world: World) -> None:
    first = await world.called()
    second = await world.called()
    for since, found in (
        (first["requested_at"], [first, second]),
        (second["requested_at"], [second]),
        (second["requested_at"].replace("Z", "+00:00"), [second]),
        ("2101-01-01", []),
    ):
        assert await world.ledger(f"?since={since}") == found, since
    reply = await world.ask("GET", "/rotary/ledger?since=yesterday")
    assert reply.status == 400
    assert "such as 20" in reply.body["msg"]


async def test_two_calls_to_one_number_at_once_are_visible() -> None:
    async with running(TALK) as world:
        await world.call(person(1), call_status_hook=None)
        for _ in range(3):
            await world.call(call_status_hook=None)
        lines = await world.ledger()
        stats = (await world.ask("GET", "/rotary/stats")).body
    assert sorted(line["live_for_number"] for line in lines) == [1, 1, 2, 3]
    assert sorted(line["live_at_placing"] for line in lines) == [1, 2, 3, 4]
    assert stats["calls_live_max"] == stats["calls_live_now"] == 4
    assert stats["calls_live_max_per_number"] == 3
    assert stats["numbers_called_twice_at_once"] == {PERSON[1:]: 3}


async def test_a_long_ledger_is_sent_whole(world: World) -> None:
    sids = {await world.call(person(one), call_status_hook=None) for one in range(700)}
    await until(lambda: not world.router.exchange.unsettled)
    lines = await world.ledger()
    assert len(lines) == 700
    assert {line["call_sid"] for line in lines} == sids
