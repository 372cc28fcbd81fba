"""An older dump is restored: nobody is called a second time, and a person decides when to go on."""

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from tests.builders import CALLER_IDS, DEADLINES, ended, some_numbers
from tests.recovery.site import (
    ACCOUNT,
    KEY,
    ROUTE,
    Site,
    a_driver,
    a_router,
    a_site,
    dialled,
    until,
)

from apollo import embedded
from apollo.core import ids
from apollo.core.events import CallAccepted, Evidence
from apollo.errors import ProviderForgot
from apollo.ports import DialRequest
from apollo.rotary import RotaryRouter
from apollo.storage import overdue

PEOPLE = 300
# So many were called before the dump, and so many more between the dump and its restore.
CALLED_BEFORE, CALLED_AFTER = 20, 50
# So long that there are that many left whatever time a dump takes.
TALK = {"mix": {"answer": 0.6, "busy": 0.4}, "ring_s": [0.05, 0.1], "talk_s": [0.1, 0.4]}
# Who was busy is not called again while a test runs.
ONE_TRY = {"max_retries": 2, "strategy": "fixed", "cooldown_minutes": 60}


def program(name: str) -> str:
    """A tool of the PostgreSQL in the wheel."""
    return str(Path(embedded.program("postgres")).with_name(name))


async def run(name: str, *arguments: str) -> None:
    command = [program(name), *arguments]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)


async def dump(url: str, file: Path) -> None:
    await run("pg_dump", "--format=custom", f"--file={file}", url)


@asynccontextmanager
async def restored(url: str, file: Path) -> AsyncIterator[str]:
    """A new database on the same server with what the dump holds."""
    name = f"restored_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(url)
    try:
        here = await connection.fetchval("select current_database()")
        await connection.execute(f'create database "{name}"')
        there = url.replace(here, name)
        await run("pg_restore", "--no-owner", f"--dbname={there}", str(file))
        yield there
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


async def put_in_its_place(url: str, file: Path) -> None:
    """Restore beside the living database, then let the two change names, as the how-to says."""
    new, old = f"new_{uuid.uuid4().hex}", f"old_{uuid.uuid4().hex}"
    here = await asyncpg.connect(url)
    name = await here.fetchval("select current_database()")
    await here.close()
    elsewhere = await asyncpg.connect(url.replace(name, "postgres"))
    try:
        await elsewhere.execute(f'create database "{new}"')
        await run("pg_restore", "--no-owner", f"--dbname={url.replace(name, new)}", str(file))
        await elsewhere.execute(f'alter database "{name}" with allow_connections false')
        await elsewhere.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
        )
        await elsewhere.execute(f'alter database "{name}" rename to "{old}"')
        await elsewhere.execute(f'alter database "{new}" rename to "{name}"')
        await elsewhere.execute(f'drop database "{old}"')
    finally:
        await elsewhere.close()


async def put_over_it(url: str, file: Path) -> None:
    """Restore into the living database: no connection breaks."""
    for left in (4, 3, 2, 1, 0):
        try:
            await run(
                *("pg_restore", "--no-owner", "--clean", "--if-exists", "--single-transaction"),
                *(f"--dbname={url}", str(file)),
            )
        except subprocess.CalledProcessError:
            # It lost a deadlock against those who write, and has changed nothing.
            if not left:
                raise
        else:
            return


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
    async with a_router(**TALK) as router:
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
            assert (again.found, again.given, again.is_lifted) == ([], found.given, True)

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
                "select actor, action, detail from actions where action like 'recovery%'"
                " and organization_id = 'org_acme' order by id"
            )
            assert [(row["actor"], row["action"]) for row in done] == [
                ("apollo", "recovery_entered"),
                ("tests", "recovery_confirmed"),
            ]
            assert done[1]["detail"] == {"calls": found.given, "without_contact": 0}


