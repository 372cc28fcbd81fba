"""What holds for every request: token, path, id, size, form of errors, figures."""

import asyncio
import io
import json
import random
import re
from collections.abc import AsyncIterator

import pytest
import structlog
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from tests.web.api_world import CAMPAIGN, ApiWorld, running_api

from apollo.core import tokens
from apollo.errors import Stale, Unavailable
from apollo.web.faults import add_fault_answers
from apollo.web.requests import UseCases
from apollo.web.shell import Figures, Shell

MIB = 1024 * 1024


async def test_without_a_good_token_there_is_nothing_but_401(api: ApiWorld) -> None:
    unknown = tokens.build_token(7)
    wrong = ["", "Bearer", "Bearer ", "Basic abc", unknown, f"Bearer {unknown}", f"Basic {unknown}"]
    paths = {
        "/api/v1/campaigns": "GET",
        "/api/v1/no/such/path": "GET",
        "/api/v1/batches/btc_x/cancel": "POST",
        "/api/v1": "DELETE",
    }
    for path, method in paths.items():
        for authorization in [None, *wrong, f"Token {api.token}"]:
            headers = {} if authorization is None else {"Authorization": authorization}
            reply = await api.ask(method, path, token="", headers=headers)
            assert reply.status == 401, (path, authorization)
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert list(reply.body) == ["detail"]


async def test_a_revoked_token_is_refused(api: ApiWorld) -> None:
    assert (await api.ask("GET", "/api/v1/campaigns")).status == 200
    await api.uses.authenticate.revoke_token(api.token)
    assert (await api.ask("GET", "/api/v1/campaigns")).status == 401


async def test_the_scheme_may_be_written_in_any_case(api: ApiWorld) -> None:
    headers = {"Authorization": f"bearer {api.token}"}
    assert (await api.ask("GET", "/api/v1/campaigns", token="", headers=headers)).status == 200


async def test_health_and_docs_need_no_token_and_take_a_trailing_slash(api: ApiWorld) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs"):
        for form in (path, path + "/"):
            reply = await api.ask("GET", form, token="")
            assert reply.status == 200, reply.body


async def test_both_forms_of_a_path_are_served_without_a_redirect(api: ApiWorld) -> None:
    for path in ("/api/v1/campaigns", "/api/v1/campaigns/"):
        assert (await api.ask("GET", path)).status == 200
        assert (await api.ask("POST", path, json=CAMPAIGN)).status == 201
    assert (await api.ask("GET", "/api/v1/campaigns//")).status == 404


async def test_every_answer_has_a_request_id_and_a_sane_one_is_kept(api: ApiWorld) -> None:
    for path in ("/livez", "/api/v1/nothing", "/nothing"):
        reply = await api.ask("GET", path, headers={"X-Request-Id": "crm-7.a_1"})
        assert reply.headers["X-Request-Id"] == "crm-7.a_1"
        for insane in ("a" * 65, "a b", 'a"b'):
            reply = await api.ask("GET", path, headers={"X-Request-Id": insane})
            assert reply.headers["X-Request-Id"] != insane
            assert len(reply.headers["X-Request-Id"]) == 32


async def test_unknown_paths_and_methods_are_named_as_such(api: ApiWorld) -> None:
    assert (await api.ask("GET", "/api/v1/nothing")).status == 404
    reply = await api.ask("PUT", "/api/v1/campaigns")
    assert reply.status == 405
    assert set(reply.body) == {"detail"}


async def test_a_refused_method_is_answered_with_every_method_of_the_path(api: ApiWorld) -> None:
    documented = (await api.ask("GET", "/openapi.json")).body["paths"]
    patterns = {re.sub(r"{[^}]*}", "[^/]+", path): path for path in documented}
    for path in documented:
        if path.startswith("/webhooks/"):
            continue  # mounted by the wiring, outside the routes of this API
        asked = re.sub(r"{[^}]*}", "x", path)
        reply = await api.ask("PUT", asked)
        assert reply.status == 405, asked
        taken = {
            method.upper()
            for pattern, template in patterns.items()
            if re.fullmatch(pattern, asked)
            for method in documented[template]
        }
        assert set(reply.headers["Allow"].split(", ")) == taken, asked
        assert all(method in reply.body["detail"] for method in taken)


