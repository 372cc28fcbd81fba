"""The commands that do the whole job, against a running API: from a campaign to its results."""

import asyncio
import csv
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cli.running import Ran, run
from tests.web.api_world import running_api

Apollo = Callable[..., Ran]
CREATE = ("campaign", "create", "--name", "Renewals", "--agent", "agent_1")


@pytest.fixture
def apollo(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Apollo]:
    """Runs a command against an API on a thread of its own."""
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    found: dict[str, str] = {}

    async def serve() -> None:
        async with running_api(database_url) as world:
            found.update(url=world.url, token=world.token)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    monkeypatch.setenv("APOLLO_URL", found["url"])
    monkeypatch.setenv("APOLLO_TOKEN", found["token"])
    yield partial(run, capsys, monkeypatch)
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    loop.close()


def answer(ran: Ran) -> Any:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def made_campaign(apollo: Apollo, *options: str) -> str:
    ran = apollo(*CREATE, "--number", "+12025550100", *options, "--json")
    return str(answer(ran)["campaign_id"])


def made_batch(apollo: Apollo, campaign: str, folder: Path) -> str:
    file = folder / "contacts.csv"
    file.write_text("phone_number,callee_name\n+12025550143,Ruth\n+14155550123,Asha\n")
    ran = apollo("batch", "create", "--campaign", campaign, str(file), "--json")
    return str(answer(ran)["batch_id"])


def test_a_campaign_is_made_shown_changed_and_held(apollo: Apollo) -> None:
    ran = apollo(*CREATE, "--number", "+12025550100", "--hours", "mon-fri 09:00-18:00")
    assert ran.code == 0, ran.err
    assert "mon 09:00-18:00, tue 09:00-18:00" in ran.out
    campaign = ran.out.split()[0]
    assert f"apollo batch create --campaign {campaign} examples/contacts.csv" in ran.out
    assert campaign in apollo("campaign", "list").out
    options = ("--concurrency", "7", "--cooldown", "5", "--set", 'default_call_variables={"a": 1}')
    changed = answer(apollo("campaign", "set", campaign, *options, "--json"))
    assert changed["metadata"] == {"concurrency_limit": 7}
    assert changed["retry_policy"] | {"cooldown_minutes": 5} == changed["retry_policy"]
    assert changed["default_call_variables"] == {"a": 1}
    assert "Campaign paused successfully." in apollo("campaign", "pause", campaign).out
    assert "would be called" in apollo("campaign", "preview", campaign, "--contacts", "3").out
    assert apollo("campaign", "resume", campaign).code == 0
    assert "calls placed" in apollo("campaign", "stats", campaign).out
    assert apollo("campaign", "cancel", campaign, "--yes").code == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "--number: needed for a new campaign"),
        (("--number", "+12025550100", "--hours", "weekdays 9-5"), "write days and hours"),
        (("--number", "+12025550100", "--hours", "xyz 09:00-18:00"), "xyz is no day"),
        (("--number", "+12025550100", "--set", "amd"), "write KEY=JSON"),
        (("--number", "+12025550100", "--set", "amd=yes"), "is not JSON"),
        (("--number", "12"), "phone_numbers.0"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    apollo: Apollo, given: tuple[str, ...], said: str
) -> None:
    ran = apollo(*CREATE, *given)
    assert ran.code == 1
    assert said in ran.err


def test_a_batch_is_listed_held_exported_and_ended(apollo: Apollo, tmp_path: Path) -> None:
    campaign = made_campaign(apollo)
    batch = made_batch(apollo, campaign, tmp_path)
    assert batch in apollo("batch", "list", "--campaign", campaign).out
    assert "pending 2" in apollo("batch", "show", batch).out
    assert "paused" in apollo("batch", "pause", batch).out
    assert apollo("batch", "resume", batch).code == 0
    assert "(2 contacts)" in apollo("batch", "dispatch", batch).out
    file = tmp_path / "results.csv"
    assert apollo("batch", "results", batch, "--output", str(file)).code == 0
    with file.open(encoding="utf-8-sig", newline="") as opened:
        assert [row["status"] for row in csv.DictReader(opened)] == ["pending", "pending"]
    assert not list(tmp_path.glob("*.part"))
    assert apollo("batch", "cancel", batch, "--yes").code == 0
    rerun = answer(apollo("batch", "rerun", batch, "--status", "skipped", "--json"))
    assert rerun["total_contacts"] == 2


def test_an_export_that_is_refused_leaves_no_file(apollo: Apollo, tmp_path: Path) -> None:
    ran = apollo("batch", "results", "btc_none", "--output", str(tmp_path / "results.csv"))
    assert ran.code == 1
    assert "Batch not found" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_contact_is_taken_out_and_a_test_call_placed(apollo: Apollo, tmp_path: Path) -> None:
    campaign = made_campaign(apollo)
    batch = made_batch(apollo, campaign, tmp_path)
    results = apollo("batch", "results", batch).out.lstrip("\ufeff")
    contact = next(csv.DictReader(results.splitlines()))["contact_id"]
    skipped = answer(apollo("contact", "skip", batch, contact, "--json"))
    assert skipped["status"] == "skipped"
    assert "Finished as skipped" in apollo("contact", "show", batch, contact).out
    placed = apollo("call", "test", "--campaign", campaign, "+12025550177")
    assert placed.code == 0, placed.err
    assert "apollo contact show btc_" in placed.out
    wrong = apollo("call", "test", "--campaign", campaign, "+12025550177", "--variables", "x")
    assert "write a JSON object" in wrong.err


def test_a_shell_completes_ids(apollo: Apollo, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = made_campaign(apollo)
    monkeypatch.setenv("_APOLLO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "apollo campaign show cmp")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert apollo().out.split() == [campaign]
