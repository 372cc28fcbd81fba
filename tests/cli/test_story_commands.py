"""`apollo why` and `apollo history` against a small stand-in for the API."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.cli.conftest import StandIn
from tests.cli.running import Ran, run

Apollo = Callable[..., Ran]
BATCH = "btc_5rBL7SZke20LxgOBlS8ExY"
CONTACT = "con_5rBL7SZke20LxgOBlS8ExY000001"
WHY_PATH = f"/api/v1/batches/{BATCH}/contacts/{CONTACT}/why"
HISTORY_PATH = f"/api/v1/batches/{BATCH}/debug/history"
ATTEMPT: dict[str, Any] = {
    "execution_id": "exec_1",
    "attempt": 1,
    "kind": "first",
    "decided_at": "2026-05-10T09:00:00Z",
    "was_due_at": None,
    "window": {"opens_at": "2026-05-10T08:00:00Z", "closes_at": "2026-05-10T18:00:00Z"},
    "limits": [
        {"name": "batch", "limit": 3, "in_use": 2},
        {"name": "campaign", "limit": 10, "in_use": 7},
    ],
    "from_number": "+14155552671",
    "provider": "jambonz",
    "provider_call_id": "p-1",
    "request": "accepted",
    "heard_at": "2026-05-10T09:00:01Z",
    "ringing_at": None,
    "answered_at": None,
    "ended_at": "2026-05-10T09:00:31Z",
    "looked_at_again_at": None,
    "outcome": "no_answer",
    "sip_status": 487,
    "sip_reason": "Request Terminated",
    "duration_seconds": None,
    "hangup_by": None,
    "hangup_reason": "no_answer",
    "evidence": "webhook",
}
WHY: dict[str, Any] = {
    "contact_id": CONTACT,
    "batch_id": BATCH,
    "campaign_id": "cmp_1",
    "phone_number": "+919876543210",
    "status": "retrying",
    "blocked_by": "no_worker_alive",
    "next_eligible_at": None,
    "reason": {
        "code": "no_worker_alive",
        "layer": "pipeline",
        "severity": "critical",
        "contacts": 3,
        "since": None,
        "until": None,
        "evidence": {"last_worker": None},
        "fix": "No worker is running. Start one: `apollo worker`.",
        "help": "/docs/reasons#no_worker_alive",
    },
    "summary": "Waits because of no_worker_alive; 1 call was made.",
    "attempts": [
        ATTEMPT,
        {**ATTEMPT, "attempt": None, "outcome": None, "window": None, "limits": []},
    ],
    "as_of": "2026-05-10T09:05:00Z",
}
PAUSED: dict[str, Any] = {
    "at": "2026-05-10T09:01:00Z",
    "actor": "crm",
    "action": "pause_batch",
    "scope": "batch",
    "detail": None,
}
CHANGED = {**PAUSED, "at": "2026-05-10T09:30:00Z", "action": "update_campaign"}
CHANGED |= {"scope": "campaign", "detail": {"keys": ["timezone", "working_hours"]}}
HISTORY: dict[str, Any] = {
    "batch_id": BATCH,
    "start": "2026-05-10T09:00:00Z",
    "end": "2026-05-10T10:00:00Z",
    "intervals": [
        {
            "since": "2026-05-10T09:01:02Z",
            "until": None,
            "verdict": "waiting",
            "reason": "batch_paused",
            "preceded_by": [PAUSED],
            "summary": "waiting",
        },
        {
            "since": "2026-05-10T09:01:40Z",
            "until": None,
            "verdict": "blocked",
            "reason": "no_worker_alive",
            "preceded_by": [PAUSED],
            "summary": "blocked",
        },
    ],
    "changes": [PAUSED, CHANGED],
    "is_complete": False,
}


@pytest.fixture
def apollo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Apollo:
    return partial(run, capsys, monkeypatch)


def test_why_tells_what_holds_a_contact_and_each_attempt(api: StandIn, apollo: Apollo) -> None:
    api.answer(WHY_PATH, (200, WHY))
    ran = apollo("why", BATCH, CONTACT)
    assert ran.code == 0, ran.err
    said = " ".join(ran.out.split())
    assert "Waits because of no_worker_alive; 1 call was made." in said
    assert "Start one: `apollo worker`." in said
    assert "calling hours 2026-05-10T08:00:00Z to 2026-05-10T18:00:00Z" in said
    assert said.count("calls open before it: 2 of 3 in the batch, 7 of 10 in the campaign") == 1
    assert "outcome no_answer, SIP 487 Request Terminated, known from webhook" in said
    assert "not an attempt" in said
    assert "None" not in said


def test_history_has_a_line_for_each_change_and_what_was_done(api: StandIn, apollo: Apollo) -> None:
    api.answer(HISTORY_PATH, (200, HISTORY))
    ran = apollo("history", BATCH, "--start", "2026-05-10T09:00:00Z", "--end", "2026-05-10T10:00Z")
    assert ran.code == 0, ran.err
    said = " ".join(ran.out.split())
    assert "2026-05-10T09:01:02Z waiting batch_paused" in said
    assert "after 2026-05-10T09:01:00Z pause_batch (batch) by crm" in said
    assert "update_campaign (campaign) by crm: keys timezone and working_hours" in said
    assert "after 2026-05-10T09:30:00Z" not in said
    assert said.count("pause_batch") == 1
    assert "There is more" in said
    assert api.requests[0][2] == {"start": "2026-05-10T09:00:00Z", "end": "2026-05-10T10:00Z"}


@pytest.mark.parametrize(
    ("words", "path", "answer"),
    [(("why", BATCH, CONTACT), WHY_PATH, WHY), (("history", BATCH), HISTORY_PATH, HISTORY)],
)
def test_json_prints_a_story_as_the_api_answered(
    api: StandIn, apollo: Apollo, words: tuple[str, ...], path: str, answer: dict[str, Any]
) -> None:
    api.answer(path, (200, answer))
    assert json.loads(apollo(*words, "--json").out) == answer


def test_a_story_of_nobody_is_refused(api: StandIn, apollo: Apollo) -> None:
    api.answer(WHY_PATH, (404, {"detail": "Contact not found"}))
    ran = apollo("why", BATCH, CONTACT)
    assert (ran.code, ran.out) == (1, "")
    assert "Contact not found" in ran.err