UNKEEPABLE: list[tuple[bytes, list[str | int], str]] = [
    (b"{", ["body"], "not valid JSON"),
    (b'{"name": NaN}', ["body"], "not valid JSON"),
    (b'{"name": "\\ud800"}', ["body"], "not valid JSON"),
    (b'{"name": "\xff"}', ["body"], "not valid JSON"),
    (b"9" * 5000, ["body"], "not valid JSON"),
    (b'{"metadata": {"a": ["x", "a\\u0000b"]}}', ["body", "metadata", "a", 1], "NUL"),
    (b'{"metadata": {"a\\u0000": 1}}', ["body", "metadata"], "NUL"),
    (b'{"a":' * 30 + b"1" + b"}" * 30, ["body"], "nested more than 20"),
    (b'{"a":' * 30 + b'"\\u0000"' + b"}" * 30, ["body"], "nested more than 20"),
    (b"[" * 100_000, ["body"], "nested too deeply"),
    (b"[]", ["body"], "valid dictionary"),
    (b"", ["body"], "Field required"),
]


async def test_a_body_that_cannot_be_kept_is_a_422_with_its_place(api: ApiWorld) -> None:
    for body, place, fault in UNKEEPABLE:
        reply = await api.ask("POST", "/api/v1/campaigns", body=body)
        assert reply.status == 422, body[:50]
        (found,) = reply.body["detail"]
        assert found["loc"] == place
        assert fault in found["msg"]
        assert set(found) == {"loc", "msg", "type"}


async def test_an_escaped_backslash_before_u0000_is_no_nul(api: ApiWorld) -> None:
    metadata = {"path": "C:\\u0000", "emoji": "\U0001f4de"}
    created = await api.campaign(metadata=metadata)
    assert created["metadata"] == metadata


async def test_a_body_that_is_not_json_is_refused(api: ApiWorld) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = await api.ask("POST", "/api/v1/campaigns", body=b"{}", headers=headers)
    assert reply.status == 422
    assert reply.body["detail"][0]["loc"] == ["header", "content-type"]


async def test_an_error_never_repeats_what_was_sent(api: ApiWorld) -> None:
    sent = CAMPAIGN | {"name": ["secret-value"], "unknown": "secret-value"}
    reply = await api.ask("POST", "/api/v1/campaigns", json=sent)
    assert reply.status == 422
    assert "secret-value" not in json.dumps(reply.body)
    assert {tuple(e["loc"]) for e in reply.body["detail"]} == {
        ("body", "name"),
        ("body", "unknown"),
    }


async def test_a_body_over_the_limit_is_a_413_whatever_length_was_said(api: ApiWorld) -> None:
    for body in (io.BytesIO(b" " * (MIB + 1)), _in_pieces(MIB + 1)):
        reply = await api.ask("POST", "/api/v1/campaigns", body=body)
        assert reply.status == 413
        assert reply.body == {"detail": "The body is over 1 MiB"}
    assert (await api.ask("POST", "/api/v1/campaigns", body=b" " * MIB)).status == 422


async def test_a_page_out_of_range_is_a_422(api: ApiWorld) -> None:
    huge = "9" * 5000
    for query in (
        "skip=-1",
        "skip=1000000001",
        "skip=x",
        "limit=0",
        "limit=501",
        f"limit={huge}",
        "status=running",
        "status=%00",
    ):
        reply = await api.ask("GET", f"/api/v1/campaigns?{query}")
        assert reply.status == 422, query
        assert reply.body["detail"][0]["loc"][0] == "query"
    assert (await api.ask("GET", "/api/v1/campaigns?skip=1000000000")).body == []


async def test_live_means_alive_and_ready_means_able(api: ApiWorld) -> None:
    ready = await api.ask("GET", "/readyz", token="")
    assert ready.body["status"] == "ok"
    await api.sql("delete from schema_migrations")
    behind = await api.ask("GET", "/readyz", token="")
    assert behind.status == 503
    assert "apollo migrate" in behind.body["database"]
    await api.db.close()
    assert (await api.ask("GET", "/readyz", token="")).status == 503
    assert (await api.ask("GET", "/livez", token="")).status == 200


async def test_without_its_database_it_asks_to_try_again(api: ApiWorld) -> None:
    await api.ask("GET", "/api/v1/campaigns")
    await api.db.close()
    reply = await api.ask("GET", "/api/v1/campaigns")
    assert reply.status == 503
    assert reply.headers["Retry-After"] == "1"
    assert "nothing was done" in reply.body["detail"]


