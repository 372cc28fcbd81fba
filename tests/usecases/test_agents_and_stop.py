"""How agents are reached, the keys of their calls, and the stop button."""

import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.usecases.batch_world import BatchWorld

from apollo.core import ids
from apollo.core.agent_keys import agent_key, is_agent_key
from apollo.errors import Invalid, NotFound
from apollo.ports import AgentRoute
from apollo.storage.dialling import lock_campaign
from apollo.usecases.authenticate import Principal
from apollo.usecases.manage_campaigns import ManageCampaigns
from apollo.usecases.read_agent_call import ReadAgentCall
from apollo.usecases.register_agents import RegisterAgents
from apollo.usecases.stop_dialling import StopDialling

HOOK = AgentRoute(call_hook="https://voice.example.com/hook?x=1")
DEFAULT = AgentRoute(application_sid="0ab1")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


@given(st.binary(min_size=16, max_size=64), st.text(max_size=30), st.text(max_size=40))
def test_a_key_is_good_for_one_call_only(secret: bytes, one: str, other: str) -> None:
    execution_id = ids.execution_id(uuid.UUID(int=len(one)))
    key = agent_key(secret, execution_id)
    assert len(key) == 32
    assert key.replace("-", "a").replace("_", "a").isalnum()
    assert is_agent_key(secret, execution_id, key)
    assert is_agent_key(secret, execution_id, other) == (other == key)
    assert not is_agent_key(secret + b"x", execution_id, key)


async def test_the_secret_is_made_once_for_the_whole_installation(world: BatchWorld) -> None:
    secrets = {await ReadAgentCall(db=world.db).secret() for _ in range(3)}
    assert [len(secret) for secret in secrets] == [32]


async def test_an_agent_is_reached_as_registered_or_as_the_settings_say(
    world: BatchWorld,
) -> None:
    agents = RegisterAgents(db=world.db, clock=world.clock, default_route=DEFAULT)
    assert await agents.route_of("agent_1", "org_acme") == DEFAULT
    await agents.set_route("agent_1", DEFAULT, is_shared=True)
    spoken = AgentRoute(
        call_hook=HOOK.call_hook,
        speech_synthesis="google,en-US,en-US-Standard-C",
        speech_recognizer="google,en-US",
    )
    await agents.set_route("agent_1", spoken, is_shared=True)
    assert await agents.route_of("agent_1", "org_acme") == spoken
    assert [(one.agent_id, one.route) for one in await agents.browse()] == [("agent_1", spoken)]
    without = RegisterAgents(db=world.db, clock=world.clock)
    assert await without.route_of("agent_2", "org_acme") is None


async def test_an_agent_of_one_organisation_is_nobody_elses(world: BatchWorld) -> None:
    await world.sql("insert into organizations (id) values ('org_evil') on conflict do nothing")
    agents = RegisterAgents(db=world.db, clock=world.clock)
    other = AgentRoute(call_hook="https://other.example.com/hook")
    assert await agents.set_route("bot", HOOK, org="org_acme") == "org_acme"
    assert await agents.route_of("bot", "org_acme") == HOOK
    assert await agents.route_of("bot", "org_evil") is None
    # Its own one beside it, and a shared one behind both.
    assert await agents.set_route("bot", other, is_shared=True) is None
    assert await agents.route_of("bot", "org_acme") == HOOK
    assert await agents.route_of("bot", "org_evil") == other
    evil, acme = (Principal(org, "t") for org in ("org_evil", "org_acme"))
    assert [one.route for one in await agents.browse_own(evil)] == [other]
    assert [one.route for one in await agents.browse_own(acme)] == [HOOK]
    assert len(await agents.browse()) == 2
    with pytest.raises(Invalid, match="say whose it is: --org with one of org_acme, org_evil"):
        await agents.set_route("bot", HOOK)
    with pytest.raises(Invalid, match="there is no organisation org_x"):
        await agents.set_route("bot", HOOK, org="org_x")


async def test_the_claim_takes_the_agent_that_the_organisation_means(world: BatchWorld) -> None:
    await world.sql("insert into organizations (id) values ('org_evil') on conflict do nothing")
    agents = RegisterAgents(db=world.db, clock=world.clock)
    await agents.set_route("agent_1", HOOK, org="org_evil")
    campaign_id = ids.parse_id("cmp", await world.campaign())
    assert campaign_id is not None

    async def route() -> str | None:
        async with world.db.transaction() as connection:
            locked = await lock_campaign(connection, campaign_id)
        return locked.route.call_hook if locked is not None and locked.route is not None else None

    assert await route() is None
    await agents.set_route("agent_1", HOOK, org="org_acme")
    assert await route() == HOOK.call_hook


