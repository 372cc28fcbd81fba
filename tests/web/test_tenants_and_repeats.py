"""Two organisations that must not see each other, repeated requests, and the voice application."""

import asyncio
import uuid
from datetime import timedelta

import structlog
from tests.web.api_world import CAMPAIGN, ApiWorld

from apollo.core import ids
from apollo.core.agent_keys import agent_key


async def test_an_organisation_finds_and_changes_nothing_of_another(api: ApiWorld) -> None:
    created = await api.campaign()
    batch = await api.batch(created)
    stranger = (await api.uses.authenticate.create_token("other")).token
    everything = "select b, c, n from batches b, campaigns c, contacts n"
    before = await api.sql(everything)
    campaign = f"/api/v1/campaigns/{created['campaign_id']}"
    asked = [
        ("GET", campaign),
        ("PATCH", campaign),
        ("DELETE", campaign),
        ("GET", f"{campaign}/stats"),
        *(("POST", f"{campaign}/{verb}") for verb in ("pause", "resume", "cancel")),
        *(
            ("POST", f"/api/v1/batches/{batch}/{verb}")
            for verb in ("pause", "resume", "cancel", "dispatch")
        ),
    ]
    nothing = {
        "batches": ids.batch_id(uuid.UUID(int=1)),
        "campaigns": ids.campaign_id(uuid.UUID(int=1)),
    }
    for method, path in asked:
        body = {"json": {"name": "taken over"}} if method == "PATCH" else {}
        found = await api.ask(method, path, token=stranger, **body)
        kind = path.split("/")[3]
        absent = path.replace(path.split("/")[4], nothing[kind])
        missing = await api.ask(method, absent, token=stranger, **body)
        assert found.status == missing.status == 404, path
        assert found.body == missing.body
    assert (await api.ask("GET", "/api/v1/campaigns", token=stranger)).body == []
    assert await api.sql(everything) == before


async def test_naming_another_organisation_is_forbidden(api: ApiWorld) -> None:
    created = await api.campaign()
    foreign = "org_other"
    replies = [
        await api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN | {"organization_id": foreign}),
        await api.ask("GET", f"/api/v1/campaigns?organization_id={foreign}"),
        await api.ask(
            "PATCH",
            f"/api/v1/campaigns/{created['campaign_id']}",
            json={"organization_id": foreign},
        ),
    ]
    assert [reply.status for reply in replies] == [403] * 3


async def test_a_repeated_create_makes_one_campaign(api: ApiWorld) -> None:
    headers = {"Idempotency-Key": "first"}
    first = await api.ask("POST", "/api/v1/campaigns/", json=CAMPAIGN, headers=headers)
    again = await api.ask("POST", "/api/v1/campaigns/create", json=CAMPAIGN, headers=headers)
    assert (again.status, again.body) == (201, first.body)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = CAMPAIGN | {"name": "Another"}
    refused = await api.ask("POST", "/api/v1/campaigns", json=other, headers=headers)
    assert refused.status == 422
    assert refused.body["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert len(await api.sql("select from campaigns")) == 1


async def test_many_at_once_make_one_campaign(api: ApiWorld) -> None:
    headers = {"Idempotency-Key": "same"}
    replies = await asyncio.gather(
        *(api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN, headers=headers) for _ in range(20))
    )
    assert {reply.status for reply in replies} <= {201, 409}
    assert len({reply.body["campaign_id"] for reply in replies if reply.status == 201}) == 1
    assert len(await api.sql("select from campaigns")) == 1


async def test_a_refusal_is_remembered_like_any_first_answer(api: ApiWorld) -> None:
    headers = {"Idempotency-Key": "bad"}
    wrong = CAMPAIGN | {"timezone": "Nowhere"}
    first = await api.ask("POST", "/api/v1/campaigns", json=wrong, headers=headers)
    again = await api.ask("POST", "/api/v1/campaigns", json=wrong, headers=headers)
    assert first.status == again.status == 422
    assert first.body == again.body
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_what_failed_on_our_side_may_be_sent_again(api: ApiWorld) -> None:
    headers = {"Idempotency-Key": "again"}
    await api.sql("alter table campaigns add constraint broken check (name <> 'Renewals')")
    with structlog.testing.capture_logs():
        first = await api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN, headers=headers)
    assert first.status == 500
    await api.sql("alter table campaigns drop constraint broken")
    again = await api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN, headers=headers)
    assert again.status == 201


async def test_a_key_works_for_each_organisation_by_itself(api: ApiWorld) -> None:
    headers = {"Idempotency-Key": "k"}
    stranger = (await api.uses.authenticate.create_token("other")).token
    mine = await api.ask("POST", "/api/v1/campaigns", json=CAMPAIGN, headers=headers)
    theirs = await api.ask(
        "POST", "/api/v1/campaigns", json=CAMPAIGN, headers=headers, token=stranger
    )
    assert theirs.status == 201
    assert theirs.body["organization_id"] == "org_other"
    assert theirs.body["campaign_id"] != mine.body["campaign_id"]


async def test_the_voice_application_reads_its_call_with_its_key_alone(api: ApiWorld) -> None:
    created = await api.campaign(default_call_variables={"language": "en", "callee_name": "you"})
    batch = await api.batch(created)
    call = uuid.uuid4()
    await api.sql(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, requested_at, window_opens_at,"
        " window_closes_at) values ($1, 'org_acme', $2, $3, 1, 1, 'first', 'accepted', 'rotary',"
        " '+919876543210', '+14155550123', now(), now(), now())",
        call,
        ids.parse_id("cmp", created["campaign_id"]),
        ids.parse_id("btc", batch),
    )
    execution_id = ids.execution_id(call)
    key = agent_key(await api.uses.agent_calls.secret(), execution_id)
    path = f"/agent/calls/{execution_id}?k={key}"
    reply = await api.ask("GET", path, token="")
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    batch_key = ids.parse_id("btc", batch)
    assert batch_key is not None
    assert reply.body == {
        "execution_id": execution_id,
        "contact_id": ids.contact_id(ids.ContactKey(batch_key, 1)),
        "batch_id": batch,
        "campaign_id": created["campaign_id"],
        "agent_id": "agent_1",
        "to": "+919876543210",
        "from": "+14155550123",
        "attempt": 1,
        "kind": "first",
        "variables": {"language": "en", "callee_name": "Rajesh"},
        "call_context": {},
    }
    another = agent_key(await api.uses.agent_calls.secret(), ids.execution_id(uuid.uuid4()))
    for wrong in (another, "", key[:-1], "%00", "%ED%A0%80"):
        reply = await api.ask("GET", f"/agent/calls/{execution_id}?k={wrong}", token="")
        assert reply.status == 404
    assert (await api.ask("GET", f"/agent/calls/{execution_id}", token="")).status == 422
    ended = "update calls set state = 'ended', outcome = 'busy', ended_at = now() - $1::interval"
    await api.sql(ended, timedelta(minutes=59))
    assert (await api.ask("GET", path, token="")).status == 200
    await api.sql(ended, timedelta(minutes=61))
    assert (await api.ask("GET", path, token="")).status == 404