async def test_figures_count_by_route_not_by_path(api: ApiWorld) -> None:
    for number in random.Random(1).sample(range(1000), 5):
        await api.ask("GET", f"/api/v1/campaigns/cmp_{number}")
        await api.ask("GET", f"/nothing/{number}")
    text = (await api.ask("GET", "/metrics", token="")).body
    route = "/api/v1/campaigns/{campaign_id}"
    assert f'requests_total{{method="GET",route="{route}",status="404"}} 5.0' in text
    assert 'requests_total{method="GET",route="unmatched",status="404"} 5.0' in text
    assert "cmp_" not in text


async def test_the_description_names_the_token_the_errors_and_every_key(api: ApiWorld) -> None:
    described = (await api.ask("GET", "/openapi.json", token="")).body
    assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation.get("description"), path
            if path.startswith("/api/v1"):
                assert operation["security"] == [{"HTTPBearer": []}]
                assert {"401", "422", "503"} <= set(operation["responses"])


class TestOtherRoutes:
    """Routes of others, and what the shell does for them."""

    @pytest.fixture
    async def more(self, database_url: str) -> AsyncIterator[ApiWorld]:
        app = FastAPI()
        add_fault_answers(app)

        async def defect() -> None:
            raise KeyError("a secret of ours")

        async def stale() -> None:
            raise Stale("tuple concurrently updated")

        async def away() -> None:
            raise Unavailable("the database is not available: db-7.internal refused")

        async def measure(request: Request) -> int:
            return len(await request.body())

        for route in (defect, stale, away):
            app.add_api_route(f"/api/v1/{route.__name__}", route)
        for path in ("/batches", "/batches/csv"):
            app.add_api_route(f"/api/v1{path}", measure, methods=["POST"])

        def shelled(uses: UseCases, registry: CollectorRegistry) -> Shell:
            return Shell(app, authenticate=uses.authenticate, figures=Figures(registry))

        async with running_api(database_url, shelled) as world:
            yield world

    async def test_a_batch_over_the_limit_is_told_of_the_csv_upload_which_has_none(
        self, more: ApiWorld
    ) -> None:
        for body in (io.BytesIO(b" " * (64 * MIB + 1)), _in_pieces(64 * MIB + 1)):
            reply = await more.ask("POST", "/api/v1/batches/", body=body)
            assert reply.status == 413
            assert "POST /api/v1/batches/csv" in reply.body["detail"]
        for path, size in (("/batches", 64 * MIB), ("/batches/csv", 65 * MIB)):
            reply = await more.ask("POST", f"/api/v1{path}", body=_in_pieces(size))
            assert (reply.status, reply.body) == (200, size)

    async def test_a_defect_is_a_500_that_says_nothing_but_where_to_look(
        self, more: ApiWorld
    ) -> None:
        with structlog.testing.capture_logs() as logged:
            reply = await more.ask("GET", "/api/v1/defect")
        assert [line["event"] for line in logged] == ["request_broke"]
        assert reply.status == 500
        assert "X-Request-Id" in reply.body["detail"]
        assert "secret" not in json.dumps(reply.body)

    @pytest.mark.parametrize("path", ["/api/v1/stale", "/api/v1/away"])
    async def test_a_lost_race_or_an_outage_may_be_tried_again(
        self, more: ApiWorld, path: str
    ) -> None:
        reply = await more.ask("GET", path)
        assert reply.status == 503
        assert reply.headers["Retry-After"] == "1"
        assert "tuple" not in reply.body["detail"]
        assert "internal" not in reply.body["detail"]
        assert "send the same request again" in reply.body["detail"]

    async def test_an_outage_says_what_is_away_and_where_to_look(self, more: ApiWorld) -> None:
        reply = await more.ask("GET", "/api/v1/away")
        assert reply.body["detail"].startswith("The database is not available: on the server,")
        assert "apollo doctor" in reply.body["detail"]


async def _in_pieces(size: int) -> AsyncIterator[bytes]:
    """A body that is sent without a length."""
    piece = b" " * 65536
    for _ in range(size // len(piece)):
        yield piece
        await asyncio.sleep(0)
    yield piece[: size % len(piece)]