async def test_caller_ids_that_were_given_to_an_organisation_are_its_alone(
    world: BatchWorld,
) -> None:
    await world.sql("insert into organizations (id) values ('org_evil') on conflict do nothing")
    agents = RegisterAgents(db=world.db, clock=world.clock)
    campaigns = ManageCampaigns(db=world.db, bus=world.bus)
    evil, acme = (Principal(org, "t") for org in ("org_evil", "org_acme"))

    async def create(who: Principal, *numbers: str) -> str:
        fields = {"name": "x", "agent_id": "agent_1", "phone_numbers": list(numbers)}
        return ids.campaign_id((await campaigns.create(who, fields)).id)

    before = await create(evil, "+14155550123")
    await agents.set_caller_ids("org_acme", ["+1 415 555 0123"])
    assert await agents.browse_caller_ids() == {"org_acme": ["+14155550123"]}
    await create(acme, "+14155550123")
    # The same words for what another organisation has and for what nobody has.
    for who, number in ((evil, "+14155550123"), (acme, "+442079460000")):
        with pytest.raises(Invalid, match="not one of your caller ids"):
            await create(who, number)
    await create(evil, "+442079460000")
    # What a campaign has already stays, so that its other keys can be changed.
    changed = {"phone_numbers": ["+14155550123"], "name": "y"}
    assert (await campaigns.change(evil, before, changed)).settings.name == "y"
    with pytest.raises(Invalid, match="another organisation has it already"):
        await agents.set_caller_ids("org_evil", ["+14155550123"])
    await agents.set_caller_ids("org_acme", [])
    await create(acme, "+442079460000")


@pytest.mark.parametrize(
    ("agent_id", "route", "field"),
    [
        ("", HOOK, "agent_id"),
        ("a b", HOOK, "agent_id"),
        ("a", AgentRoute(), "call_hook"),
        ("a", AgentRoute(call_hook=HOOK.call_hook, application_sid="x"), "call_hook"),
        ("a", AgentRoute(call_hook="voice.example.com"), "call_hook"),
        ("a", AgentRoute(call_hook="file:///etc/passwd"), "call_hook"),
        ("a", AgentRoute(call_hook="https:///x"), "call_hook"),
        ("a", AgentRoute(call_hook="https://x:99999/"), "call_hook"),
        ("a", AgentRoute(call_hook="https://x/\r\nHost: y"), "call_hook"),
        ("a", AgentRoute(call_hook="https://x/#rc=5"), "call_hook"),
        ("a", AgentRoute(application_sid="a b"), "application_sid"),
        ("a", AgentRoute(call_hook="https://x", speech_synthesis="google"), "speech_synthesis"),
        ("a", AgentRoute(call_hook="https://x", speech_recognizer="a,b,c"), "speech_recognizer"),
    ],
)
async def test_a_route_that_cannot_work_is_refused(
    world: BatchWorld, agent_id: str, route: AgentRoute, field: str
) -> None:
    agents = RegisterAgents(db=world.db, clock=world.clock)
    with pytest.raises(Invalid) as refused:
        await agents.set_route(agent_id, route)
    assert [fault.loc[-1] for fault in refused.value.errors] == [field]
    assert await agents.browse() == []


async def test_stopping_counts_calls_and_resuming_wakes_the_dialler(world: BatchWorld) -> None:
    stop = StopDialling(db=world.db, bus=world.bus)
    campaign = await world.campaign()
    batch = await world.batch(campaign)
    await world.put_call(batch, 1, state="placing")
    assert (await stop.stop("acme")).calls_in_progress == 1
    assert (await stop.stop("other")).calls_in_progress == 0
    everywhere = await stop.stop()
    assert (everywhere.organization_id, everywhere.calls_in_progress) == (None, 1)
    flags = "select dialling_stopped_at is null as dials from "
    assert [r["dials"] for r in await world.sql(flags + "organizations")] == [False, False]
    assert [r["dials"] for r in await world.sql(flags + "installation")] == [False]
    world.bus.woken.clear()
    resumed = await stop.resume()
    assert resumed.campaign_ids == [campaign]
    assert world.bus.told() == [(campaign, "dialling_resumed", None)]
    assert [r["dials"] for r in await world.sql(flags + "installation")] == [True]
    # Who was stopped alone stays stopped.
    assert [r["dials"] for r in await world.sql(flags + "organizations")] == [False, False]
    assert (await stop.resume("other")).campaign_ids == []
    with pytest.raises(NotFound, match="org_nobody"):
        await stop.stop("nobody")
    recorded = await world.sql("select action from actions where action like 'dialling%'")
    assert len(recorded) == 7
