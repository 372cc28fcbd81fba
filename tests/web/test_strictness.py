"""What a client may send without harm, and what is refused because it would mislead."""

from typing import Any

import pytest
from tests.web.api_world import ApiWorld

from apollo.web.story_shapes import HistoryAnswer, PreviewAnswer, WhyAnswer


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        (
            "/api/v1/campaigns/?statsu=paused",
            "statsu",
            "unknown parameter; did you mean status? It takes",
        ),
        ("/api/v1/batches/?batch_status=paused", "batch_status", "unknown parameter"),
        ("/api/v1/calls?phone_num=1", "phone_num", "did you mean phone_number?"),
        ("/api/v1/campaigns/cmp_x?limit=5", "limit", "unknown parameter; none is taken here"),
        ("/api/v1/batches/btc_x/debug?verfy=true", "verfy", "did you mean verify?"),
    ],
)
async def test_an_unknown_query_parameter_is_refused(
    api: ApiWorld, path: str, name: str, said: str
) -> None:
    reply = await api.ask("GET", path)
    assert reply.status == 422
    assert reply.body["detail"][0]["loc"] == ["query", name]
    assert said in reply.body["detail"][0]["msg"]


async def test_an_upload_refuses_an_unknown_query_parameter_too(api: ApiWorld) -> None:
    for path in ("/api/v1/batches/", "/api/v1/batches/csv"):
        reply = await api.ask("POST", f"{path}?campaing_id=cmp_x", json={})
        assert reply.status == 422
        assert "campaing_id" in str(reply.body)


async def test_many_unknown_parameters_are_named_up_to_a_limit(api: ApiWorld) -> None:
    query = "&".join(f"p{n}=1" for n in range(500))
    reply = await api.ask("GET", f"/api/v1/campaigns/?{query}")
    assert len(reply.body["detail"]) == 100


async def test_the_body_of_a_get_is_a_body_of_patch(api: ApiWorld) -> None:
    campaign = await api.campaign()
    path = f"/api/v1/campaigns/{campaign['campaign_id']}"
    read = (await api.ask("GET", path)).body
    changed = await api.ask("PATCH", path, json=read | {"name": "Renewals, second wave"})
    assert changed.status == 200, changed.body
    assert changed.body["name"] == "Renewals, second wave"
    without_times = {"name", "updated_at"}
    assert {k: v for k, v in changed.body.items() if k not in without_times} == {
        k: v for k, v in read.items() if k not in without_times
    }
    batch = f"/api/v1/batches/{await api.batch(campaign)}"
    read = (await api.ask("GET", batch)).body
    changed = await api.ask("PATCH", batch, json=read | {"metadata": {"wave": 2}})
    assert changed.status == 200, changed.body
    assert changed.body["metadata"] == {"wave": 2}


@pytest.mark.parametrize(
    ("key", "value"), [("status", "paused"), ("campaign_id", "cmp_other"), ("created_at", "2020")]
)
async def test_a_read_only_value_of_ones_own_is_refused(
    api: ApiWorld, key: str, value: Any
) -> None:
    campaign = await api.campaign()
    batch = f"/api/v1/batches/{await api.batch(campaign)}"
    for path in (f"/api/v1/campaigns/{campaign['campaign_id']}", batch):
        reply = await api.ask("PATCH", path, json={key: value})
        assert reply.status == 422, reply.body
        assert reply.body["detail"][0]["loc"] == ["body", key]
        assert "cannot be changed from" in reply.body["detail"][0]["msg"]


async def test_counters_that_have_moved_since_are_no_fault(api: ApiWorld) -> None:
    campaign = await api.campaign()
    path = f"/api/v1/campaigns/{campaign['campaign_id']}"
    reply = await api.ask("PATCH", path, json={"completed_calls": 99, "name": "B"})
    assert (reply.status, reply.body["completed_calls"]) == (200, 0)


async def test_a_page_that_is_too_large_names_the_export(api: ApiWorld) -> None:
    batch = await api.batch(await api.campaign())
    reply = await api.ask("GET", f"/api/v1/batches/{batch}/contacts?limit=5000")
    assert reply.status == 422
    assert reply.body["detail"][0]["loc"] == ["query", "limit"]
    assert "must be at most 1000" in reply.body["detail"][0]["msg"]
    assert "results.csv" in reply.body["detail"][0]["msg"]


async def test_the_retry_breakdown_has_every_retry_of_the_policy(api: ApiWorld) -> None:
    campaign = await api.campaign(retry_policy={"max_retries": 3})
    stats = (await api.ask("GET", f"/api/v1/campaigns/{campaign['campaign_id']}/stats")).body
    assert stats["retry_breakdown"] == {"retry_1": 0, "retry_2": 0, "retry_3": 0}


async def test_an_unknown_key_is_named_with_those_that_are_known(api: ApiWorld) -> None:
    campaign = await api.campaign()
    path = f"/api/v1/campaigns/{campaign['campaign_id']}"
    reply = await api.ask("PATCH", path, json={"metdata": {}})
    said = reply.body["detail"][0]["msg"]
    assert said.startswith("unknown key; did you mean metadata? It takes ")
    reply = await api.ask("POST", f"{path}/preview", json={"changes": {"agent": "a"}})
    assert reply.body["detail"][0]["loc"] == ["body", "changes", "agent"]
    assert "did you mean agent_id?" in reply.body["detail"][0]["msg"]


async def test_the_answers_of_the_stories_have_the_shape_that_is_described(api: ApiWorld) -> None:
    campaign = await api.campaign()
    batch = f"/api/v1/batches/{await api.batch(campaign)}"
    contact = (await api.ask("GET", f"{batch}/contacts")).body[0]["contact_id"]
    await api.ask("POST", f"{batch}/pause")
    preview = f"/api/v1/campaigns/{campaign['campaign_id']}/preview"
    for model, reply in (
        (WhyAnswer, await api.ask("GET", f"{batch}/contacts/{contact}/why")),
        (HistoryAnswer, await api.ask("GET", f"{batch}/debug/history")),
        (PreviewAnswer, await api.ask("POST", preview, json={"contacts_count": 3})),
    ):
        assert reply.status == 200, reply.body
        assert set(reply.body) == set(model.model_fields), model
        model.model_validate(reply.body)
