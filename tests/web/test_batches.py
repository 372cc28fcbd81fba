"""Batches over HTTP: shapes, errors, uploads, repeats, and who may see what."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ConfigDict, TypeAdapter, create_model
from tests.usecases.batch_world import NOW, some_numbers
from tests.web.batch_server import BatchServer, new_key, serve

from apollo.core import ids
from apollo.core.ids import ContactKey
from apollo.web import batch_shapes
from apollo.web.batch_shapes import CallInFull, CallOfContact, ContactAnswer, CreatedBatchAnswer


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[BatchServer]:
    async with serve(database_url) as running:
        yield running


def _contacts(*numbers: str) -> list[dict[str, Any]]:
    return [{"phone_number": number} for number in numbers]


def _fits(model: type[Any], answer: Any) -> None:
    """Hold an answer against its description, no key more and none less."""
    exact = create_model(model.__name__, __base__=model, __config__=None)
    exact.model_config = ConfigDict(extra="forbid")
    exact.model_rebuild(force=True)
    exact.model_validate(answer)
    optional = {name for name, field in model.model_fields.items() if not field.is_required()}
    assert set(model.model_fields) - optional <= set(answer)


async def test_a_batch_is_created_read_and_listed_in_one_shape(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    body = {
        "campaign_id": campaign,
        "contacts": [{"phone_number": "+91 98765-00001", "call_variables": {"callee_name": "A"}}],
        "scheduled_start": "2126-05-10T16:00:00",
        "metadata": {"source": "crm"},
        "on_duplicate": "keep",
    }
    for path in ("/batches/", "/batches/upload"):
        assert (await server.ask("POST", path, json=body)).status == 201
    created = await server.ask("POST", "/batches", json=body)
    assert created.status == 201, created.text
    assert created.json["status"] == "pending"
    assert created.json["scheduled_start"] == "2126-05-10T10:30:00Z"
    _fits(CreatedBatchAnswer, created.json)
    # What may not be as it was meant is said once.
    assert created.json.pop("warnings") == []
    read = await server.ask("GET", f"/batches/{created.json['batch_id']}/")
    assert read.json == created.json
    listed = await server.ask("GET", "/batches/", params={"campaign_id": campaign, "limit": "1"})
    assert listed.json == [created.json]
    of_campaign = await server.ask("GET", f"/campaigns/{campaign}/batches")
    assert len(of_campaign.json) == 3
    assert (await server.ask("GET", "/campaigns/cmp_x/batches")).status == 404


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"contacts": None}, ["body", "contacts"], "array"),
        ({"contacts": []}, ["body", "contacts"], "at least one"),
        ({"contacts": ["x"]}, ["body", "contacts", 0], "object"),
        ({"contacts": [{}]}, ["body", "contacts", 0, "phone_number"], "phone_number"),
        ({"contacts": [{"phone_number": 5}]}, ["body", "contacts", 0, "phone_number"], "str"),
        (
            {"contacts": [{"phone_number": "+919876500001", "x": 1}]},
            ["body", "contacts", 0, "x"],
            "unknown key",
        ),
        (
            {"contacts": [{"phone_number": "+919876500001", "call_variables": {"a": "\0"}}]},
            ["body", "contacts", 0, "call_variables"],
            "NUL",
        ),
        ({"contacts": _contacts("12")}, ["body", "contacts", 0, "phone_number"], "country"),
        ({"surprise": 1}, ["body", "surprise"], "unknown key; it takes campaign_id"),
        ({"concurrency_limit": 0}, ["body", "concurrency_limit"], "greater"),
        ({"concurrency_limit": 10_001}, ["body", "concurrency_limit"], "less"),
        ({"concurrency_limit": "5"}, ["body", "concurrency_limit"], "integer"),
        ({"max_retries_override": 101}, ["body", "max_retries_override"], "less"),
        ({"on_invalid": "perhaps"}, ["body", "on_invalid"], "'reject' or 'skip'"),
        ({"scheduled_start": "soon"}, ["body", "scheduled_start"], "no date and time"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, ["body", "ends_at"], "after the start"),
        ({"default_region": "ZZ"}, ["body", "default_region"], "region"),
        ({"metadata": {"a": "\0"}}, ["body", "metadata", "a"], "NUL"),
        ({"call_context": {"a": "x" * 70_000}}, ["body", "call_context"], "at most"),
    ],
)
async def test_bad_input_names_the_field_and_what_is_wrong(
    server: BatchServer, change: dict[str, Any], where: list[Any], says: str
) -> None:
    campaign = await server.world.campaign()
    body = {"campaign_id": campaign, "contacts": _contacts("+919876500001"), **change}
    refused = await server.ask("POST", "/batches", json=body)
    assert refused.status == 422
    (fault,) = refused.json["detail"]
    assert fault["loc"] == where
    assert says in fault["msg"]
    assert set(fault) == {"loc", "msg", "type"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"5", b"\xff", b"[" * 5000, b'{"contacts":' + b"[" * 5000 + b"}", b"{}"],
)
async def test_a_body_that_is_no_batch_is_a_422(server: BatchServer, body: bytes) -> None:
    refused = await server.ask(
        "POST", "/batches", data=body, headers={"Content-Type": "application/json"}
    )
    assert refused.status == 422, refused.text


async def test_states_that_forbid_a_batch_answer_409_and_404(server: BatchServer) -> None:
    cancelled = await server.world.campaign(cancelled_at=NOW)
    body = {"campaign_id": cancelled, "contacts": _contacts("+919876500001")}
    refused = await server.ask("POST", "/batches", json=body)
    assert refused.status == 409
    unknown = await server.ask("POST", "/batches", json={**body, "campaign_id": "cmp_x"})
    assert (unknown.status, unknown.json) == (404, {"detail": "Campaign not found"})
    foreign = await server.ask("POST", "/batches", json={**body, "organization_id": "org_other"})
    assert foreign.status == 403


async def test_nothing_of_another_organisation_can_be_seen(server: BatchServer) -> None:
    batch = await server.world.batch(await server.world.campaign())
    call = await server.world.put_call(batch, 1)
    key = ids.parse_id("btc", batch["batch_id"])
    assert key is not None
    one = f"/batches/{batch['batch_id']}"
    contact = ids.contact_id(ContactKey(key, 1))
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", one, {}),
        ("GET", f"{one}/contacts", {}),
        ("GET", f"{one}/results.csv", {}),
        ("PATCH", one, {"json": {"concurrency_limit": 1}}),
        ("POST", f"{one}/contacts/{contact}/follow-up", {"json": {"at": "2126-05-11T00:00:00Z"}}),
        ("GET", f"/calls/{call}", {}),
        ("GET", f"/calls?batch_id={batch['batch_id']}", {}),
    ]
    for method, path, request in asked:
        own = await server.ask(method, path, **request)
        assert own.status == 200, (path, own.text)
        foreign = await server.ask(method, path, token=server.other_token, **request)
        unknown = await server.ask(
            method,
            path.replace(batch["batch_id"], "btc_0000000000000000000000").replace(
                call, "exec_0000000000000000000000"
            ),
            **request,
        )
        assert (foreign.status, foreign.json) == (404, unknown.json), path
    listed = await server.ask("GET", "/batches", token=server.other_token)
    assert listed.json == []
    assert (await server.ask("GET", "/batches?organization_id=org_other")).status == 403


async def test_contacts_and_calls_have_the_described_shape(server: BatchServer) -> None:
    batch = await server.world.batch(await server.world.campaign())
    call = await server.world.put_call(batch, 1, total_cost="0.5", duration_seconds=3)
    shown = await server.ask(
        "GET", f"/batches/{batch['batch_id']}/contacts?include_calls=true&explain=true"
    )
    assert shown.status == 200, shown.text
    for contact in shown.json:
        _fits(ContactAnswer, contact)
    assert shown.json[0]["current_call"]["started_at"] == f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    one = await server.ask("GET", f"/calls/{call}")
    _fits(CallInFull, one.json)
    many = await server.ask("GET", "/calls", params={"phone_number": "+919876500001"})
    _fits(CallOfContact, many.json[0])
    unescaped = await server.ask("GET", "/calls?phone_number=+919876500001")
    assert unescaped.json == many.json
    assert (await server.ask("GET", "/calls")).status == 422
    for bad in ("limit=0", "limit=1001", "skip=-1", "status=late", "explain=maybe"):
        answer = await server.ask("GET", f"/batches/{batch['batch_id']}/contacts?{bad}")
        assert answer.status == 422, bad


async def test_a_live_batch_is_changed_and_a_wrong_key_refused(server: BatchServer) -> None:
    batch = await server.world.batch(await server.world.campaign(), concurrency_limit=3)
    one = f"/batches/{batch['batch_id']}"
    changed = await server.ask("PATCH", one, json={"metadata": {"a": 1}, "concurrency_limit": None})
    assert changed.status == 200
    assert (changed.json["metadata"], changed.json["concurrency_limit"]) == ({"a": 1}, 10)
    for bad in ({"status": "paused"}, {"concurrency_limit": 0}, {"metadata": 5}):
        assert (await server.ask("PATCH", one, json=bad)).status == 422


async def test_a_repeated_request_gives_the_first_answer(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    key = {"Idempotency-Key": new_key()}
    body = {"campaign_id": campaign, "contacts": _contacts("+919876500001")}
    first = await server.ask("POST", "/batches", json=body, headers=key)
    again = await server.ask("POST", "/batches", json=body, headers=key)
    assert (first.status, again.status) == (201, 201)
    assert again.text == first.text
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await server.ask("POST", "/batches", json={**body, "metadata": {}}, headers=key)
    assert other.status == 422
    assert len(await server.world.sql("select from batches")) == 1


async def test_results_are_downloaded_as_a_file(server: BatchServer) -> None:
    batch = await server.world.batch(await server.world.campaign(), some_numbers(3))
    path = f"/batches/{batch['batch_id']}/results.csv"
    sheet = await server.ask("GET", path)
    assert sheet.headers["Content-Type"].startswith("text/csv")
    assert batch["batch_id"] in sheet.headers["Content-Disposition"]
    assert sheet.text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(sheet.text.removeprefix("\ufeff"), newline="")))
    assert [row["phone_number"] for row in rows] == some_numbers(3)
    few = await server.ask("GET", f"{path}?columns=phone_number,status&status=busy&bom=false")
    assert few.text == "phone_number,status\r\n"
    one = some_numbers(3)[1]
    for query, numbers in {
        "status=pending,busy": some_numbers(3),
        "status=busy&status=no_answer": [],
        f"phone_number=%2B{one[1:]}": [one],
        "updated_since=2020-01-01": some_numbers(3),
        "updated_since=2120-01-01": [],
    }.items():
        found = await server.ask("GET", f"{path}?columns=phone_number&bom=false&{query}")
        assert found.text.split() == ["phone_number", *numbers], query
        listed = await server.ask("GET", f"/batches/{batch['batch_id']}/contacts?{query}")
        assert [c["phone_number"] for c in json.loads(listed.text)] == numbers, query
    assert (await server.ask("GET", f"{path}?status=dead")).status == 422
    assert (await server.ask("GET", f"{path}?columns=nothing")).status == 422
    raw = await server.ask("GET", f"{path}?raw=true")
    rows = list(csv.DictReader(io.StringIO(raw.text, newline="")))
    assert [row["phone_number"] for row in rows] == some_numbers(3)


async def test_the_description_names_every_key_of_a_body(server: BatchServer) -> None:
    async with server.client.get("/openapi.json") as answer:
        described = json.loads(await answer.text())
    paths = described["paths"]
    content = paths["/api/v1/batches"]["post"]["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/BatchBody"}
    schema = described["components"]["schemas"]["BatchBody"]
    assert set(schema["properties"]) == set(batch_shapes.BatchBody.model_fields)
    upload = paths["/api/v1/batches/csv"]["post"]
    kinds = set(upload["requestBody"]["content"])
    assert {"text/csv", "multipart/form-data"} < kinds
    assert any("spreadsheetml" in kind for kind in kinds)
    assert {"campaign_id", "on_invalid", "dry_run", "phone_column", "map", "sheet"} <= {
        p["name"] for p in upload["parameters"]
    }
    TypeAdapter(dict[str, Any]).validate_python(paths["/api/v1/calls/{execution_id}"])
