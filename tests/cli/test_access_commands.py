"""`apollo token`, `agent`, `stop-all` and `resume-all` on a database of their own."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.cli.running import Ran, run

Apollo = Callable[..., Ran]


@pytest.fixture
def apollo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str
) -> Apollo:
    monkeypatch.setenv("APOLLO_DATABASE_URL", database_url)
    return partial(run, capsys, monkeypatch)


def test_a_token_is_printed_once_and_never_listed(apollo: Apollo) -> None:
    made = apollo("token", "create", "--org", "acme", "--name", "crm")
    token = made.out.strip()
    assert made.code == 0, made.err
    assert token.startswith("gat_")
    assert token not in made.err
    listed = apollo("token", "list")
    assert "org_acme" in listed.out
    assert "crm" in listed.out
    assert token not in listed.out


def test_tokens_are_listed_and_revoked_by_number(apollo: Apollo) -> None:
    made = json.loads(apollo("token", "create", "--org", "acme", "--json").out)
    revoked = apollo("token", "revoke", str(made["number"]))
    assert revoked.code == 0, revoked.err
    (row,) = json.loads(apollo("token", "list", "--org", "acme", "--json").out)
    assert row["number"] == made["number"]
    assert row["revoked_at"] is not None


def test_revoking_what_is_not_there_fails_with_a_sentence(apollo: Apollo) -> None:
    ran = apollo("token", "revoke", "4711")
    assert ran.code == 1
    assert ran.err.startswith("apollo: Token not found")


def test_a_bad_organisation_name_is_refused(apollo: Apollo) -> None:
    ran = apollo("token", "create", "--org", "a b")
    assert ran.code == 1
    assert "org" in ran.err


def test_an_agent_with_a_call_hook_gets_the_speech_settings(apollo: Apollo) -> None:
    ran = apollo("agent", "set", "agent_sales", "--call-hook", "https://bot.example.com/call")
    assert ran.code == 0, ran.err
    (row,) = json.loads(apollo("agent", "list", "--json").out)
    assert row["call_hook"] == "https://bot.example.com/call"
    assert row["speech_synthesis"] == "google,en-US,en-US-Standard-C"
    assert row["speech_recognizer"] == "google,en-US"
    assert "agent_sales" in apollo("agent", "list").out


def test_an_agent_with_an_application_needs_no_speech_settings(apollo: Apollo) -> None:
    sid = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
    assert apollo("agent", "set", "agent_a", "--application-sid", sid).code == 0
    (row,) = json.loads(apollo("agent", "list", "--json").out)
    assert (row["application_sid"], row["speech_synthesis"]) == (sid, None)


def test_an_agent_needs_exactly_one_way(apollo: Apollo) -> None:
    ran = apollo("agent", "set", "agent_sales")
    assert ran.code == 2
    assert "--application-sid" in ran.err


def test_dialling_is_stopped_and_resumed_for_everybody_and_for_one(apollo: Apollo) -> None:
    assert apollo("token", "create", "--org", "acme").code == 0
    stopped = apollo("stop-all")
    assert "for anybody" in stopped.out
    assert "apollo resume-all" in stopped.out
    assert apollo("resume-all").code == 0
    only = json.loads(apollo("stop-all", "--org", "acme", "--json").out)
    assert only == {"organization_id": "org_acme", "calls_in_progress": 0}
    resumed = json.loads(apollo("resume-all", "--org", "acme", "--json").out)
    assert resumed == {"organization_id": "org_acme", "campaign_ids": []}


def test_stopping_an_unknown_organisation_stops_nothing(apollo: Apollo) -> None:
    ran = apollo("stop-all", "--org", "nobody")
    assert ran.code == 1
    assert "org_nobody not found" in ran.err


def test_migrate_names_the_version(apollo: Apollo) -> None:
    ran = apollo("migrate")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("The schema is at version ")


def test_a_database_that_is_away_is_a_sentence(
    apollo: Apollo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOLLO_DATABASE_URL", "postgresql://apollo@127.0.0.1:9/apollo")
    ran = apollo("token", "list")
    assert ran.code == 1
    assert ran.err.startswith("apollo: the database is not available")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("stop-all",),
        ("resume-all",),
        ("calls", "unresolved"),
        ("calls", "release", "exec_1", "--reason", "looked it up"),
        ("token", "list"),
        ("token", "revoke", "1"),
        ("audit",),
    ],
)
def test_who_means_an_apollo_that_is_not_there_is_told_so_and_none_is_made(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
) -> None:
    monkeypatch.delenv("APOLLO_DATABASE_URL", raising=False)
    monkeypatch.setenv("APOLLO_DATA_DIR", str(tmp_path / "elsewhere"))
    ran = run(capsys, monkeypatch, *words)
    assert ran.code != 0
    assert ran.out == ""
    assert "APOLLO_DATA_DIR: no Apollo has run with" in ran.err
    assert not (tmp_path / "elsewhere").exists()


def test_an_audit_of_a_provider_that_is_away_says_what_to_correct(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("APOLLO_DATABASE_URL", database_url)
    monkeypatch.setenv("APOLLO_JAMBONZ_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("APOLLO_JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af")
    monkeypatch.setenv("APOLLO_JAMBONZ_API_KEY", "sesame-key")
    monkeypatch.setenv("APOLLO_JAMBONZ_WEBHOOK_SECRET", "sesame-secret")
    ran = run(capsys, monkeypatch, "audit")
    assert (ran.code, ran.out) == (1, "")
    assert "the provider at http://127.0.0.1:9/v1 cannot be asked" in ran.err
    assert "correct the host and port of APOLLO_JAMBONZ_URL" in ran.err
    assert "sesame" not in ran.err
