"""The API's own description: complete, valid, in the repository, and enough for a client."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from openapi_spec_validator import validate
from scripts.draw_openapi import document, page
from tests.web.api_world import ApiWorld

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ROOT = Path(__file__).parents[2]
DOCUMENT = document()
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def test_the_file_in_the_repository_is_what_the_api_serves() -> None:
    kept = (ROOT / "docs/reference/openapi.json").read_text()
    assert kept == page(), (
        "PYTHONPATH=. python scripts/draw_openapi.py > docs/reference/openapi.json"
    )


def test_the_description_is_valid() -> None:
    validate(DOCUMENT)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert [name for name in names if not name.replace("_", "").isalpha()] == []


def test_every_operation_says_what_it_answers() -> None:
    bare = [
        (where, status)
        for where, operation in OPERATIONS
        for status, answer in operation["responses"].items()
        if "content" in answer and not all(one.get("schema") for one in answer["content"].values())
    ]
    assert bare == []
    reads = [(where, one["responses"]) for where, one in OPERATIONS if where.startswith("GET")]
    assert [where for where, answers in reads if {"409", "413"} & set(answers)] == []


def undescribed(schema: Any, where: str) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    for name, one in schema.get("properties", {}).items():
        # What refers to a schema may leave the words to that.
        if "description" not in one and "$ref" not in one:
            yield f"{where}.{name}"
        yield from undescribed(one, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        yield from undescribed(schema.get(key), where)
    for key in ("anyOf", "allOf", "oneOf"):
        for one in schema.get(key, ()):
            yield from undescribed(one, where)


def test_every_field_and_every_parameter_is_described() -> None:
    missing = [
        name
        for title, schema in DOCUMENT["components"]["schemas"].items()
        for name in undescribed(schema, title)
    ]
    for where, operation in OPERATIONS:
        assert operation.get("description"), where
        missing += [
            f"{where} {parameter['name']}"
            for parameter in operation.get("parameters", ())
            if not parameter.get("description")
        ]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            missing += undescribed(content["schema"], where)
    assert missing == []


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A client as an integrator gets it from the description."""
    folder = tmp_path_factory.mktemp("client")
    settings = {
        "post_hooks": [],
        # The generator knows neither CSV nor workbooks: a file is sent as it is.
        "content_type_overrides": dict.fromkeys(("text/csv", WORKBOOK), "application/octet-stream"),
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    described = folder / "openapi.json"
    described.write_text(json.dumps(DOCUMENT))
    made = subprocess.run(
        [
            Path(sys.executable).parent / "openapi-python-client",
            "generate",
            f"--path={described}",
            f"--output-path={folder / 'apollo_client'}",
            f"--config={folder / 'settings.json'}",
            "--meta=none",
            "--fail-on-warning",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("apollo_client")
    sys.path.remove(str(folder))


async def test_a_generated_client_makes_ten_calls(api: ApiWorld, client: ModuleType) -> None:
    def operation(tag: str, name: str) -> Any:
        return importlib.import_module(f"apollo_client.api.{tag}.{name}").asyncio_detailed

    models = importlib.import_module("apollo_client.models")
    async with client.AuthenticatedClient(base_url=api.url, token=api.token) as signed_in:
        await ten_calls(signed_in, operation, models)


async def ten_calls(signed_in: Any, operation: Any, models: Any) -> None:
    made = await operation("campaigns", "create_campaign")(
        client=signed_in,
        body=models.CampaignCreate.from_dict(
            {"name": "Renewals", "agent_id": "agent_1", "phone_numbers": ["+12025550100"]}
        ),
    )
    assert made.status_code == 201, made.content
    campaign = made.parsed.campaign_id
    created = await operation("batches", "create_batch")(
        client=signed_in,
        body=models.BatchBody.from_dict(
            {"campaign_id": campaign, "contacts": [{"phone_number": "+12025550143"}]}
        ),
    )
    assert created.status_code == 201, created.content
    batch = created.parsed.batch_id
    contacts = await operation("batches", "list_contacts")(batch, client=signed_in)
    contact = contacts.parsed[0].contact_id
    answers = [
        await operation("campaigns", "list_campaigns")(client=signed_in),
        await operation("campaigns", "read_campaign_stats")(campaign, client=signed_in),
        await operation("batches", "read_batch")(batch, client=signed_in),
        await operation("batches", "debug")(batch, client=signed_in),
        await operation("batches", "why")(batch, contact, client=signed_in),
        await operation("batches", "pause_batch")(batch, client=signed_in),
        await operation("batches", "history")(batch, client=signed_in),
        await operation("batches", "download_results")(batch, client=signed_in),
    ]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert [answer.parsed is None for answer in answers] == [False] * 8
    assert answers[5].parsed.status == "paused"
    missing = await operation("campaigns", "read_campaign")("cmp_none", client=signed_in)
    assert (missing.status_code, missing.parsed.detail) == (404, "Campaign not found")
