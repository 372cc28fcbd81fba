"""What an agent says of a call: who picked up, signed by whom, and what repetitions lead to."""

import hmac
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.requests import Request
from tests.builders import DEADLINES, NO_COOLDOWN, World, a_recorder_of_results, a_world

from apollo.core import ids
from apollo.core.signatures import sign
from apollo.usecases.record_call_events import RecordCallEvents
from apollo.usecases.record_call_result import RecordCallResult
from apollo.web.callbacks import Callbacks

SECRET = b"result-secret"
TWICE = {**NO_COOLDOWN, "max_retries": 1}


@dataclass
class Agents:
    """A world whose agents speak to the web process."""

    world: World
    callbacks: Callbacks
    results: RecordCallResult

    async def say(
        self, call_id: uuid.UUID, /, *, key: bytes | None = SECRET, ago_s: float = 0, **said: Any
    ) -> tuple[int, Any]:
        """Send a result; gives the status and the body of the answer. No key: the call's own."""
        body = json.dumps({"execution_id": ids.execution_id(call_id), **said}).encode()
        at = int(self.world.clock.at.timestamp() - ago_s)
        signature = sign(body, await self.results.key_of(call_id) if key is None else key, at)
        return await self.post(body, signature)

    async def post(self, body: bytes, signature: str) -> tuple[int, Any]:
        """Send a body with a signature."""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        headers = [(b"jambonz-signature", signature.encode("latin-1"))]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        answer = await self.callbacks.call_result(Request(scope, receive))
        return answer.status_code, json.loads(bytes(answer.body)) if answer.body else None

    async def a_completed_call(self, **campaign: Any) -> tuple[uuid.UUID, uuid.UUID]:
        """Call one person, who answers; gives the batch and the call."""
        return await self.called(await self.world.a_campaign(**{"retry_policy": TWICE, **campaign}))

    async def called(self, campaign_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
        """Call one person of a new batch of the campaign, who answers."""
        batch_id = await self.world.a_batch(campaign_id, 1)
        (job,) = (await self.world.claim(campaign_id)).calls
        await self.world.end(job.call.id)
        return batch_id, job.call.id

    async def calls(self, batch_id: uuid.UUID) -> list[tuple[str | None, str | None, str | None]]:
        """The calls of a batch, oldest first: outcome, reason, who picked up."""
        rows = await self.world.sql(
            "select outcome, hangup_reason, reached from calls where batch_id = $1"
            " order by requested_at",
            batch_id,
        )
        return [tuple(row) for row in rows]


@pytest.fixture
async def agents(database_url: str) -> AsyncIterator[Agents]:
    async with a_world(database_url) as world:
        world.clock.at = datetime.now(UTC)
        results = a_recorder_of_results(world.db)
        callbacks = Callbacks(
            driver=world.dial()._driver,
            record=RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True),
            results=results,
            result_secret=SECRET,
            clock=world.clock,
        )
        yield Agents(world, callbacks, results)


# ----------------------------------------------------------------------------------- who picked up


async def test_a_machine_is_a_try_that_is_retried_and_counted_apart(agents: Agents) -> None:
    world = agents.world
    batch_id, call_id = await agents.a_completed_call()
    assert await world.batch_status(batch_id) == "completed"
    assert await agents.say(call_id, reached="machine") == (200, None)
    assert await world.batch_status(batch_id) == "in_progress"
    assert await world.statuses(batch_id) == ["retrying"]
    (campaign_id,) = [r["campaign_id"] for r in await world.sql("select campaign_id from batches")]
    assert await world.call_counts(campaign_id) == {"attempts": 1, "voicemail": 1}
    (job,) = (await world.claim(campaign_id)).calls
    await world.end(job.call.id)
    assert (await agents.say(job.call.id, reached="machine"))[0] == 200
    assert await world.statuses(batch_id) == ["max_retries_reached"]
    assert await world.batch_status(batch_id) == "completed"
    assert await agents.calls(batch_id) == [("voicemail", "voicemail", "machine")] * 2
    assert await world.counters() == await world.recount()


