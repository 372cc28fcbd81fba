"""Creating batches: what becomes a contact, what is refused, and in which status it all begins."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.usecases.batch_world import ACME, NOW, OTHER, BatchWorld, some_numbers

from apollo.core.list_rows import GivenContact
from apollo.errors import Conflict, Invalid, NotAllowedNow, NotFound, TooLarge
from apollo.storage.database import Connection
from apollo.usecases import check_contacts
from apollo.usecases.check_contacts import OnDuplicate, OnInvalid, OnMostlyInvalid
from apollo.usecases.wanted_batches import NewBatch


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


async def test_a_batch_is_there_with_its_contacts_in_order_and_the_dialler_is_woken(
    world: BatchWorld,
) -> None:
    campaign = await world.campaign()
    batch = await world.batch(campaign, some_numbers(5))
    assert batch["status"] == "in_progress"
    assert batch["total_contacts"] == sum(batch["counters"].values()) == 5
    assert batch["counters"]["pending"] == 5
    assert batch["concurrency_limit"] == 10, "a batch without its own limit has the campaign's"
    assert await world.phone_numbers(batch) == some_numbers(5)
    assert world.bus.told() == [(campaign, "batch_created", batch["batch_id"])]
    cursor = await world.sql("select next_position from batch_cursors")
    assert [r["next_position"] for r in cursor] == [1]
    action = await world.sql("select actor, action, detail from actions")
    assert [tuple(r) for r in action] == [
        ("tests", "batch_created", {"contacts": 5, "rejected": 0})
    ]


async def test_many_frames_are_copied_without_a_hole(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_contacts, "_FRAME_ROWS", 7)
    monkeypatch.setattr(check_contacts, "_SPOOL_BYTES", 100)
    batch = await world.batch(await world.campaign(), some_numbers(100))
    rows = await world.sql("select position, phone_number from contacts order by position")
    assert [r["position"] for r in rows] == list(range(1, 101))
    assert [r["phone_number"] for r in rows] == some_numbers(100)
    assert batch["counters"]["pending"] == 100


@pytest.mark.parametrize("principal", [OTHER, ACME])
async def test_an_unknown_campaign_and_a_foreign_one_look_the_same(
    world: BatchWorld, principal: Any
) -> None:
    foreign = await world.campaign(principal=ACME)
    wanted = foreign if principal is OTHER else "cmp_0000000000000000000000"
    with pytest.raises(NotFound, match=r"^Campaign not found$"):
        await world.create.from_contacts(principal, NewBatch(campaign_id=wanted), [])


async def test_a_cancelled_campaign_takes_no_batch(world: BatchWorld) -> None:
    campaign = await world.campaign(cancelled_at=NOW)
    with pytest.raises(NotAllowedNow, match="cancelled"):
        await world.batch(campaign)


async def test_an_agent_that_cannot_be_reached_is_refused_with_the_command_that_helps(
    world: BatchWorld,
) -> None:
    with pytest.raises(Invalid, match="apollo agent set agent_9"):
        await world.batch(await world.campaign(agent_id="agent_9"))


async def test_a_batch_of_a_paused_campaign_is_paused_with_it(world: BatchWorld) -> None:
    batch = await world.batch(await world.campaign(paused_at=NOW))
    assert (batch["status"], batch["paused_by"]) == ("paused", "campaign")


async def test_a_campaign_that_ended_while_paused_begins_anew(world: BatchWorld) -> None:
    campaign = await world.campaign(paused_at=NOW)
    await world.batch(campaign)
    await world.sql(
        "update batches set status = 'completed', paused_by = null, completed_at = $1", NOW
    )
    batch = await world.batch(campaign)
    assert (batch["status"], batch["paused_by"]) == ("in_progress", None)
    assert [r["paused_at"] for r in await world.sql("select paused_at from campaigns")] == [None]


@pytest.mark.parametrize(
    ("given", "stored", "status"),
    [
        ("2126-05-10T16:00:00", "2126-05-10T10:30:00+00:00", "pending"),
        ("2126-05-10T16:00:00Z", "2126-05-10T16:00:00+00:00", "pending"),
        ("2126-05-10T13:00:00+02:00", "2126-05-10T11:00:00+00:00", "pending"),
        ("2026-05-10T09:00:00", "2026-05-10T03:30:00+00:00", "in_progress"),
    ],
)
async def test_a_start_is_read_in_the_campaigns_zone_and_a_past_one_is_now(
    world: BatchWorld, given: str, stored: str, status: str
) -> None:
    batch = await world.batch(await world.campaign(), scheduled_start=given)
    assert batch["scheduled_start"].isoformat() == stored
    assert batch["status"] == status
    (row,) = await world.sql("select ready_at, created_at from batches")
    assert row["ready_at"] >= max(batch["scheduled_start"], row["created_at"])
    assert row["ready_at"] - max(batch["scheduled_start"], row["created_at"]) < timedelta(minutes=1)


@pytest.mark.parametrize("ends_at", ["2126-05-10T09:00:00Z", "2126-05-10T10:00:00Z"])
async def test_a_batch_cannot_end_before_it_starts(world: BatchWorld, ends_at: str) -> None:
    with pytest.raises(Invalid, match="ends_at"):
        await world.batch(
            await world.campaign(), scheduled_start="2126-05-10T10:00:00Z", ends_at=ends_at
        )


async def test_every_bad_row_is_named_up_to_a_hundred_and_nothing_is_created(
    world: BatchWorld,
) -> None:
    numbers = [n if at % 2 else "12" for at, n in enumerate(some_numbers(300))]
    with pytest.raises(Invalid) as refused:
        await world.batch(await world.campaign(), numbers)
    named = [error.loc for error in refused.value.errors]
    assert named == [("body", "contacts", n, "phone_number") for n in range(0, 200, 2)]
    assert await world.sql("select from batches") == []
    assert await world.sql("select from contacts") == []


async def test_skipped_rows_are_listed_and_not_counted(world: BatchWorld) -> None:
    numbers = ["+919876500001", "nonsense\0", "098765 00001", "+91 98765-00002", "919876500001"]
    batch = await world.batch(await world.campaign(), numbers, on_invalid=OnInvalid.SKIP)
    assert await world.phone_numbers(batch) == ["+919876500001", "+919876500002"]
    assert batch["total_contacts"] == 2
    assert batch["rejected_count"] == 3
    assert [row["index"] for row in batch["rejected"]] == [1, 2, 4]
    assert "same number" in batch["rejected"][2]["reason"]


async def test_duplicates_are_kept_when_asked(world: BatchWorld) -> None:
    numbers = ["+919876500001", "+91 98765 00001"]
    batch = await world.batch(await world.campaign(), numbers, on_duplicate=OnDuplicate.KEEP)
    assert await world.phone_numbers(batch) == ["+919876500001"] * 2
    assert batch["rejected_count"] == 0


async def test_a_region_makes_national_numbers_readable(world: BatchWorld) -> None:
    batch = await world.batch(await world.campaign(), ["098765 00001"], default_region="in")
    assert await world.phone_numbers(batch) == ["+919876500001"]


async def test_a_batch_with_no_row_left_is_refused(world: BatchWorld) -> None:
    with pytest.raises(Invalid, match=r"all rows were left out .2., the first"):
        await world.batch(await world.campaign(), ["1", "2"], on_invalid=OnInvalid.SKIP)


async def test_only_a_thousand_rejected_rows_are_kept_but_all_are_counted(
    world: BatchWorld,
) -> None:
    numbers = ["+919876500001", *["12"] * 1200]
    batch = await world.batch(
        await world.campaign(),
        numbers,
        on_invalid=OnInvalid.SKIP,
        on_mostly_invalid=OnMostlyInvalid.ACCEPT,
    )
    assert len(batch["rejected"]) == 1000
    assert batch["rejected_count"] == 1200


async def test_too_many_rows_are_refused_before_anything_is_dialled(
    world: BatchWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_contacts, "ROWS_MAX", 20)
    lines = "\n".join(["phone_number", *some_numbers(21)])
    with pytest.raises(TooLarge, match="more than 20 rows"):
        await world.upload(await world.campaign(), lines)
    assert await world.sql("select from batches") == []
    assert world.bus.woken == []


async def test_an_answer_that_cannot_be_remembered_takes_the_batch_with_it(
    world: BatchWorld,
) -> None:
    campaign = await world.campaign()

    async def lost(_connection: Connection, _answer: Any) -> None:
        raise Conflict("somebody else has the key")

    with pytest.raises(Conflict):
        await world.create.from_contacts(
            ACME,
            NewBatch(campaign_id=campaign),
            [GivenContact(0, "+919876500001", {})],
            on_created=lost,
        )
    assert await world.sql("select from batches") == []


async def test_a_file_becomes_contacts_with_variables(world: BatchWorld) -> None:
    text = (
        "\ufeffcallee_name,mobile_number,notes\r\n"
        '"Rao, Asha",+91 98765 00001,"said ""yes"""\r\n\r\n,,\r\n'
        "Zoë Müller,98765-00002\r\n"
    )
    batch = await world.upload(await world.campaign(), text, default_region="IN")
    shown = await world.read.contacts(ACME, batch["batch_id"])
    assert [(c["phone_number"], c["call_variables"]) for c in shown] == [
        ("+919876500001", {"callee_name": "Rao, Asha", "notes": 'said "yes"'}),
        ("+919876500002", {"callee_name": "Zoë Müller", "notes": ""}),
    ]


