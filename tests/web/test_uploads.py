"""CSV uploads over HTTP: forms, repeats, broken connections, and no file that breaks the server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.usecases.batch_world import ACME
from tests.web.batch_server import PATIENCE_S, BatchServer, new_key, serve

from apollo.usecases import check_contacts
from apollo.web.batch_shapes import CreatedBatchAnswer
from apollo.web.trial_shapes import TrialAnswer

TWO = "phone_number,callee_name\n+919876500001,Asha\n+919876500002,Ravi\n"


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[BatchServer]:
    async with serve(database_url) as running:
        yield running


async def test_a_file_is_uploaded_as_it_is_or_in_a_form(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    plain = await server.upload(
        TWO.encode(), campaign_id=campaign, concurrency_limit="7", metadata='{"a":1}'
    )
    assert plain.status == 201, plain.text
    assert set(plain.json) == set(CreatedBatchAnswer.model_fields)
    assert plain.json["counters"]["pending"] == 2
    assert (plain.json["concurrency_limit"], plain.json["metadata"]) == (7, {"a": 1})
    form = aiohttp.FormData()
    form.add_field("comment", "not the file")
    form.add_field("file", TWO.encode(), filename="a.csv", content_type="text/csv")
    sent = await server.ask(
        "POST", "/batches/csv/", params={"campaign_id": campaign, "across": "none"}, data=form
    )
    assert sent.status == 201, sent.text
    assert await server.world.phone_numbers(sent.json) == ["+919876500001", "+919876500002"]


async def test_an_upload_that_is_no_file_is_refused(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    assert (await server.upload(TWO.encode())).status == 422, "campaign_id is missing"
    unknown = await server.upload(TWO.encode(), campaign_id=campaign, colour="blue")
    assert unknown.json["detail"][0]["loc"] == ["query", "colour"]
    late = await server.upload(TWO.encode(), campaign_id=campaign, ends_at="2020-01-01T00:00:00Z")
    assert late.json["detail"][0]["loc"] == ["query", "ends_at"]
    odd = await server.upload(TWO.encode(), campaign_id=campaign, metadata="[1]")
    assert odd.json["detail"][0]["loc"] == ["query", "metadata"]
    kind = await server.ask("POST", "/batches/csv", params={"campaign_id": campaign}, json={})
    assert kind.json["detail"][0]["loc"] == ["header", "content-type"]
    for names in ([], ["data"], ["file", "file"]):
        form = aiohttp.FormData(default_to_multipart=True)
        for name in [*names, "other"]:
            form.add_field(name, TWO, filename="a.csv")
        refused = await server.ask(
            "POST", "/batches/csv", params={"campaign_id": campaign}, data=form
        )
        assert refused.status == 422, names
    broken = await server.ask(
        "POST",
        "/batches/csv",
        params={"campaign_id": campaign},
        data=b"no boundary here",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert broken.status == 422
    assert await server.world.sql("select from batches") == []


async def test_bad_rows_of_an_upload_are_named_and_too_many_rows_are_a_413(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = await server.world.campaign()
    refused = await server.upload(b"phone\n12\n", campaign_id=campaign)
    assert refused.json["detail"][0]["loc"] == ["body", "rows", 2, "phone_number"]
    monkeypatch.setattr(check_contacts, "ROWS_MAX", 1)
    assert (await server.upload(TWO.encode(), campaign_id=campaign)).status == 413
    assert await server.world.sql("select from batches") == []


async def test_a_repeated_upload_gives_the_first_answer(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    headers = {"Idempotency-Key": new_key(), "Content-Type": "text/csv"}

    async def upload(content: str, **more: str) -> Any:
        params = {"campaign_id": campaign, **more}
        return await server.ask(
            "POST", "/batches/csv", params=params, data=content.encode(), headers=headers
        )

    first, again = await upload(TWO), await upload(TWO)
    assert (first.status, again.status) == (201, 201)
    assert again.text == first.text
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (await upload(TWO + "\n")).status == 422
    assert (await upload(TWO, concurrency_limit="5")).status == 422
    headers["Idempotency-Key"] = new_key()
    bad = "phone\n12\n" + "+919876500001\n" * 20_000
    refused, once_more = await upload(bad), await upload(bad)
    assert (refused.status, once_more.status) == (422, 422)
    assert once_more.text == refused.text
    assert len(await server.world.sql("select from batches")) == 1


async def _keys_held(server: BatchServer, many: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(await server.world.sql("select from idempotency_keys")) != many:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def test_an_upload_that_breaks_off_leaves_nothing_and_its_key_is_free(
    server: BatchServer,
) -> None:
    campaign = await server.world.campaign()
    headers = {"Idempotency-Key": new_key(), "Content-Type": "text/csv"}
    half_sent = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield TWO.encode()
        half_sent.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(
        server.ask(
            "POST", "/batches/csv", params={"campaign_id": campaign}, data=half(), headers=headers
        )
    )
    await half_sent.wait()
    await _keys_held(server, 1)
    upload.cancel()
    await _keys_held(server, 0)
    assert await server.world.sql("select from batches") == []
    whole = await server.ask(
        "POST",
        "/batches/csv",
        params={"campaign_id": campaign},
        data=TWO.encode(),
        headers=headers,
    )
    assert whole.status == 201


async def test_no_connection_is_held_while_a_slow_client_sends(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    seen = []

    async def slow() -> AsyncIterator[bytes]:
        yield TWO.encode()
        for _ in range(3):
            seen.extend(
                await server.world.sql(
                    "select state from pg_stat_activity"
                    " where datname = current_database() and state like 'idle in trans%'"
                )
            )
        yield b"+919876500003,Zoe\n"

    sent = await server.upload(slow(), campaign_id=campaign)
    assert sent.json["total_contacts"] == 3
    assert seen == []


CELLS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["+919876500001", '"', '"a', "a\nb", "\r", "\0", "=1", ",", "\ufeff", "098765 00001"]
)
FILES = st.binary(max_size=200) | st.lists(
    st.lists(CELLS, max_size=5).map(",".join), max_size=8
).map(lambda rows: "\n".join(["phone_number,a", *rows]).encode())


async def test_no_file_whatever_is_answered_with_a_500(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    @given(content=FILES, skips=st.booleans())
    def upload(content: bytes, skips: bool) -> None:
        sent = server.upload(
            content, campaign_id=campaign, on_invalid="skip" if skips else "reject"
        )
        answer = asyncio.run_coroutine_threadsafe(sent, loop).result(PATIENCE_S)
        assert answer.status in {201, 422}, (content, answer.text)
        if answer.status == 201:
            assert sum(answer.json["counters"].values()) == answer.json["total_contacts"] > 0

    await asyncio.to_thread(upload)
    shown = await server.world.read.batches(ACME, limit=500)
    assert all(sum(b["counters"].values()) == b["total_contacts"] for b in shown)


async def test_a_dry_run_answers_200_with_how_the_file_is_read(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    file = "Handy;Vorname\n+919876500001;Asha\n12;Ravi\n".encode("utf-16")
    wanted = {"campaign_id": campaign, "dry_run": "true", "map": "callee_name=Vorname"}
    trial = await server.upload(file, **wanted)
    assert trial.status == 200, trial.text
    TrialAnswer.model_validate(trial.json)
    assert trial.json["read_as"]["variables"] == {"callee_name": "Vorname"}
    assert trial.json["read_as"]["encoding"] == "UTF-16"
    key = {"Idempotency-Key": new_key()}
    body = {"campaign_id": campaign, "contacts": [{"phone_number": "12"}], "dry_run": True}
    for _ in range(2):
        asked = await server.ask("POST", "/batches", json=body, headers=key)
        assert (asked.status, asked.json["total_contacts"]) == (200, 0)
    assert await server.world.sql("select from batches") == []
    assert await server.world.sql("select from idempotency_keys") == []
    wrong = await server.upload(file, campaign_id=campaign, map="callee_name")
    assert wrong.json["detail"][0]["loc"] == ["query", "map"]
    missing = await server.upload(file, campaign_id=campaign, phone_column="Fax")
    assert "no column 'Fax'" in missing.json["detail"][0]["msg"]


async def test_rows_left_out_are_downloaded_as_they_were_uploaded(server: BatchServer) -> None:
    campaign = await server.world.campaign()
    file = b"Phone;Name\n+919876500001;Asha\n12;Ravi\n"
    batch = await server.upload(file, campaign_id=campaign, on_invalid="skip")
    assert batch.status == 201, batch.text
    path = f"/batches/{batch.json['batch_id']}/rejected.csv"
    kept = await server.ask("GET", path)
    assert kept.headers["Content-Type"].startswith("text/csv")
    assert kept.text.startswith(
        '\ufeffPhone,Name,rejected_reason\r\n12,Ravi,"phone_number: the country'
    )
    foreign = await server.ask("GET", path, token=server.other_token)
    assert foreign.status == 404
