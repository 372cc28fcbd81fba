"""`recover` and `stop-all --hang-up`, typed: what an operator sees, and what is true afterwards."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import CALLER_IDS, some_numbers
from tests.recovery.site import ACCOUNT, DEADLINE_S, KEY, SECRET, Site, a_router, a_site
from tests.recovery.test_hanging_up import begin, place, use_up_the_budget
from tests.recovery.test_restored_databases import a_worker_was_there, is_held
from tests.recovery.test_restored_databases import place as place_unknown

from apollo.core import ids
from apollo.usecases.record_call_events import Arrival

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    async with a_router() as router, a_site(database_url, router) as opened:
        yield opened


async def apollo(site: Site, *arguments: str, code: int = 0) -> str:
    """Type a command that exits with this code; gives what it printed."""
    return (await typed(site, *arguments, code=code))[0]


async def typed(site: Site, *arguments: str, code: int = 0) -> tuple[str, list[dict[str, Any]]]:
    """Type a command; gives what it printed, and its log."""
    process = await started(site, *arguments)
    printed, complaints = await process.communicate()
    assert process.returncode == code, complaints.decode()
    lines = [line for line in complaints.splitlines() if line.startswith(b"{")]
    return printed.decode(), [json.loads(line) for line in lines]


async def started(site: Site, *arguments: str, key: str = KEY) -> asyncio.subprocess.Process:
    """Type a command and do not wait for it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "apollo", *arguments),
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("APOLLO_")},
            "PYTHONPATH": str(ROOT / "src"),
            "COLUMNS": "200",
            "APOLLO_DATABASE_URL": site.world.db.url,
            "APOLLO_JAMBONZ_URL": site.router.url,
            "APOLLO_JAMBONZ_ACCOUNT_SID": ACCOUNT,
            "APOLLO_JAMBONZ_API_KEY": key,
            "APOLLO_JAMBONZ_WEBHOOK_SECRET": SECRET,
        },
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_recover_says_that_there_is_nothing_to_recover(site: Site) -> None:
    assert "Nothing to recover" in await apollo(site, "recover")


async def test_recover_shows_what_was_lost_and_dials_on_only_when_told_to(
    site: Site, tmp_path: Path
) -> None:
    await a_worker_was_there(site)
    campaign_id = await site.world.a_campaign()
    batch_id = await site.world.a_batch(campaign_id, 2)
    theirs, nobodys = some_numbers(1)[0], some_numbers(1, start=77)[0]
    for number in (theirs, nobodys):
        await place_unknown(site, number, CALLER_IDS[0])

    # Nobody has noticed it yet: then it is looked at here, and not let go before it was seen.
    printed, log = await typed(site, "recover", "--confirm", "--numbers", str(tmp_path / "lost"))
    assert (tmp_path / "lost").read_text() == f"{nobodys}\n"
    assert (tmp_path / "lost").stat().st_mode & 0o077 == 0
    assert "1 were given to their contacts, 1 belong to nobody who waits" in printed
    assert "Nobody is called yet" in printed
    entered, line = log
    assert (entered["event"], line["event"]) == ("recovery.entered", "recovery.read_in")
    assert (line["calls"], line["without_contact"], line["brought_up_to_date"]) == (2, 1, 0)
    assert theirs not in printed
    assert await is_held(site)
    assert "in_progress" in await site.world.statuses(batch_id)

    # Whoever looks again sees what was done before.
    printed = await apollo(site, "recover")
    assert "2 calls since" in printed
    assert "1 were given to their contacts (1 of them by an earlier run), 1 belong" in printed

    shown = json.loads(await apollo(site, "recover", "--confirm", "--json"))
    assert shown["given_before"] == 1
    assert shown["is_lifted"]
    assert [one["contact_id"] for one in shown["calls"]] == [None]
    assert not await is_held(site)

    # What was confirmed to be nobody's is no violation for ever after.
    ledger = site.router.url.removesuffix("v1") + "rotary/ledger"
    found = json.loads(await apollo(site, "audit", ledger, "--json"))["findings"]
    (rows,) = [one for one in found if one["invariant"] == "I7"]
    assert "1 calls of a confirmed recovery" in rows["left_out"]


async def test_stop_all_ends_every_call_and_no_other_begins(site: Site) -> None:
    ringing = await begin(site, 3)
    for job in ringing:
        await site.record.record([Arrival(job.call.id, await place(site, job))])
    waiting = await site.world.a_campaign(name="Waits")
    await site.world.a_batch(waiting, some_numbers(1, start=40))

    printed = await apollo(site, "stop-all", "--hang-up")
    assert "No call starts any more for anybody. This is the Apollo of" in printed
    assert "3 calls were hung up" in printed
    live = await site.driver.list_live()
    assert not [one for one in live if one.call_status in {"trying", "ringing", "in-progress"}]
    assert (await site.world.claim(waiting)).calls == []

    assert "Dialling resumes" in await apollo(site, "resume-all")
    assert len((await site.world.claim(waiting)).calls) == 1


async def test_stop_all_lists_the_calls_it_could_not_end_and_exits_with_1(site: Site) -> None:
    (job,) = await begin(site, 1)
    await site.record.record([Arrival(job.call.id, await place(site, job))])
    command = await started(site, "stop-all", "--hang-up", "--json", key="not-ours")
    printed, _ = await command.communicate()
    assert command.returncode == 1
    shown = json.loads(printed)
    assert shown["failed"] == {"unauthorised": 1}
    (left,) = shown["not_ended"]
    assert left["execution_id"] == ids.execution_id(job.call.id)
    assert "401" in left["why"]


async def test_stop_all_says_what_it_waits_for_and_ctrl_c_leaves_it_safely(site: Site) -> None:
    (job,) = await begin(site, 1)
    await site.record.record([Arrival(job.call.id, await place(site, job))])
    site.router.plan.change({"request_budget": {"requests": 2, "window_s": 300}})
    await use_up_the_budget(site)
    process = await started(site, "stop-all", "--hang-up")
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while b"budget is used up; going on at" not in await process.stderr.readline():
            assert process.returncode is None
    process.send_signal(signal.SIGINT)
    _, complaints = await process.communicate()
    assert process.returncode == 130
    assert b"Interrupted: 0 of 1 calls are over. Dialling stays stopped" in complaints
    site.router.plan.clear()
    assert "1 calls were hung up" in await apollo(site, "stop-all", "--hang-up")
