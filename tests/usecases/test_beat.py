"""What a heartbeat finds out about its own process: its clock, its writes, its waits."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.usecases.batch_world import HeardBus, SetClock

from apollo.core.longest import Longest
from apollo.storage.database import Database
from apollo.storage.heartbeats import Process
from apollo.usecases.beat import Heartbeat


def heartbeat(db: Database, clock: Any) -> Heartbeat:
    process = Process(
        id=uuid.uuid4(),
        role="worker",
        host="dialler-1",
        pid=41,
        version="0.1.0",
        started_at=datetime.now(UTC),
    )
    return Heartbeat(db=db, process=process, bus=HeardBus(), clock=clock, figures=[dict])


async def test_a_clock_that_is_behind_is_measured_against_the_databases(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    clock = SetClock()
    clock.at = datetime.now(UTC) - timedelta(seconds=200)
    beat = heartbeat(db, clock)
    await beat._beat()
    await beat._beat()
    assert beat.clock_skew is not None
    assert beat.clock_skew.total_seconds() == pytest.approx(-200, abs=20)
    async with db.connection() as connection:
        report = await connection.fetchval("select report from heartbeats")
    assert report["clock_skew_s"] == pytest.approx(-200, abs=20)
    assert report["pool"]["size"] == 1
    await db.close()


async def test_a_refused_write_is_remembered_with_postgresqls_own_code(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    async with db.connection() as connection:
        name = await connection.fetchval("select current_database()")
        await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    await db.close()
    db = await Database.connect(database_url, connections_max=1)
    clock = SetClock()
    beat = heartbeat(db, clock)
    await beat._beat()
    clock.at += timedelta(seconds=5)
    await beat._beat()
    assert beat.write_fault is not None
    assert beat.write_fault.sqlstate == "25006"
    assert beat.write_fault.since == clock.at - timedelta(seconds=5)
    await db.close()


def test_the_longest_of_the_last_minute_is_kept_and_short_ones_are_not() -> None:
    longest = Longest()
    for now, seconds in ((0.0, 9.0), (50.0, 0.05), (55.0, 1.0), (58.0, 3.0), (59.0, 2.0)):
        longest.note(now, seconds)
    assert longest.of_the_minute(59.5) == 9.0
    assert longest.of_the_minute(61.0) == 3.0
    assert longest.of_the_minute(61.0, nth=3) == 1.0
    assert longest.of_the_minute(61.0, nth=4) == 0.0


async def test_a_beat_that_is_refused_is_not_the_last(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    beat = heartbeat(db, SetClock())
    async with db.connection() as connection:
        await connection.execute("alter table heartbeats rename to moved")
    await beat._beat()
    async with db.connection() as connection:
        await connection.execute("alter table moved rename to heartbeats")
    await beat._beat()
    async with db.connection() as connection:
        assert await connection.fetchval("select count(*) from heartbeats") == 1
    await db.close()


async def test_a_figure_that_fails_is_left_out_and_the_others_are_reported(
    database_url: str,
) -> None:
    db = await Database.connect(database_url, connections_max=1)
    beat = heartbeat(db, SetClock())
    beat._figures = [lambda: {"one": 1}, lambda: {"half": 1 // 0}, lambda: {"two": 2}]
    await beat._beat()
    async with db.connection() as connection:
        report = await connection.fetchval("select report from heartbeats")
    assert (report["one"], report["two"]) == (1, 2)
    assert "half" not in report
    await db.close()


async def test_a_figure_that_cannot_be_stored_does_not_make_the_process_look_dead(
    database_url: str,
) -> None:
    db = await Database.connect(database_url, connections_max=1)
    beat = heartbeat(db, SetClock())
    beat._figures = [lambda: {"said": "a\0b"}]
    await beat._beat()
    async with db.connection() as connection:
        report = await connection.fetchval("select report from heartbeats")
    assert "said" not in report
    assert report["pool"]["size"] == 1
    await db.close()
