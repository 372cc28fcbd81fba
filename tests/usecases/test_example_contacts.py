"""The example file is as messy as it says, and yet nearly all of it can be called."""

import random
import runpy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.usecases.batch_world import BatchWorld

from apollo.usecases.check_contacts import OnInvalid

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[BatchWorld]:
    built = await BatchWorld.build(database_url)
    yield built
    await built.db.close()


async def test_the_example_file_makes_a_batch(world: BatchWorld) -> None:
    content = (EXAMPLES / "contacts.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "spreadsheets write a byte-order mark"
    campaign = await world.campaign(phone_numbers=["+12025550100"], allowed_countries=["US", "GB"])
    batch = await world.upload(campaign, content, on_invalid=OnInvalid.SKIP)
    assert batch["total_contacts"] + batch["rejected_count"] == 1000
    reasons = [row["reason"] for row in batch["rejected"]]
    duplicates = [reason for reason in reasons if "same number" in reason]
    assert 10 <= len(duplicates) <= 40
    assert 3 <= len(reasons) - len(duplicates) <= 15
    numbers = await world.phone_numbers(batch)
    assert sum(number.startswith("+1") for number in numbers) > 750
    assert any(not number.startswith("+1") for number in numbers)


def test_the_script_writes_the_same_rows_again() -> None:
    script = runpy.run_path(str(EXAMPLES / "make_contacts.py"))
    made = script["rows"](random.Random(script["SEED"]))
    written = (EXAMPLES / "contacts.csv").read_text(encoding="utf-8-sig")
    assert len(made) == 1000
    assert all(row[3] in written for row in made)
    assert made == script["rows"](random.Random(script["SEED"]))
