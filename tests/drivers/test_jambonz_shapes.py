"""What is sent to jambonz, to the field, and what is read from its lists and records."""

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.drivers.conftest import INLINE, NOW, StoppedClock, call_id, request_to
from tests.drivers.jambonz_stand_in import ANSWERS, APPLICATION, Cut, Reply, StandIn

from apollo.core.events import HangUp
from apollo.errors import Misconfigured, OutcomeUnknown, WillNeverWork
from apollo.ports import AgentRoute, LiveCall
from apollo.telephony.jambonz import JambonzDriver, answers
from apollo.usecases.perform_effects import PerformEffects

RINGING = {
    "service_url": "http://127.0.0.1:3000",
    "call_sid": "4200d449-0764-4dae-9426-b9fe35a08735",
    "direction": "outbound",
    "from": "+447400123456",
    "to": "+919876543210",
    "call_status": "ringing",
    "sip_status": 180,
    "sip_reason": "Trying",
    "a_later_release": {"knows": "more"},
}
RECORD: dict[str, Any] = {
    "attempted_at": "2026-05-10T09:05:00.857Z",
    "answered": True,
    "answered_at": "2026-05-10T09:05:10.857Z",
    "terminated_at": "2026-05-10T09:05:52.857Z",
    "termination_reason": "called party hungup",
    "sip_status": 200,
    "duration": 42,
    "call_sid": "eeeeeeee-0000-4000-8000-000000000001",
    "from": "447400123456",
    "to": "919876543210",
    "direction": "outbound",
    "trunk": "carrier-1",
}


# --------------------------------------------------------------------------- what is sent


