"""What an operator does about calls of which nobody knows, and what the auditor says about it."""

import json
from pathlib import Path

import asyncpg
from tests.e2e.machine import until
from tests.e2e.provider import Quirks
from tests.e2e.runs import Run, under_fire


async def execute(run: Run, *statements: str) -> None:
    """Change the database behind Apollo's back."""
    connection = await asyncpg.connect(run.database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def until_unknown(run: Run, calls: int) -> None:
    """Wait until so many calls are of unknown fate."""

    async def are_unknown() -> bool:
        return await run.count_calls("state = 'unknown'") == calls

    await until(are_unknown, "calls of unknown fate", within_s=30)


async def test_a_held_contact_is_listed_released_and_called_once_more(
    database_url: str, tmp_path: Path
) -> None:
    quirks = Quirks(lost_then_500=1.0)
    async with under_fire(
        2, seed=1, logs=tmp_path, database_url=database_url, quirks=quirks
    ) as run:
        run.start("serve")
        run.start("worker")
        await run.until_ready()
        await run.create()
        await until_unknown(run, 2)
        said = (await run.apollo.command("calls", "unresolved"))[1]
        assert "still being asked about 2 calls" in said
        # The quarantine is at least two minutes; what the clock would do is done to the rows.
        await execute(
            run,
            "update calls set requested_at = requested_at - interval '15 minutes',"
            " deadline_at = clock_timestamp() where state = 'unknown'",
        )
        await run.until_completed()
        held = json.loads((await run.apollo.command("calls", "unresolved", "--json"))[1])
        assert {one["batch_id"] for one in held} == {run.batch["batch_id"]}
        assert len(held) == 2
        path = f"/batches/{run.batch['batch_id']}/contacts/{held[0]['contact_id']}/why"
        (attempt,) = (await run.apollo.get(path))["attempts"]
        assert attempt["request"] == "no usable answer: nobody knew whether there is a call"
        shown = (await run.apollo.command("calls", "unresolved"))[1]
        assert held[0]["execution_id"] in "".join(shown.split())
        assert not [number for number in run.people if number in shown]
        assert (await run.apollo.command("calls", "unresolved", "--org", "other", "--json"))[
            1
        ] == "[]\n"

        quirks.lost_then_500 = 0.0
        which = held[0]["execution_id"]
        code, said = await run.apollo.command("calls", "release", which, "--reason", "not in CDRs")
        assert (code, "is called again" in said, "goes on for it" in said) == (0, True, True)
        await run.until_completed()
        contacts = await run.apollo.get(
            f"/batches/{run.batch['batch_id']}/contacts?include_calls=true"
        )
        by_id = {one["contact_id"]: one for one in contacts}
        again, other = by_id[held[0]["contact_id"]], by_id[held[1]["contact_id"]]
        assert len(again["call_records"]) > 1
        assert again["status"] == run.people[again["phone_number"]].status
        assert (other["status"], len(other["call_records"])) == ("failed", 1)
        await check_refusals(run, which)
        await check_record(run, which)
        await check_doctored_database(run)


async def check_refusals(run: Run, released: str) -> None:
    """Nothing but a held contact is released, and each refusal says why."""
    for which, reason, words in (
        (released, "again", "called again since"),
        ("exec_0000000000000000000000", "x", "There is no call"),
        ("nonsense", "x", "There is no call nonsense"),
        (released, "  ", "Invalid value for --reason"),
    ):
        code, said = await run.apollo.command("calls", "release", which, "--reason", reason)
        assert code == (1 if reason.strip() else 2)
        assert words in " ".join(said.split())


async def check_record(run: Run, released: str) -> None:
    connection = await asyncpg.connect(run.database_url)
    try:
        rows = await connection.fetch(
            "select actor, detail::text from actions where action = 'contact_released'"
        )
    finally:
        await connection.close()
    ((actor, detail),) = rows
    assert actor.startswith("command line")
    assert json.loads(detail)["execution_id"] == released
    assert json.loads(detail)["reason"] == "not in CDRs"


async def check_doctored_database(run: Run) -> None:
    """The auditor can fail: on a lost contact, on wrong counters, on an outcome, on a row gone."""
    await run.audit()
    ledger = str(run.apollo.logs / "ledger.jsonl")
    await execute(
        run,
        "update contacts set status = 'retrying' where position = 2",
        "update batch_counters set contacts = contacts + 3 where status = 'retrying'",
        "update calls set outcome = 'failed', provider_call_id = null"
        " where outcome in ('completed', 'busy', 'no_answer')",
    )
    code, said = await run.apollo.command("audit", ledger, "--json")
    assert code == 1
    violations = {one["invariant"]: one["violations"] for one in json.loads(said)["findings"]}
    found = {name for name, several in violations.items() if several}
    assert {"I9", "I10", "I11"} <= found <= {"I7", "I9", "I10", "I11"}
    code, said = await run.apollo.command("audit", ledger)
    assert code == 1
    assert "FAULT I9" in said
    code, said = await run.apollo.command("audit", ledger + ".not")
    assert (code, "name a ledger" in said) == (1, True)