async def test_bad_rows_of_a_file_carry_the_numbers_a_spreadsheet_shows(
    world: BatchWorld,
) -> None:
    text = "phone_number,name\n+919876500001,a\n\n12,b\n+919876500002,c,d\n+919876500003,\0\n"
    with pytest.raises(Invalid) as refused:
        await world.upload(await world.campaign(), text)
    assert [error.loc for error in refused.value.errors] == [
        ("body", "rows", 4, "phone_number"),
        ("body", "rows", 5, "cells"),
        ("body", "rows", 6, "call_variables"),
    ]


async def test_a_row_of_over_64_kib_is_a_bad_row(world: BatchWorld) -> None:
    text = f"phone,notes\n+919876500001,{'x' * 70_000}\n+919876500002,y\n"
    batch = await world.upload(await world.campaign(), text, on_invalid=OnInvalid.SKIP)
    assert await world.phone_numbers(batch) == ["+919876500002"]
    assert "at most 65536" in batch["rejected"][0]["reason"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"phone_number\n", "at least one contact"),
        (b"name,who\nA,+919876500001\n", "among: name, who; name it phone_number, or say"),
        (b"phone,phone\n", "two columns are named 'phone'"),
        (b"phone,,x\n+919876500001,A,B\n", "column 2 has no name, and row 2 has a cell"),
        (b"phone,name\n+919876500001,\xc3\xa9\n+919876500002,\xe9\n", "row 3 is not UTF-8"),
        (b"phone,name\n+919876500001,A\n+919876500002,\x81\n", "row 3 is neither UTF-8"),
        (b'phone,name\n+919876500001,"A\n+919876500002,B\n', "row 2 opens a quote"),
    ],
)
async def test_a_file_that_cannot_be_trusted_is_refused_whole(
    world: BatchWorld, content: bytes, says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        await world.upload(await world.campaign(), content, on_invalid=OnInvalid.SKIP)
    assert await world.sql("select from batches") == []


async def test_an_upload_that_breaks_off_leaves_nothing(world: BatchWorld) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"phone\n+919876500001\n"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await world.create.from_csv(ACME, NewBatch(campaign_id=await world.campaign()), pieces())
    assert await world.sql("select from batches") == []


async def test_a_pause_while_the_file_comes_in_is_seen(world: BatchWorld) -> None:
    campaign = await world.campaign()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"phone\n+919876500001\n"
        await world.sql("update campaigns set paused_at = $1", NOW + timedelta(seconds=1))

    batch = await world.create.from_csv(ACME, NewBatch(campaign_id=campaign), pieces())
    assert batch["status"] == "paused"