async def test_a_machine_without_a_retry_left_ends_as_voicemail(agents: Agents) -> None:
    batch_id, call_id = await agents.a_completed_call(
        retry_policy={**NO_COOLDOWN, "max_retries": 0}
    )
    await agents.say(call_id, reached="machine")
    assert await agents.world.statuses(batch_id) == ["voicemail"]
    assert await agents.world.counters() == await agents.world.recount()


async def test_a_wrong_person_ends_the_contact_and_marks_the_number_until_it_is_taken_back(
    agents: Agents,
) -> None:
    world = agents.world
    batch_id, call_id = await agents.a_completed_call()
    await agents.say(call_id, reached="wrong_person", hangup_reason="not Ruth")
    assert await world.statuses(batch_id) == ["failed"]
    assert await agents.calls(batch_id) == [("failed", "wrong_person", "wrong_person")]
    marks = "select organization_id, phone_number, mark, call_id from marked_numbers"
    (mark,) = await world.sql(marks)
    number = (await world.contact(batch_id))["phone_number"]
    assert tuple(mark) == ("org_acme", number, "wrong_person", call_id)
    await agents.say(call_id, reached="person")
    assert await world.sql(marks) == []
    assert await world.statuses(batch_id) == ["completed"]


async def test_who_says_nothing_of_it_sees_what_was_always_seen(agents: Agents) -> None:
    batch_id, call_id = await agents.a_completed_call()
    await agents.say(call_id, summary="spoke", hangup_reason="goodbye")
    assert await agents.world.statuses(batch_id) == ["completed"]
    assert await agents.calls(batch_id) == [("completed", "goodbye", None)]


async def test_a_machine_is_promised_no_follow_up(agents: Agents) -> None:
    batch_id, call_id = await agents.a_completed_call()
    later = (agents.world.clock.at + timedelta(hours=1)).isoformat()
    status, answer = await agents.say(call_id, reached="machine", follow_up_at=later)
    assert status == 422
    assert "leave it out with reached machine" in answer["detail"]
    assert await agents.world.statuses(batch_id) == ["completed"]
    status, answer = await agents.say(call_id, reached="robot")
    assert status == 422
    assert "reached" in answer["detail"]


async def test_the_agent_outranks_machine_detection(agents: Agents) -> None:
    world = agents.world
    batch_id, call_id = await agents.a_completed_call()
    await agents.say(call_id, reached="person")
    body = json.dumps(
        {
            "call_sid": "sid-1",
            "call_status": "in-progress",
            "type": "amd_machine_detected",
            "customerData": {"execution_id": ids.execution_id(call_id)},
        }
    ).encode()
    driver = world.dial()._driver
    status = driver.read_status(body, world.clock.at)
    assert status.event is not None
    await world.record((call_id, status.event))
    assert await world.statuses(batch_id) == ["completed"]
    assert await agents.calls(batch_id) == [("completed", "answered", "person")]


# ------------------------------------------------------------------------------- repeated and late


async def test_no_repetition_of_results_ever_calls_anybody_again(agents: Agents) -> None:
    world = agents.world
    batch_id, call_id = await agents.a_completed_call(number_gap_minutes=0.0)
    (campaign_id,) = [r["campaign_id"] for r in await world.sql("select campaign_id from batches")]

    def ask_for(ago_s: int) -> dict[str, Any]:
        return {"follow_up_at": (world.clock.at - timedelta(seconds=ago_s)).isoformat()}

    a, b = ask_for(30), ask_for(20)
    assert await agents.say(call_id, **a) == (200, None)
    await world.sql("update due_contacts set is_due = true")
    (job,) = (await world.claim(campaign_id)).calls
    await world.end(job.call.id)
    for said in (a, b, a, b, {**a, "summary": "x"}, {"reached": "person"}):
        assert (await agents.say(call_id, **said))[0] == 200
        assert await world.statuses(batch_id) == ["completed"]
    assert len(await agents.calls(batch_id)) == 2


async def test_the_follow_up_of_a_call_may_be_moved_while_it_waits(agents: Agents) -> None:
    batch_id, call_id = await agents.a_completed_call()
    for hours in (1, 2):
        at = agents.world.clock.at + timedelta(hours=hours)
        await agents.say(call_id, follow_up_at=at.isoformat(), ago_s=10 - hours)
        contact = await agents.world.contact(batch_id)
        assert (contact["due_at"], contact["promises"]) == (at, 1)


