"""Reading batches, contacts and calls: shapes, order, isolation, and the results file."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.usecases.batch_world import ACME, NOW, OTHER, BatchWorld, Reading, some_numbers

from apollo.core import ids
from apollo.core.diagnosis.snapshot import Settings as Explained
from apollo.core.list_rows import GivenContact
from apollo.core.safe_cells import unarmoured
from apollo.core.states import BatchStatus, ContactStatus
from apollo.errors import Invalid, NotFound
from apollo.usecases.batch_views import View
from apollo.usecases.check_contacts import Across
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.export_results import ResultsForm
from apollo.usecases.list_filters import ListFilter
from apollo.usecases.wanted_batches import NewBatch

EXPLAINED = Explained(
    stuck_after=timedelta(minutes=30), ring_timeout=timedelta(seconds=45), bus_kind="postgres"
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


async def test_batches_are_listed_newest_first_and_filtered(world: BatchWorld) -> None:
    first, second = await world.campaign(), await world.campaign(paused_at=NOW)
    made = []
    for campaign in (first, second, first):
        world.clock.at += timedelta(seconds=1)
        made.append((await world.batch(campaign, across=Across.NONE))["batch_id"])

    async def listed(**filters: object) -> list[str]:
        return [b["batch_id"] for b in await world.read.batches(ACME, **filters)]  # type: ignore[arg-type] # each test passes the right ones

    assert await listed() == made[::-1]
    assert await listed(skip=1, limit=1) == [made[1]]
    assert await listed(campaign_id=first) == [made[2], made[0]]
    assert await listed(status=BatchStatus.PAUSED) == [made[1]]
    assert await listed(campaign_id="cmp_unknown") == []
    assert await world.read.batches(OTHER) == []


async def test_another_organisation_sees_nothing(world: BatchWorld) -> None:
    batch = await world.batch(await world.campaign())
    call = await world.put_call(batch, 1)
    with pytest.raises(NotFound, match=r"^Batch not found$"):
        await world.read.batch(OTHER, batch["batch_id"])
    with pytest.raises(NotFound, match=r"^Batch not found$"):
        await world.read.contacts(OTHER, batch["batch_id"])
    with pytest.raises(NotFound, match=r"^Batch not found$"):
        await world.read.results(OTHER, batch["batch_id"], ResultsForm(), ListFilter())
    with pytest.raises(NotFound, match=r"^Call not found$"):
        await world.read.call(OTHER, call)
    assert await world.read.calls(OTHER, phone_number="+919876500001", batch_id=None) == []


async def test_pages_of_contacts_follow_the_upload(world: BatchWorld) -> None:
    batch = await world.batch(await world.campaign(), some_numbers(9))
    shown = await world.read.contacts(ACME, batch["batch_id"], skip=4, limit=3)
    assert [c["phone_number"] for c in shown] == some_numbers(9)[4:7]
    await world.put_call(batch, 2, state="ringing")
    await world.put_call(batch, 7, state="ringing", phone_number="+919876500007")
    ringing = await world.read.contacts(
        ACME, batch["batch_id"], status=ContactStatus.IN_PROGRESS, skip=1
    )
    assert [c["phone_number"] for c in ringing] == [some_numbers(9)[6]]


async def test_a_contact_shows_its_newest_call_and_all_of_them_when_asked(
    world: BatchWorld,
) -> None:
    batch = await world.batch(await world.campaign())
    first = await world.put_call(batch, 2, outcome="no_answer", sip_status=480)
    second = await world.put_call(
        batch, 2, attempt=2, kind="retry", duration_seconds=42, total_cost="0.25"
    )
    released = {"attempt": None, "state": "released", "ended_at": NOW, "outcome": None}
    await world.put_call(batch, 2, **released)
    await world.sql("update contacts set status = 'completed' where position = 2")
    plain = await world.read.contacts(ACME, batch["batch_id"])
    assert plain[0]["current_call"] is None
    assert "call_records" not in plain[1]
    assert plain[1]["current_call"]["execution_id"] == second
    assert plain[1]["current_call"]["total_cost"] == 0.25
    with_calls = await world.read.contacts(ACME, batch["batch_id"], with_calls=True)
    records = with_calls[1]["call_records"]
    assert [(r["execution_id"], r["attempt"], r["kind"]) for r in records] == [
        (first, 1, "first"),
        (second, 2, "retry"),
    ]
    assert records[0]["call_status"] == "no-answer"
    assert with_calls[1]["current_call"] == records[-1]
    assert with_calls[0]["call_records"] == []


async def test_explained_contacts_name_their_own_reason_before_the_batchs(
    world: BatchWorld,
) -> None:
    batch = await world.batch(await world.campaign(), some_numbers(4))
    explain = ExplainBatch(db=world.db, clock=world.clock, settings=EXPLAINED)
    await world.put_call(batch, 2, state="ringing")
    await world.put_call(batch, 3)
    await world.sql(
        "update contacts set status = 'retrying', wait_reason = 'retry_not_due' where position = 4"
    )
    due_at = NOW + timedelta(minutes=30)
    await world.sql(
        "insert into due_contacts values ($1, 4, 1, $2, false, $3)",
        ids.parse_id("btc", batch["batch_id"]),
        due_at,
        NOW,
    )
    read = Reading(world.db, explain.diagnose)
    shown = await read.contacts(ACME, batch["batch_id"], explain=True)
    assert [(c.get("blocked_by"), c.get("next_eligible_at")) for c in shown] == [
        ("no_worker_alive", None),
        (None, None),
        (None, None),
        ("retry_not_due", due_at),
    ]
    assert ["blocked_by" in c for c in shown] == [True, True, False, True]
    assert shown[3]["next_retry_at"] == due_at


async def test_a_call_comes_with_what_its_agent_was_told(world: BatchWorld) -> None:
    campaign = await world.campaign(
        default_call_variables={"language": "en", "callee_name": "friend"}
    )
    batch = await world.batch(campaign, call_context={"tone": "calm"})
    execution_id = await world.put_call(batch, 1)
    call = await world.read.call(ACME, execution_id)
    assert call["variables"] == {"language": "en", "callee_name": "Person 0"}
    assert call["call_context"] == {"tone": "calm"}
    assert call["phone_number"] == "+919876500001"
    assert call["batch_id"] == batch["batch_id"]
    for unknown in ("exec_0000000000000000000000", "nonsense"):
        with pytest.raises(NotFound, match=r"^Call not found$"):
            await world.read.call(ACME, unknown)


async def test_calls_are_found_by_number_and_by_batch(world: BatchWorld) -> None:
    campaign = await world.campaign()
    one, two = [await world.batch(campaign, across=Across.NONE) for _ in range(2)]
    early = await world.put_call(one, 1)
    late = await world.put_call(two, 1, requested_at=NOW + timedelta(seconds=9))

    async def found(phone_number: str | None, batch_id: str | None) -> list[str]:
        calls = await world.read.calls(ACME, phone_number=phone_number, batch_id=batch_id)
        return [call["execution_id"] for call in calls]

    assert await found(" 919876500001", None) == [late, early], "an unescaped plus is a space"
    assert await found("+91 98765 00001", one["batch_id"]) == [early]
    assert await found(None, two["batch_id"]) == [late]
    with pytest.raises(Invalid, match="give phone_number, batch_id or both"):
        await found(None, None)
    with pytest.raises(Invalid, match="phone_number"):
        await found("nonsense", None)


async def _file(world: BatchWorld, batch: View, **form: Any) -> bytes:
    status = form.pop("status", None)
    wanted = ListFilter(statuses=status and [status])
    pages = await world.read.results(ACME, batch["batch_id"], ResultsForm(**form), wanted)
    return b"".join([page async for page in pages])


async def _results(world: BatchWorld, batch: View, **form: Any) -> list[dict[str, str]]:
    text = (await _file(world, batch, **form)).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_results_have_a_line_for_each_contact_over_page_borders(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apollo.usecases.read_batches.PAGE_ROWS", 4)
    batch = await world.batch(await world.campaign(), some_numbers(9))
    call = await world.put_call(batch, 6, duration_seconds=42, summary="Will pay, on Monday")
    lines = await _results(world, batch, is_raw=True)
    assert [line["phone_number"] for line in lines] == some_numbers(9)
    assert lines[5]["execution_id"] == call
    assert lines[5]["duration_seconds"] == "42"
    assert lines[5]["summary"] == "Will pay, on Monday"
    assert lines[5]["started_at"] == f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    assert lines[0]["execution_id"] == ""
    assert lines[0]["call_variables"] == '{"callee_name":"Person 0"}'


async def test_no_cell_of_the_results_is_a_formula_unless_asked_for(world: BatchWorld) -> None:
    batch = await world.batch(await world.campaign(), some_numbers(1))
    nasty = ["=1+1", "+1+1", "-a", "'=1", "@SUM(A1)", "\tx", "ok\n=HYPERLINK(1)", "＝1"]  # noqa: RUF001 - full width on purpose
    await world.put_call(batch, 1)
    for text in nasty:
        await world.sql("update calls set summary = $1", text)
        harmless = (await _results(world, batch, is_raw=False))[0]
        assert harmless["summary"] == text.replace("\n=", "\n'=") if "\n" in text else f"'{text}"
        assert harmless["phone_number"] == "+919876500001", "a number is no formula"
        assert unarmoured(harmless["summary"]) == text
        raw = (await _results(world, batch, is_raw=True))[0]
        assert raw["summary"] == text
        assert raw["phone_number"] == "+919876500001"
    for number in ("-5", "+12025550143", "-1,5"):
        await world.sql("update calls set summary = $1", number)
        assert (await _results(world, batch, is_raw=False))[0]["summary"] == number


async def test_results_open_in_a_spreadsheet_with_a_column_for_each_variable(
    world: BatchWorld,
) -> None:
    given = [
        GivenContact(0, "+919876500001", {"callee_name": "José", "policy": 7, "status": "gold"}),
        GivenContact(1, "+919876500002", {"policy": "8", "call_variables.x": None}),
    ]
    wanted = NewBatch(campaign_id=await world.campaign())
    batch = await world.create.from_contacts(ACME, wanted, given)
    assert (await _file(world, batch)).startswith(
        b"\xef\xbb\xbfcontact_id,phone_number,callee_name"
    )
    first, second = await _results(world, batch)
    assert (first["callee_name"], first["policy"], first["status"]) == ("José", "7", "pending")
    assert (second["callee_name"], second["policy"]) == ("", "8")
    assert first["call_variables.status"] == "gold", "a variable beside a column of its name"
    columns = ["policy", "phone_number", "call_variables.nobody"]
    chosen = await _results(world, batch, columns=columns)
    assert list(chosen[0]) == columns
    assert chosen[1] == dict(zip(columns, ["8", "+919876500002", ""], strict=True))
    with pytest.raises(Invalid, match="no column 'polcy'; the file has contact_id"):
        await _file(world, batch, columns=["polcy"])


async def test_results_are_filtered_as_contacts_are(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apollo.usecases.read_batches.PAGE_ROWS", 2)
    batch = await world.batch(await world.campaign(), some_numbers(7))
    await world.put_call(batch, 6, outcome="busy")
    lines = await _results(world, batch, status=ContactStatus.BUSY)
    assert [line["phone_number"] for line in lines] == ["+919876500006"]


async def test_a_file_of_results_is_uploaded_as_it_is(world: BatchWorld) -> None:
    variables: list[dict[str, Any]] = [
        {"callee_name": "=Ruth()", "n": 5, "text": "5", "list": [1, "a"], "status": "gold"},
        {"callee_name": "'=x", "note": "a\n-b", "none": None, "plus": "+12025550143"},
        {"callee_name": "Mo"},
    ]
    campaign = await world.campaign()
    numbers = some_numbers(3)
    given = [GivenContact(n, numbers[n], variables[n]) for n in range(3)]
    batch = await world.create.from_contacts(ACME, NewBatch(campaign_id=campaign), given)
    await world.put_call(batch, 1, summary="=SUM(A1)")
    again = await world.upload(campaign, await _file(world, batch), across=Across.NONE)
    shown = await world.read.contacts(ACME, again["batch_id"])
    assert [(c["phone_number"], c["call_variables"]) for c in shown] == list(
        zip(numbers, variables, strict=True)
    )
    edited = (await _file(world, batch)).replace(b",Mo,", b",Moses,")
    corrected = await world.upload(campaign, edited, across=Across.NONE)
    shown = await world.read.contacts(ACME, corrected["batch_id"])
    assert shown[2]["call_variables"] == {"callee_name": "Moses"}