@pytest.mark.parametrize("restore", [put_in_its_place, put_over_it])
async def test_a_worker_that_lives_through_a_restore_calls_nobody_again(
    database_url: str, tmp_path: Path, restore: Callable[[str, Path], Awaitable[None]]
) -> None:
    async with a_router(**TALK) as router, a_site(database_url, router) as site:
        campaign_id = await site.world.a_campaign(limit=10, retry_policy=ONE_TRY)
        batch_id = await site.world.a_batch(campaign_id, PEOPLE)
        async with site.working() as worker:
            await until(lambda: has_called(router, CALLED_BEFORE), "dialling")
            await dump(database_url, tmp_path / "dump")
            called = sum((await dialled(router)).values())
            await until(lambda: has_called(router, called + CALLED_AFTER), "dialling on")
            await restore(database_url, tmp_path / "dump")
            before = await dialled(router)
            await until(lambda: is_held(site), "held")
            worker.wake([campaign_id])
            assert await dialled(router) == before
            await site.recover().run(confirm=True, actor="tests")

            async def is_done() -> bool:
                return set(await site.world.statuses(batch_id)) <= {"completed", "retrying"}

            await until(is_done, "everybody called")
        after = await dialled(router)
        assert set(after) == set(some_numbers(PEOPLE))
        assert {number for number, calls in after.items() if calls > 1} == set()
        assert await site.world.counters() == await site.world.recount()


async def test_a_worker_that_lives_through_a_restart_of_the_server_goes_on_by_itself(
    site: Site,
) -> None:
    campaign_id = await site.world.a_campaign(limit=1)
    await site.world.a_batch(campaign_id, 2)
    async with site.working() as worker:
        await until(lambda: has_called(site.router, 1), "dialling")
        # As the worker sees it: the database that answers is not the one that it had compared.
        worker._dial.database = "of yesterday"
        await site.world.sql("update campaigns set metadata = $1", {"concurrency_limit": 2})
        worker.wake([campaign_id])
        await until(lambda: has_called(site.router, 2), "dialling on")
        assert not await is_held(site)


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


async def forget(site: Site, provider_call_id: str) -> None:
    """Have the provider forget a call; its record stays."""
    url = f"{site.router.url}/Accounts/{ACCOUNT}/Calls/{provider_call_id}"
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session, session.delete(url, headers=headers) as answer:
        assert answer.status == 204


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
    assert (await site.detect().run()).unknown_calls == 0
    assert not await is_held(site)


async def test_a_restored_database_waits_while_the_list_may_have_forgotten_calls(
    site: Site,
) -> None:
    await site.world.a_campaign()
    detect = site.detect()
    await detect.run()
    # Restarted over night: it has no call of late, and need not have any.
    await site.detect().run()
    await site.world.sql("update installation set compared_lineage = 'of the dump'")
    with pytest.raises(ProviderForgot, match="may be up until") as waits:
        await detect.run()
    assert waits.value.until - site.clock.now() > DEADLINES.time_limit
    said = await site.recover().run(confirm=True)
    assert (said.since, said.is_unsure, said.is_lifted) == (None, True, False)
    assert said.waits_until is not None
    # To look is no order, and changes nothing.
    assert not (await site.recover().run(confirm=False)).is_unsure
    # An operator who knows better, whose word is noted, and what comes after.
    said = await site.recover().run(confirm=True, even_if_unsure=True, actor="Ruth")
    assert (said.since, said.is_lifted) == (None, True)
    assert (await detect.run()).unknown_calls == 0
    noted = await site.world.sql("select distinct action from actions where actor = 'Ruth'")
    assert [row["action"] for row in noted] == ["recovery_confirmed"]


async def test_of_too_many_calls_the_latest_are_those_a_list_is_judged_by(site: Site) -> None:
    campaign_id = await site.world.a_campaign(limit=3)
    await site.world.a_batch(campaign_id, 3)
    claimed = (await site.world.claim(campaign_id)).calls
    for minutes, job in enumerate(claimed):
        told = """
            update calls
               set state = 'ended', ended_at = now(), outcome = 'no_answer', heard_at = now(),
                   provider_call_id = $1, requested_at = now() - $2 * interval '1 minute'
             where id = $3
        """
        await site.world.sql(told, f"sid-{minutes}", minutes, job.call.id)
    now = site.clock.now()
    async with site.world.db.connection() as connection:
        found = await overdue.read_existing_between(
            connection, site.driver.provider, now - timedelta(hours=1), now, at_most=2
        )
    assert [one.provider_call_id for one in found] == ["sid-0", "sid-1"]