async def test_a_result_that_comes_late_only_fills_what_is_missing(agents: Agents) -> None:
    batch_id, call_id = await agents.a_completed_call()
    await agents.say(call_id, reached="person", summary="new", ago_s=1)
    await agents.say(call_id, reached="machine", summary="old", transcript="all of it", ago_s=9)
    rows = await agents.world.sql("select reached, summary, transcript from calls")
    assert [tuple(row) for row in rows] == [("person", "new", "all of it")]
    assert await agents.world.statuses(batch_id) == ["completed"]


@pytest.mark.parametrize(("ago_s", "right"), [(0, True), (599, True), (601, False), (-601, False)])
async def test_what_was_signed_long_ago_is_refused_with_how_long(
    agents: Agents, ago_s: float, right: bool
) -> None:
    _, call_id = await agents.a_completed_call()
    status, answer = await agents.say(call_id, reached="machine", ago_s=ago_s)
    assert (status == 200) is right
    if not right:
        assert status == 401
        assert "was signed 0:10:0" in answer["detail"]
        assert "10 minutes are allowed" in answer["detail"]


# ----------------------------------------------------------------------------------- by whose key


async def test_the_key_of_a_call_signs_for_that_call_alone(agents: Agents) -> None:
    _, call_id = await agents.a_completed_call()
    assert await agents.say(call_id, key=None, summary="mine") == (200, None)
    _, other = await agents.called((await agents.world.sql("select id from campaigns"))[0]["id"])
    key = await agents.results.key_of(call_id)
    status, answer = await agents.say(other, key=key, summary="not mine")
    assert status == 401
    assert "the key `k` of this call" in answer["detail"]
    summaries = await agents.world.sql("select summary from calls order by requested_at")
    assert [row["summary"] for row in summaries] == ["mine", None]


async def test_the_key_of_a_call_dies_a_day_after_it_and_the_secret_does_not(
    agents: Agents,
) -> None:
    _, call_id = await agents.a_completed_call()
    await agents.world.sql("update calls set ended_at = ended_at - interval '25 hours'")
    status, answer = await agents.say(call_id, key=None, summary="late")
    assert (status, answer) == (
        404,
        {"detail": "Call not found, or it is long over and its key has died"},
    )
    assert (await agents.say(call_id, summary="late"))[0] == 200


async def test_nothing_is_signed_by_an_unknown_call_or_by_a_body_that_names_none(
    agents: Agents,
) -> None:
    at = int(agents.world.clock.at.timestamp())
    for body in (b"{}", b"[]", b"", b"\xff", b'{"execution_id": 1}', b'{"execution_id": "x"}'):
        assert (await agents.post(body, sign(body, b"any", at)))[0] == 401
    status, _ = await agents.say(uuid.uuid4(), key=None, summary="of nobody")
    assert status == 404


@pytest.mark.parametrize(
    "written", ["+{}", "-{}", "{}.0", "{} ", "0x{}", "{}e0", "{}_0", "٣{}", ""]
)
async def test_the_time_of_a_signature_is_digits_and_nothing_else(
    agents: Agents, written: str
) -> None:
    _, call_id = await agents.a_completed_call()
    body = json.dumps({"execution_id": ids.execution_id(call_id), "summary": "odd"}).encode()
    at = written.format(int(agents.world.clock.at.timestamp()))
    digest = hmac.digest(SECRET, at.encode() + b"." + body, "sha256").hex()
    # A header arrives as Latin-1.
    header = f"t={at},v1={digest}".encode().decode("latin-1")
    status, _ = await agents.post(body, header)
    # Blanks around a part of a header mean nothing, and are not signed.
    assert status == 401
    right = sign(body, SECRET, int(agents.world.clock.at.timestamp()))
    for odd in (f"{right},t=1", right.replace(",v1", ",t=1,v1"), right.replace("t=", "T=")):
        assert (await agents.post(body, odd))[0] == 401
    assert await agents.post(body, right) == (200, None)