async def test_an_inline_request_has_exactly_the_fields_of_the_contract(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    await driver.place(request_to())
    (sent,) = stand_in.posts
    assert sent == {
        "from": "+447400123456",
        "to": {"type": "phone", "number": "+919876543210"},
        "tag": {"execution_id": call_id(1)},
        "timeout": 30,
        "timeLimit": 600,
        "call_hook": {
            "url": "https://agent.example.com/call"
            f"?execution_id={call_id(1)}&k=agent-key-0123456789",
            "method": "POST",
        },
        "call_status_hook": {"url": driver.status_hook_url, "method": "POST"},
        "speech_synthesis_vendor": "google",
        "speech_synthesis_language": "en-US",
        "speech_synthesis_voice": "en-US-Standard-C",
        "speech_recognizer_vendor": "google",
        "speech_recognizer_language": "en-US",
    }


async def test_machine_detection_is_asked_for_only_on_request_and_reports_to_the_status_hook(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    await driver.place(replace(request_to(), detects_machines=True))
    await driver.place(request_to(call=2))
    asked, not_asked = stand_in.posts
    assert asked["amd"] == {"actionHook": driver.status_hook_url}
    assert "amd" not in not_asked


async def test_a_request_by_application_has_no_hooks_for_they_would_be_thrown_away(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    await driver.place(request_to(route=AgentRoute(application_sid=APPLICATION)))
    (sent,) = stand_in.posts
    assert sent == {
        "application_sid": APPLICATION,
        "from": "+447400123456",
        "to": {"type": "phone", "number": "+919876543210"},
        "tag": {"execution_id": call_id(1)},
        "timeout": 30,
        "timeLimit": 600,
    }


@pytest.mark.parametrize(
    "hook",
    [
        "https://agent.example.com/call?lang=de&x=a%20b",
        "wss://agent.example.com/call",
        "https://agent.example.com?only=query",
        "https://agent.example.com/call?a=1#rc=2",
    ],
)
async def test_a_hook_keeps_its_own_query_and_fragment(
    stand_in: StandIn, driver: JambonzDriver, hook: str
) -> None:
    route = AgentRoute(hook, None, INLINE.speech_synthesis, INLINE.speech_recognizer)
    await driver.place(request_to(route=route))
    was, now = urlsplit(hook), urlsplit(stand_in.posts[0]["call_hook"]["url"])
    assert now._replace(query="") == was._replace(query="")
    assert now.query.startswith(was.query)
    ours = [("execution_id", call_id(1)), ("k", "agent-key-0123456789")]
    assert parse_qsl(now.query) == parse_qsl(was.query) + ours


@pytest.mark.parametrize(
    "route",
    [
        AgentRoute(),
        AgentRoute("https://agent.example.com/call"),
        AgentRoute("https://agent.example.com/call", None, "google,en-US", "google,en-US"),
        AgentRoute("https://agent.example.com/call", None, "google,,voice", "google,en-US"),
    ],
    ids=str,
)
async def test_a_route_that_cannot_work_is_refused_before_anything_is_sent(
    stand_in: StandIn, driver: JambonzDriver, route: AgentRoute
) -> None:
    with pytest.raises(WillNeverWork) as caught:
        await driver.place(request_to(route=route))
    assert caught.value.cause == "request"
    assert not stand_in.seen


async def test_a_number_in_a_query_keeps_its_plus(stand_in: StandIn, driver: JambonzDriver) -> None:
    await driver.list_live("+919876543210")
    assert stand_in.queries == [{"direction": "outbound", "to": "+919876543210"}]


async def test_records_are_asked_for_in_utc_and_by_digits(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    await driver.list_records(NOW.astimezone(india), matching="+919876543210")
    assert stand_in.queries == [
        {
            "page": "1",
            "count": "500",
            "direction": "outbound",
            "start": "2026-05-10T09:05:00.000000Z",
            "filter": "919876543210",
        }
    ]


async def test_a_hang_up_is_a_put_that_tries_the_other_word_once_and_no_more(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    incompatible = Reply(422, b"current call state is incompatible with requested action")
    stand_in.script.extend([incompatible] * 3)
    with pytest.raises(OutcomeUnknown):
        await driver.hang_up("4200d449", was_answered=True)
    assert stand_in.seen == {"PUT 4200d449": 2}


@pytest.mark.parametrize(("was_answered", "word"), [(True, "completed"), (False, "no-answer")])
async def test_an_effect_hangs_up_with_the_word_for_the_state_of_the_call(
    stand_in: StandIn, driver: JambonzDriver, was_answered: bool, word: str
) -> None:
    effect = HangUp(uuid.uuid4(), "4200d449", "it is the second", was_answered)
    await PerformEffects(driver).run([effect])
    assert stand_in.seen == {"PUT 4200d449": 1}
    assert stand_in.words == [word]


async def test_nobody_waits_for_a_hang_up_that_hangs(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    stand_in.script.append(Reply(cut=Cut.SILENT))
    effects = PerformEffects(driver)
    effects.start([HangUp(uuid.uuid4(), "4200d449", "it is the second", was_answered=True)])
    effects.start([HangUp(uuid.uuid4(), "71f6a2e0", "it is the second", was_answered=True)])
    async with asyncio.timeout(5):
        await asyncio.wait(effects.under_way, return_when=asyncio.FIRST_COMPLETED)
    assert len(effects.under_way) == 1
    assert stand_in.seen == {"PUT 4200d449": 1, "PUT 71f6a2e0": 1}
    for task in effects.under_way:
        task.cancel()


async def test_a_hang_up_that_is_refused_for_another_reason_says_so(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    stand_in.script.append(Reply(422, b"no"))
    with pytest.raises(WillNeverWork):
        await driver.hang_up("4200d449", was_answered=True)


async def test_an_id_cannot_leave_its_place_in_the_path(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    assert await driver.read_call("a/b?c=d") is None
    assert stand_in.queries == [{}]


# --------------------------------------------------------------------------- what is read


async def test_a_live_call_is_read_with_fields_we_do_not_know(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    stand_in.script.append(Reply(200, RINGING))
    assert await driver.read_call("4200d449") == LiveCall(
        provider_call_id="4200d449-0764-4dae-9426-b9fe35a08735",
        to="+919876543210",
        from_number="+447400123456",
        call_status="ringing",
        sip_status=180,
        sip_reason="Trying",
    )


async def test_an_expired_call_is_none(stand_in: StandIn, driver: JambonzDriver) -> None:
    stand_in.script.append(Reply(200, {}))
    assert await driver.read_call("4200d449") is None


async def test_a_list_leaves_out_expired_inbound_and_other_numbers_whatever_was_filtered(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    rows = [
        {},
        RINGING,
        RINGING | {"call_sid": "i", "direction": "inbound"},
        RINGING | {"call_sid": "o", "to": ANSWERS},
    ]
    stand_in.script.extend([Reply(200, rows), Reply(200, rows)])
    assert [c.provider_call_id for c in await driver.list_live()] == [RINGING["call_sid"], "o"]
    assert [c.provider_call_id for c in await driver.list_live(ANSWERS)] == ["o"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>welcome</html>"),
        Reply(200, {"data": 7}),
        Reply(200, [{"call_sid": 7}]),
        Reply(200, b'[{"call_sid":"\xff"}]'),
        Reply(200, b'[{"x":' + b"[" * 60_000),
        Reply(200, b"[]  ", cut=Cut.MIDWAY),
        Reply(200, [RINGING, RINGING], cut=Cut.MIDWAY),
        Reply(500, {"msg": "connect ECONNREFUSED 127.0.0.1:8086"}),
    ],
    ids=str,
)
async def test_a_list_that_cannot_be_read_is_never_an_empty_list(
    stand_in: StandIn, driver: JambonzDriver, reply: Reply
) -> None:
    stand_in.script.extend([reply, reply])
    with pytest.raises(OutcomeUnknown):
        await driver.list_live()
    with pytest.raises(OutcomeUnknown):
        await driver.list_records(NOW, matching=None)


async def test_a_list_may_be_far_longer_than_an_answer(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    rows = [RINGING | {"call_sid": str(n)} for n in range(1000)]
    stand_in.script.append(Reply(200, rows))
    assert len(await driver.list_live()) == 1000


async def record_from(stand_in: StandIn, driver: JambonzDriver, **changes: object) -> LiveCall:
    page = {"total": 1, "page_size": "500", "page": "1", "data": [RECORD | changes]}
    stand_in.script.append(Reply(200, page))
    (call,) = await driver.list_records(NOW, matching=None)
    return call


async def test_a_record_is_read_with_its_plus_put_back(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    at = datetime(2026, 5, 10, 9, 5, 0, 857_000, UTC)
    assert await record_from(stand_in, driver) == LiveCall(
        provider_call_id="eeeeeeee-0000-4000-8000-000000000001",
        to="+919876543210",
        from_number="+447400123456",
        call_status="completed",
        sip_status=200,
        duration_s=42,
        hangup_by="callee",
        attempted_at=at,
        answered_at=at + timedelta(seconds=10),
        ended_at=at + timedelta(seconds=52),
    )


@pytest.mark.parametrize(
    ("sip_status", "word"),
    [
        (486, "busy"),
        (603, "busy"),
        (487, "no-answer"),
        (480, "failed"),
        (503, "failed"),
        (0, "failed"),
        (None, "failed"),
    ],
)
async def test_a_record_of_an_unanswered_call_has_the_word_of_the_webhook_and_no_answer(
    stand_in: StandIn, driver: JambonzDriver, sip_status: int | None, word: str
) -> None:
    call = await record_from(
        stand_in,
        driver,
        answered=False,
        answered_at="1970-01-01T00:00:00.000Z",
        sip_status=sip_status,
        duration=0,
        termination_reason="failed",
    )
    assert (call.call_status, call.answered_at, call.duration_s) == (word, None, None)
    assert call.hangup_by is None


async def test_only_digits_get_a_plus(stand_in: StandIn, driver: JambonzDriver) -> None:
    call = await record_from(stand_in, driver, to="alice@sip.example.com")
    assert call.to == "alice@sip.example.com"


async def test_records_are_read_to_the_last_page_each_once_and_newest_first(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    def record(n: int) -> dict[str, Any]:
        at = datetime(2026, 5, 10, 12, tzinfo=UTC) - timedelta(seconds=n)
        return RECORD | {"call_sid": str(n), "attempted_at": at.isoformat()}

    # While the first page was read a new call ended, so its last row came again on the second.
    pages = [[record(n) for n in range(500)], [record(n) for n in range(499, 700)]]
    stand_in.script.extend(Reply(200, {"total": 700, "data": rows}) for rows in pages)
    found = await driver.list_records(NOW, matching=None)
    assert [call.provider_call_id for call in found] == [str(n) for n in range(700)]
    assert stand_in.seen == {"GET RecentCalls": 2}


async def test_records_without_end_are_an_error_and_not_a_short_list(
    stand_in: StandIn, driver: JambonzDriver
) -> None:
    page = Reply(200, json.dumps({"data": [RECORD] * 500}).encode())
    stand_in.script.extend([page] * 21)
    with pytest.raises(OutcomeUnknown, match="shorter time"):
        await driver.list_records(NOW, matching=None)
    assert stand_in.seen == {"GET RecentCalls": 20}


@pytest.mark.parametrize(
    ("hook", "read"),
    [
        ({"url": "https://a.example.com/s", "method": "GET"}, ("https://a.example.com/s", "GET")),
        ({"url": "https://a.example.com/s", "method": "post"}, ("https://a.example.com/s", "POST")),
        ({"url": "https://a.example.com/s"}, ("https://a.example.com/s", "POST")),
        ({"url": ""}, None),
        (None, None),
    ],
)
async def test_an_application_may_report_elsewhere_or_nowhere(
    stand_in: StandIn, driver: JambonzDriver, hook: object, read: tuple[str, str] | None
) -> None:
    stand_in.application_hook = hook
    assert await driver.application_hook(APPLICATION) == read


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("base_url", "jambonz.example.com/v1"),
        ("base_url", "https://jambonz.example.com"),
        ("base_url", "https://user:password@jambonz.example.com/v1"),
        ("base_url", "https://jambonz.example.com:99999/v1"),
        ("account_sid", "my-account"),
        ("api_key", ""),
        ("api_key", "two\nlines"),
        ("webhook_secret", ""),
        ("public_url", "/relative"),
    ],
)
def test_a_setting_that_cannot_work_is_named(setting: str, value: str) -> None:
    good = {
        "base_url": "https://jambonz.example.com/v1/",
        "account_sid": StandIn.account_sid,
        "api_key": "key",
        "webhook_secret": "secret",
        "public_url": "https://apollo.example.com/",
    }
    driver = made(good)
    assert driver.status_hook_url == ("https://apollo.example.com/webhooks/call-status#rc=5&rp=all")
    with pytest.raises(Misconfigured, match=f"^{setting}: ") as caught:
        made(good | {setting: value})
    assert "password@" not in str(caught.value)


def made(settings: dict[str, str]) -> JambonzDriver:
    return JambonzDriver(
        base_url=settings["base_url"],
        account_sid=settings["account_sid"],
        api_key=settings["api_key"],
        webhook_secret=settings["webhook_secret"],
        public_url=settings["public_url"],
        clock=StoppedClock(),
    )


@pytest.mark.parametrize(
    ("said", "offset_s"),
    [
        ("Sun, 10 May 2026 09:00:00 GMT", 0.5),
        ("Sun, 10 May 2026 08:59:20 GMT", -39.5),
        ("soon", None),
    ],
)
def test_the_date_of_an_answer_tells_how_far_the_clocks_are_apart(
    said: str, offset_s: float | None
) -> None:
    assert answers.clock_offset_s(said, datetime(2026, 5, 10, 9, tzinfo=UTC)) == offset_s