async def test_a_list_with_our_last_calls_lets_a_restored_database_dial(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 1)
    (job,) = (await site.world.claim(campaign_id)).calls
    await site.detect().run()
    named = await place(site, job.call.phone_number, job.call.from_number, job.call.id)
    ended = """
        update calls
           set state = 'ended', ended_at = now(), outcome = 'no_answer', heard_at = now(),
               provider_call_id = $1
    """
    await site.world.sql(ended, named)
    await site.world.sql("update installation set compared_lineage = 'of the dump'")
    await site.detect().run()
    await forget(site, named)
    # It was noted as compared; the next dump is another matter.
    await site.detect().run()
    await site.world.sql("update installation set compared_lineage = 'of the dump'")
    with pytest.raises(ProviderForgot, match="lacks those of ours that ended last"):
        await site.detect().run()


async def test_somebody_else_on_the_account_holds_nothing(site: Site) -> None:
    await site.world.a_campaign()
    await place(site, some_numbers(1)[0], "+14155550123")
    assert (await site.detect().run()).unknown_calls == 0


async def test_a_new_database_has_nothing_to_compare_with(site: Site) -> None:
    await site.world.sql("delete from heartbeats")
    await site.world.a_campaign()
    await place(site, some_numbers(1)[0], CALLER_IDS[0])
    assert (await site.detect().run()).unknown_calls == 0


async def test_one_call_more_than_we_asked_for_holds_everything_until_confirmed(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 1)
    (job,) = (await site.world.claim(campaign_id)).calls
    await place(site, job.call.phone_number, job.call.from_number, job.call.id)
    # The same number from the same caller id: one row explains one call, not two.
    await place(site, job.call.phone_number, job.call.from_number)
    assert (await site.detect().run()).unknown_calls == 1
    assert await is_held(site)
    assert (
        await site.detect().run()
    ).unknown_calls == 0  # held already: a second worker adds nothing
    done = await site.recover().run(confirm=True)
    assert [one.contact for one in done.found] == [None]
    # Its call belongs to nobody, stays in the list for an hour, and is no news any more.
    assert (await site.detect().run()).unknown_calls == 0
    assert not await is_held(site)


async def test_a_call_that_is_still_up_is_adopted_and_ends_as_it_ends(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    batch_id = await site.world.a_batch(campaign_id, 3)
    sid = await place(site, some_numbers(3)[1], CALLER_IDS[0])
    assert (await site.detect().run()).unknown_calls == 1
    done = await site.recover().run(confirm=True)
    assert [one.call.provider_call_id for one in done.found] == [sid]
    # The one before it in the upload is not forgotten, the one after it is still claimed.
    statuses = await site.world.statuses(batch_id)
    assert statuses[0] == statuses[2] == "pending"
    assert statuses[1] in {"dispatched", "in_progress"}
    claimed = await site.world.claim(campaign_id)
    assert sorted(job.call.contact.position for job in claimed.calls) == [1, 3]
    assert await site.world.counters() == await site.world.recount()


@pytest.mark.parametrize("is_long_ago", [False, True])
async def test_whoever_was_on_a_call_in_the_dump_is_given_the_calls_that_came_after_it(
    site: Site, *, is_long_ago: bool
) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 1)
    (job,) = (await site.world.claim(campaign_id)).calls
    number, caller_id, now = job.call.phone_number, job.call.from_number, site.clock.now()
    # Nobody listens there: its end was told to the database that is gone.
    driver = a_driver(site.router, port=9)
    known = await place(replace(site, driver=driver), number, caller_id, job.call.id)
    await driver.close()
    accepted = CallAccepted(at=now, evidence=Evidence.REPLY, provider_call_id=known)
    await site.world.record((job.call.id, accepted))
    await site.driver.hang_up(known, was_answered=False)

    async def is_over() -> bool:
        call = await site.driver.read_call(known)
        return call is not None and call.call_status == "no-answer"

    await until(is_over, "over")
    if is_long_ago:
        # The live list has forgotten it, and others were called since.
        await forget(site, known)
        await site.world.sql("update batch_cursors set last_claimed_at = now() + interval '1 hour'")
    sid = await place(site, number, caller_id)
    assert (await site.detect().run()).unknown_calls == 1
    done = await site.recover().run(confirm=True)
    assert done.brought_up_to_date == 1
    found = [(one.call.provider_call_id, one.contact) for one in done.found]
    assert found == [(sid, job.call.contact)]
    # Its second call is still up: nobody makes a third.
    assert not (await site.world.claim(campaign_id)).calls
    assert await site.world.counters() == await site.world.recount()


