"""`apollo batch` and `apollo debug` against a small stand-in for the API."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import BROKEN, TOKEN, StandIn
from tests.cli.running import Ran, run
from tests.cli.shapes import batch, debug

from apollo.cli import batches
from apollo.web.batch_shapes import UploadQuery

Apollo = Callable[..., Ran]
BATCH = "btc_5rBL7SZke20LxgOBlS8ExY"
PATH = f"/api/v1/batches/{BATCH}"
ROWS = [{"index": 3, "phone_number": "n/a", "reason": "phone_number: not a number"}]


@pytest.fixture
def apollo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Apollo:
    return partial(run, capsys, monkeypatch)


@pytest.fixture
def contacts(tmp_path: Path) -> Path:
    file = tmp_path / "contacts.csv"
    file.write_text("phone_number,callee_name\n+14155550123,Ada\n" + "x" * 600_000)
    return file


def test_an_upload_streams_the_file_and_lists_the_rows_left_out(
    api: StandIn, apollo: Apollo, contacts: Path
) -> None:
    api.answer("/api/v1/batches/csv", (201, batch(rejected=ROWS, rejected_count=1)))
    ran = apollo("batch", "create", "--campaign", "cmp_1", str(contacts), "--concurrency", "5")
    assert ran.code == 0, ran.err
    assert "1,000 contacts" in ran.out
    assert "n/a" in ran.out
    method, _, query, headers, body = api.requests[0]
    assert (method, body) == ("POST", contacts.read_bytes())
    assert query == {
        "campaign_id": "cmp_1",
        "on_invalid": "skip",
        "on_duplicate": "skip",
        "concurrency_limit": "5",
    }
    assert headers["Content-Type"] == "text/csv"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert len(headers["Idempotency-Key"]) == 36


def test_every_key_of_an_upload_is_an_option(api: StandIn, apollo: Apollo, contacts: Path) -> None:
    api.answer("/api/v1/batches/csv", (201, batch()))
    given = {
        "--across": "none",
        "--within": "P30D",
        "--on-barred": "keep",
        "--on-mostly-invalid": "accept",
        "--phone-column": "Tel",
        "--map": "callee_name=Name",
        "--sheet": "One",
        "--start": "2026-07-01T09:00:00",
        "--end": "2026-07-02T09:00:00",
        "--concurrency": "5",
        "--max-retries": "1",
        "--default-region": "IN",
        "--context": '{"a": 1}',
        "--metadata": '{"b": 2}',
    }
    options = [word for pair in given.items() for word in pair]
    ran = apollo("batch", "create", "--campaign", "cmp_1", str(contacts), *options)
    assert ran.code == 0, ran.err
    query = api.requests[0][2]
    # The token says whose the batch is.
    assert set(query) == set(UploadQuery.model_fields) - {"organization_id", "dry_run"}
    assert (query["across"], query["within"], query["on_barred"]) == ("none", "P30D", "keep")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["batch", "rerun", BATCH], f"{PATH}/rerun"),
        (["call", "test", "+14155550123", "--campaign", "cmp_1"], "/api/v1/calls"),
    ],
)
def test_any_other_key_is_given_by_its_name(
    api: StandIn, apollo: Apollo, words: list[str], path: str
) -> None:
    made = batch() | {"contact_id": "con_1", "batch_status": "pending"}
    api.answer(path, (201, made), (201, made))
    ran = apollo(*words, "--set", 'metadata={"b": 2}', "--set", 'on_barred="keep"')
    assert ran.code == 0, ran.err
    sent = json.loads(api.requests[0][4])
    assert (sent["metadata"], sent["on_barred"]) == ({"b": 2}, "keep")
    ran = apollo(*words, "--set", "on_barred=keep")
    assert (ran.code, len(api.requests)) == (1, 1)
    assert "keep is not JSON" in ran.err


def test_json_prints_what_the_api_answered(api: StandIn, apollo: Apollo, contacts: Path) -> None:
    api.answer("/api/v1/batches/csv", (201, batch()))
    ran = apollo("batch", "create", "--campaign", "cmp_1", str(contacts), "--json")
    assert json.loads(ran.out) == batch()


def test_a_broken_upload_says_how_to_repeat_it_without_calling_anybody_twice(
    api: StandIn, apollo: Apollo, contacts: Path
) -> None:
    api.breaks_uploads = True
    ran = apollo("batch", "create", "--campaign", "c", str(contacts), "--idempotency-key", "k1")
    assert ran.code == 1
    assert "repeat the command with --idempotency-key k1" in ran.err


def test_a_refused_file_names_each_bad_row(api: StandIn, apollo: Apollo, contacts: Path) -> None:
    fault = {"loc": ["body", "rows", 3, "phone_number"], "msg": "the number is empty", "type": "x"}
    api.answer("/api/v1/batches/csv", (422, {"detail": [fault] * 12}))
    ran = apollo("batch", "create", "--campaign", "c", str(contacts), "--on-invalid", "reject")
    assert ran.code == 1
    assert "rows.3.phone_number: the number is empty" in ran.err
    assert "… and 2 more" in ran.err


def test_a_file_that_is_not_there_is_wrong_usage(apollo: Apollo) -> None:
    ran = apollo("batch", "create", "--campaign", "cmp_1", "nowhere.csv")
    assert ran.code == 2
    assert "nowhere.csv" in ran.err


def test_debug_shows_the_reasons_and_passes_verify_on(api: StandIn, apollo: Apollo) -> None:
    api.answer(f"{PATH}/debug", (200, debug()))
    ran = apollo("debug", BATCH, "--verify")
    assert ran.code == 0, ran.err
    assert "no_worker_alive" in ran.out
    assert api.requests[0][2] == {"verify": "true"}


def test_debug_as_json_is_the_answer_itself(api: StandIn, apollo: Apollo) -> None:
    api.answer(f"{PATH}/debug", (200, debug()))
    assert json.loads(apollo("debug", BATCH, "--json").out) == debug()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_WATCH_EVERY_S", 0.01)
    monkeypatch.setattr(batches, "_LINE_EVERY_S", 0.0)


@pytest.mark.usefixtures("quick")
def test_watch_without_a_terminal_prints_lines_until_the_batch_is_over(
    api: StandIn, apollo: Apollo
) -> None:
    api.answer(PATH, (200, batch()), (200, batch()), (200, batch("completed")))
    api.answer(f"{PATH}/debug", (200, debug()))
    ran = apollo("batch", "watch", BATCH)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("2026-05-10T09:05:00Z in_progress: 480 of 1000")
    # What to do is said once; the reason is named as long as it lasts.
    assert "blocked  no_worker_alive: No worker is running. Start one" in lines[0]
    assert lines[1].endswith("blocked  no_worker_alive")
    assert "completed:" in lines[2]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("away", [BROKEN, 503])
def test_a_watch_outlives_an_api_that_is_away_for_a_moment(
    api: StandIn, apollo: Apollo, away: int
) -> None:
    gone = [(away, {"detail": "the database does not answer"})] * 2
    api.answer(PATH, (200, batch()), *gone, (200, batch("completed")))
    api.answer(f"{PATH}/debug", (200, debug()))
    ran = apollo("batch", "watch", BATCH)
    assert ran.code == 0, ran.err
    assert "still trying" in ran.err
    assert "completed:" in ran.out


@pytest.mark.usefixtures("quick")
def test_watch_as_json_prints_one_object_for_each_look(api: StandIn, apollo: Apollo) -> None:
    api.answer(PATH, (200, batch()), (200, batch("expired")))
    api.answer(f"{PATH}/debug", (200, debug()))
    ran = apollo("batch", "watch", BATCH, "--json")
    looks: list[dict[str, Any]] = [json.loads(line) for line in ran.out.splitlines()]
    assert [look["batch"]["status"] for look in looks] == ["in_progress", "expired"]


@pytest.mark.usefixtures("quick")
def test_debug_watch_ends_with_the_batch(api: StandIn, apollo: Apollo) -> None:
    api.answer(f"{PATH}/debug", (200, debug()), (200, debug("completed")))
    ran = apollo("debug", BATCH, "--watch", "--json")
    assert [json.loads(line)["status"] for line in ran.out.splitlines()] == [
        "in_progress",
        "completed",
    ]


def test_without_an_apollo_the_command_says_how_to_start_one(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOLLO_URL", "http://127.0.0.1:9")  # nobody may listen there: discard
    monkeypatch.setenv("APOLLO_TOKEN", TOKEN)
    ran = apollo("debug", BATCH)
    assert ran.code == 1
    assert ran.err.strip() == (
        "apollo: no Apollo answers at http://127.0.0.1:9: start it with `apollo up` or set"
        " APOLLO_URL"
    )


def test_without_a_token_the_command_says_how_to_make_one(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APOLLO_TOKEN", raising=False)
    ran = apollo("debug", BATCH)
    assert ran.code == 1
    assert "apollo token create" in ran.err


def test_a_token_that_is_refused_is_not_repeated_in_the_error(api: StandIn, apollo: Apollo) -> None:
    api.answer(f"{PATH}/debug", (401, {"detail": "the token is unknown or was revoked"}))
    ran = apollo("debug", BATCH)
    assert ran.code == 1
    assert "set APOLLO_TOKEN" in ran.err
    assert TOKEN not in ran.err


def test_an_unknown_batch_is_the_apis_own_sentence(api: StandIn, apollo: Apollo) -> None:
    api.answer(f"{PATH}/debug", (404, {"detail": "Batch not found"}))
    assert apollo("debug", BATCH).err.strip() == "apollo: Batch not found"


def test_every_wrong_setting_is_named(apollo: Apollo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APOLLO_PORT", "http")
    monkeypatch.setenv("APOLLO_POTR", "8000")
    ran = apollo("debug", BATCH)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 2
    assert "did you mean APOLLO_PORT?" in ran.err


def test_a_dry_run_says_how_the_file_is_read_and_what_would_be_left_out(
    api: StandIn, apollo: Apollo, contacts: Path
) -> None:
    trial = {
        "dry_run": True,
        "campaign_id": "cmp_1",
        "would_be_refused": "2 of 3 rows are bad",
        "total_contacts": 1,
        "rejected": ROWS,
        "rejected_count": 2,
        "read_as": {
            "format": "csv",
            "encoding": "Windows-1252",
            "separator": "semicolons",
            "number_column": "Handy",
            "country_columns": ["Land"],
            "variables": {"callee_name": "Vorname", "note": "note"},
        },
    }
    api.answer("/api/v1/batches/csv", (200, trial))
    mapped = ("--map", "callee_name=Vorname", "--map", "phone_number=Handy")
    ran = apollo("batch", "create", "--campaign", "c", str(contacts), "--dry-run", *mapped)
    assert ran.code == 0, ran.err
    for said in (
        "Nothing was created. It would be 1 contact.",
        "Read as csv, Windows-1252, separated by semicolons.",
        "The number is in column 'Handy'.",
        "Call variable: callee_name (column 'Vorname')",
        "It would be refused: 2 of 3 rows are bad",
        "n/a",
    ):
        assert said in ran.out
    assert api.requests[0][2]["dry_run"] == "true"
    assert "Watch it" not in ran.out


def test_rows_left_out_are_saved_when_asked(
    api: StandIn, apollo: Apollo, contacts: Path, tmp_path: Path
) -> None:
    api.answer("/api/v1/batches/csv", (201, batch(rejected=ROWS, rejected_count=1)))
    api.answer(f"{PATH}/rejected.csv", (200, "the file"))
    to = tmp_path / "bad.csv"
    ran = apollo(
        *("batch", "create", "--campaign", "c", str(contacts), "--save-rejected", str(to)),
        *("--phone-column", "Primary", "--sheet", "One", "--on-mostly-invalid", "accept"),
    )
    assert ran.code == 0, ran.err
    assert to.read_text() == '"the file"'
    query = api.requests[0][2]
    assert (query["phone_column"], query["sheet"]) == ("Primary", "One")
    assert query["on_mostly_invalid"] == "accept"
