"""An older dump is restored: nobody is called a second time, and a person decides when to go on."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from tests.builders import CALLER_IDS, some_numbers
from tests.recovery.site import ROUTE, Site, a_router, a_site, dialled, until

from apollo import embedded
from apollo.core import ids
from apollo.ports import DialRequest
from apollo.rotary import RotaryRouter

PEOPLE = 300
# So many were called before the dump, and so many more between the dump and its restore.
CALLED_BEFORE, CALLED_AFTER = 20, 50
QUICK = {"mix": {"answer": 0.6, "busy": 0.4}, "ring_s": [0, 0.05], "talk_s": [0, 0.1]}
# Who was busy is not called again while a test runs.
ONE_TRY = {"max_retries": 2, "strategy": "fixed", "cooldown_minutes": 60}


def program(name: str) -> str:
    """A tool of the PostgreSQL in the wheel."""
    return str(Path(embedded._program("postgres")).with_name(name))


async def dump(url: str, file: Path) -> None:
    command = [program("pg_dump"), "--format=custom", f"--file={file}", url]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)


@asynccontextmanager
async def restored(url: str, file: Path) -> AsyncIterator[str]:
    """A new database on the same server with what the dump holds."""
    name = f"restored_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(url)
    try:
        here = await connection.fetchval("select current_database()")
        await connection.execute(f'create database "{name}"')
        there = url.replace(here, name)
        command = [program("pg_restore"), "--no-owner", f"--dbname={there}", str(file)]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
        yield there
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


async def a_worker_was_there(site: Site) -> None:
    """A worker that had looked ran until a minute ago."""
    await site.world.sql(
        "insert into heartbeats values (gen_random_uuid(), 'worker', 'h', 1, '1', now(),"
        " now() - interval '1 minute', null, $1)",
        {"is_cleared": True},
    )


async def has_called(router: RotaryRouter, people: int) -> bool:
    return sum((await dialled(router)).values()) >= people


async def is_held(site: Site) -> bool:
    return await site.world.value("select recovery_since from installation") is not None


async def test_nobody_is_called_again_after_an_older_dump_was_restored(
    database_url: str, tmp_path: Path
) -> None:
    async with a_router(**QUICK) as router:
        async with a_site(database_url, router) as site:
            await a_worker_was_there(site)
            campaign_id = await site.world.a_campaign(limit=10, retry_policy=ONE_TRY)
            batch_id = await site.world.a_batch(campaign_id, PEOPLE)
            async with site.working():
                await until(lambda: has_called(router, CALLED_BEFORE), "dialling")
                await dump(database_url, tmp_path / "dump")
                called = sum((await dialled(router)).values())
                await until(lambda: has_called(router, called + CALLED_AFTER), "dialling on")
        before = await dialled(router)
        assert len(before) < PEOPLE
        async with (
            restored(database_url, tmp_path / "dump") as there,
            a_site(there, router, is_new=False) as site,
            site.working() as worker,
        ):
            await until(lambda: is_held(site), "held")
            worker.wake([campaign_id])

            async def has_tried() -> bool:
                return worker.report()["last_claim_at"] is not None

            await until(has_tried, "claiming")
            assert await dialled(router) == before
            found = await site.recover().run(confirm=False)
            assert len(found.found) >= CALLED_AFTER
            assert {one.contact is None for one in found.found} == {False}
            assert await is_held(site)
            assert await dialled(router) == before
            again = await site.recover().run(confirm=True, actor="tests")
            assert (again.found, again.is_lifted) == ([], True)

            async def is_done() -> bool:
                return set(await site.world.statuses(batch_id)) <= {"completed", "retrying"}

            await until(is_done, "everybody called")
            after = await dialled(router)
            assert set(after) == set(some_numbers(PEOPLE))
            assert {number for number, calls in after.items() if calls > 1} == set()
            assert await site.world.counters() == await site.world.recount()
            counts = await site.world.call_counts(campaign_id)
            assert counts["attempts"] == PEOPLE
            assert counts["completed"] + counts["busy"] == PEOPLE
            done = await site.world.sql(
                "select actor, action from actions where action like 'recovery%'"
                " and organization_id = 'org_acme' order by id"
            )
            assert [tuple(row) for row in done] == [
                ("apollo", "recovery_entered"),
                ("tests", "recovery_confirmed"),
            ]


# ------------------------------------------------------------------------- what must not hold it


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    async with a_router() as router, a_site(database_url, router) as opened:
        await a_worker_was_there(opened)
        yield opened


async def place(site: Site, number: str, caller_id: str, execution: uuid.UUID | None = None) -> str:
    """Have the provider place a call, and write nothing down."""
    placed = await site.driver.place(
        DialRequest(
            execution_id=ids.execution_id(execution or uuid.uuid4()),
            to=number,
            from_number=caller_id,
            route=ROUTE,
            agent_key="agent-key-0123456789",
            ring_timeout_s=30,
            time_limit_s=600,
        )
    )
    assert placed.provider_call_id is not None
    return placed.provider_call_id


async def test_an_ordinary_restart_needs_nobody(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 3)
    claimed = await site.world.claim(campaign_id)
    # One call is unknown, one is still being placed, one was given up without a name.
    for job in claimed.calls:
        await place(site, job.call.phone_number, job.call.from_number, job.call.id)
    unknown, given_up = claimed.calls[0].call.id, claimed.calls[1].call.id
    await site.world.sql("update calls set state = 'unknown' where id = $1", unknown)
    await site.world.sql(
        "update calls set state = 'ended', ended_at = now(), outcome = 'failed' where id = $1",
        given_up,
    )
    assert await site.detect().run() == 0
    assert not await is_held(site)


async def test_somebody_else_on_the_account_holds_nothing(site: Site) -> None:
    await site.world.a_campaign()
    await place(site, some_numbers(1)[0], "+14155550123")
    assert await site.detect().run() == 0


async def test_a_new_database_has_nothing_to_compare_with(site: Site) -> None:
    await site.world.sql("delete from heartbeats")
    await site.world.a_campaign()
    await place(site, some_numbers(1)[0], CALLER_IDS[0])
    assert await site.detect().run() == 0


async def test_one_call_more_than_we_asked_for_holds_everything_until_confirmed(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 1)
    (job,) = (await site.world.claim(campaign_id)).calls
    await place(site, job.call.phone_number, job.call.from_number, job.call.id)
    # The same number from the same caller id: one row explains one call, not two.
    await place(site, job.call.phone_number, job.call.from_number)
    assert await site.detect().run() == 1
    assert await is_held(site)
    assert await site.detect().run() == 0  # held already: a second worker adds nothing
    done = await site.recover().run(confirm=True)
    assert [one.contact for one in done.found] == [None]
    # Its call belongs to nobody, stays in the list for an hour, and is no news any more.
    assert await site.detect().run() == 0
    assert not await is_held(site)


async def test_a_call_that_is_still_up_is_adopted_and_ends_as_it_ends(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    batch_id = await site.world.a_batch(campaign_id, 3)
    sid = await place(site, some_numbers(3)[1], CALLER_IDS[0])
    assert await site.detect().run() == 1
    done = await site.recover().run(confirm=True)
    assert [one.call.provider_call_id for one in done.found] == [sid]
    # The one before it in the upload is not forgotten, the one after it is still claimed.
    statuses = await site.world.statuses(batch_id)
    assert statuses[0] == statuses[2] == "pending"
    assert statuses[1] in {"dispatched", "in_progress"}
    claimed = await site.world.claim(campaign_id)
    assert sorted(job.call.contact.position for job in claimed.calls) == [1, 3]
    assert await site.world.counters() == await site.world.recount()


async def test_recovering_what_is_not_held_does_nothing(site: Site) -> None:
    done = await site.recover().run(confirm=True)
    assert (done.since, done.is_lifted) == (None, False)