async def test_an_answer_that_was_told_after_the_dump_is_asked_for_again(database_url: str) -> None:
    people = {"mix": {"answer": 1}, "ring_s": [0, 0], "talk_s": [0, 0]}
    async with a_router(**people) as router, a_site(database_url, router) as site:
        await a_worker_was_there(site)
        campaign_id = await site.world.a_campaign()
        batch_id = await site.world.a_batch(campaign_id, 2)
        (job,) = (await site.world.claim(campaign_id, 1)).calls
        # Nobody listens there: what came after the dump was told to the database that is gone.
        deaf = a_driver(router, port=9)
        here = replace(site, driver=deaf)
        known = await place(here, job.call.phone_number, job.call.from_number, job.call.id)
        at = site.clock.now()
        accepted = CallAccepted(at=at, evidence=Evidence.REPLY, provider_call_id=known)
        await site.world.record((job.call.id, accepted), (job.call.id, ended(487)))
        lost = await place(here, some_numbers(2)[1], CALLER_IDS[0])

        async def are_over() -> bool:
            calls = [await deaf.read_call(one) for one in (known, lost)]
            return all(one is not None and one.call_status == "completed" for one in calls)

        await until(are_over, "both over")
        assert await site.world.statuses(batch_id) == ["retrying", "pending"]
        assert (await site.detect().run()).unknown_calls == 1
        done = await site.recover().run(confirm=True)
        assert done.brought_up_to_date == 1
        assert await site.world.statuses(batch_id) == ["completed", "completed"]
        assert await site.world.counters() == await site.world.recount()
        await deaf.close()


async def test_whose_own_call_the_provider_never_had_is_given_the_one_that_came_after_it(
    site: Site,
) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 1)
    (job,) = (await site.world.claim(campaign_id)).calls
    other = next(one for one in CALLER_IDS if one != job.call.from_number)
    sid = await place(site, job.call.phone_number, other)
    assert (await site.detect().run()).unknown_calls == 1
    done = await site.recover().run(confirm=True)
    assert (done.found, done.brought_up_to_date) == ([], 1)
    assert await site.world.value("select provider_call_id from calls") == sid
    assert not (await site.world.claim(campaign_id)).calls


async def test_what_a_restored_database_believes_unsent_is_not_given_back(site: Site) -> None:
    campaign_id = await site.world.a_campaign()
    await site.world.a_batch(campaign_id, 3)
    dial = site.world.dial()
    (told,) = (await dial.claim(campaign_id, 1)).calls
    # Sent, and recorded in the database that is gone: to this one it looks as it did before.
    assert await dial.find_unsent(told.call.requested_at) == []
    same = site.world.dial()
    same._worker_id = dial._worker_id
    (lost,) = (await same.claim(campaign_id, 1)).calls
    assert await dial.find_unsent(told.call.requested_at) == [lost.call.id]


async def test_recovering_what_is_not_held_does_nothing(site: Site) -> None:
    done = await site.recover().run(confirm=True)
    assert (done.since, done.is_lifted) == (None, False)
