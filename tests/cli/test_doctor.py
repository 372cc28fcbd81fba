"""`apollo doctor` finds each fault, says what to do, and changes nothing."""

import json
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import StandIn
from tests.cli.running import Ran, run
from tests.usecases.batch_world import BatchWorld, some_numbers

from apollo.cli import checks
from apollo.cli.findings import Finding, State
from apollo.cli.provider_checks import provider
from apollo.config import Settings, load
from apollo.ports import AgentRoute
from apollo.rotary import RotaryRouter, RotarySettings, Scenario
from apollo.storage import agents, recovery
from apollo.storage.database import Database

Apollo = Callable[..., Ran]
ACCOUNT = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
OURS, DEAF, ELSEWHERE, ONCE, UNKNOWN = (str(uuid.UUID(int=n)) for n in range(1, 6))
PUBLIC = "https://apollo.example.com"
HOOK = f"{PUBLIC}/webhooks/call-status"
REACHED = "This is Apollo: status webhooks are taken here"


@pytest.fixture
def apollo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Apollo:
    monkeypatch.setenv("APOLLO_DATA_DIR", str(tmp_path / "data"))
    return partial(run, capsys, monkeypatch)


def by_name(ran: Ran) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(ran.out)}


def test_with_nothing_running_every_fault_has_a_fix_and_nothing_is_made(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APOLLO_PORT", "9")
    ran = apollo("doctor", "--json")
    assert ran.code == 1
    faults = [one for one in json.loads(ran.out) if one["state"] == "fault"]
    assert {one["name"] for one in faults} >= {"database", "API", "provider"}
    assert all(one["fix"] for one in faults)
    assert not (tmp_path / "data").exists()


def test_the_report_for_a_person_has_the_same_faults(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOLLO_PORT", "9")
    ran = apollo("doctor")
    assert ran.code == 1
    assert "FAULT  database: the embedded PostgreSQL" in ran.out
    assert "→ start Apollo with `apollo up`" in ran.out


def test_a_wrong_setting_is_a_fault_of_the_configuration(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOLLO_PORT", "http")
    ran = apollo("doctor", "--json")
    assert ran.code == 1
    assert "APOLLO_PORT" in by_name(ran)["configuration"]["what"]


def test_a_database_without_workers_is_told_apart_from_one_that_is_away(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("APOLLO_DATABASE_URL", database_url)
    found = by_name(apollo("doctor", "--json"))
    assert found["database"]["state"] == "ok"
    assert found["schema"]["state"] == "ok"
    assert "apollo worker" in found["workers"]["fix"]
    monkeypatch.setenv("APOLLO_DATABASE_URL", "postgresql://apollo@127.0.0.1:9/apollo")
    found = by_name(apollo("doctor", "--json"))
    assert found["database"]["state"] == "fault"
    assert "schema" not in found


def test_what_keeps_everybody_from_dialling_is_named_with_the_way_out(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("APOLLO_DATABASE_URL", database_url)
    assert "dialling" not in by_name(apollo("doctor", "--json"))
    assert apollo("token", "create", "--org", "acme").code == 0
    assert apollo("stop-all", "--org", "acme").code == 0
    found = by_name(apollo("doctor", "--json"))["dialling"]
    assert found["state"] == "note"
    assert "stopped for org_acme since" in found["what"]
    assert found["fix"] == "lift it with `apollo resume-all --org org_acme`"
    assert apollo("resume-all", "--org", "acme").code == 0
    assert "dialling" not in by_name(apollo("doctor", "--json"))


async def test_a_hold_after_a_restore_is_a_fault(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1, name="test")
    async with db.transaction() as connection:
        await agents.agent_key_secret(connection, fresh=b"k" * 32)
        await recovery.enter_recovery(connection, {})
    await db.close()
    checked, _ = await checks.database(load({"APOLLO_DATABASE_URL": database_url}))
    (found,) = [one for one in checked if one.name == "dialling"]
    assert found.state is State.FAULT
    assert "apollo recover --confirm" in found.fix


async def test_campaigns_that_call_real_people_at_any_hour_are_named(database_url: str) -> None:
    world = await BatchWorld.build(database_url)
    table = {"monday": {"start": "09:00", "end": "18:00"}}
    bounded = await world.campaign(working_hours_enforced=True, working_hours=table)
    unbounded = await world.campaign()
    await world.campaign()  # nobody is called by this one
    numbers = some_numbers(2)
    for campaign, number in zip((bounded, unbounded), numbers, strict=True):
        await world.batch(campaign, [number])
    await world.db.close()
    ours = {"APOLLO_DATABASE_URL": database_url}
    theirs = ours | {
        "APOLLO_JAMBONZ_URL": "https://jambonz.example.com/api/v1",
        "APOLLO_JAMBONZ_ACCOUNT_SID": ACCOUNT,
        "APOLLO_JAMBONZ_API_KEY": "key",
        "APOLLO_JAMBONZ_WEBHOOK_SECRET": "secret",
        "APOLLO_PUBLIC_URL": PUBLIC,
    }
    checked, _ = await checks.database(load(theirs))
    (found,) = [one for one in checked if one.name == "calling hours"]
    assert found.state is State.NOTE
    assert found.what == f"{unbounded} call people at any hour of the day or night"
    assert "working_hours" in found.fix
    checked, _ = await checks.database(load(ours))
    assert "calling hours" not in {one.name for one in checked}, "no phone rings at RotaryRouter"


def test_api_token_and_status_hook_are_asked_and_nothing_is_posted(
    apollo: Apollo, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOLLO_PUBLIC_URL", api.url)
    api.answer("/readyz", (200, {}))
    api.answer("/api/v1/campaigns/", (200, []))
    api.answer("/webhooks/call-status", (200, REACHED))
    found = by_name(apollo("doctor", "--json"))
    assert [found[name]["state"] for name in ("API", "token", "status webhooks")] == ["ok"] * 3
    api.answer("/readyz", (503, {}))
    api.answer("/webhooks/call-status", (502, {}))
    found = by_name(apollo("doctor", "--json"))
    assert found["API"]["state"] == "fault"
    assert {request[0] for request in api.requests} == {"GET"}


def test_rotary_router_sent_elsewhere_is_the_seed_fault(
    apollo: Apollo, api: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOLLO_PUBLIC_URL", api.url)
    monkeypatch.setenv("APOLLO_WEBHOOK_URL", "http://127.0.0.1:7/elsewhere")
    api.answer("/readyz", (200, {}))
    api.answer("/webhooks/call-status", (200, REACHED))
    found = by_name(apollo("doctor", "--json"))["status webhooks"]
    assert found["state"] == "fault"
    assert "APOLLO_WEBHOOK_URL" in found["fix"]


@pytest.fixture
async def rotary() -> AsyncIterator[RotaryRouter]:
    applications = {
        OURS: {"call_status_hook": f"{HOOK}#rc=5&rp=all"},
        DEAF: {},
        ELSEWHERE: {"call_status_hook": "https://elsewhere.example.com/hook"},
        ONCE: {"call_status_hook": HOOK},
    }
    scenario = Scenario.model_validate({"applications": applications})
    settings = RotarySettings(api_key="key", account_sid=ACCOUNT, webhook_secret="s", port=0)
    async with RotaryRouter.started(settings, scenario) as router:
        yield router


def settings_for(router: RotaryRouter, api_key: str = "key") -> Settings:
    return load(
        {
            "APOLLO_JAMBONZ_URL": router.url,
            "APOLLO_JAMBONZ_ACCOUNT_SID": ACCOUNT,
            "APOLLO_JAMBONZ_API_KEY": api_key,
            "APOLLO_JAMBONZ_WEBHOOK_SECRET": "s",
            "APOLLO_PUBLIC_URL": PUBLIC,
        }
    )


async def test_each_application_is_asked_where_it_reports_to(rotary: RotaryRouter) -> None:
    sids = (OURS, DEAF, ELSEWHERE, ONCE, UNKNOWN)
    routes = {f"agent_{n}": AgentRoute(application_sid=sid) for n, sid in enumerate(sids)}
    found = {one.name: one for one in await provider(settings_for(rotary), routes)}
    states = [found[f"application {sid}"].state for sid in sids]
    assert states == [State.OK, State.FAULT, State.FAULT, State.NOTE, State.FAULT]
    assert HOOK in found[f"application {ELSEWHERE}"].fix


async def test_a_refused_key_is_a_fault_and_is_not_shown(rotary: RotaryRouter) -> None:
    (found,) = await provider(settings_for(rotary, "sesame-wrong"), {})
    assert found.state is State.FAULT
    assert "sesame" not in f"{found.what} {found.fix}"


async def test_no_call_is_placed_by_a_probe(rotary: RotaryRouter) -> None:
    assert (await provider(settings_for(rotary), {}))[0].state is State.OK
    assert rotary.ledger.calls_placed == 0


def test_a_disk_nearly_full_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load({"APOLLO_DATA_DIR": str(tmp_path)})
    (found,) = checks.data_directory(settings)
    assert found.state is State.OK
    monkeypatch.setattr(checks, "_FREE_BYTES_MIN", 1 << 62)
    (full,) = checks.data_directory(settings)
    assert full.state is State.FAULT


def test_old_time_zones_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.packages() == [Finding("packages", State.OK, checks.packages()[0].what)]
    monkeypatch.setattr(checks, "version", lambda _name: "2020.1")
    assert checks.packages()[0].state is State.NOTE
