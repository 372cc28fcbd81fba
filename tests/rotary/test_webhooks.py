"""Status webhooks: what they say, how they are signed, their order, when they are repeated."""

import asyncio
import hashlib
import hmac
import re
import time
from base64 import b64decode
from typing import Any

import pytest
from tests.rotary.world import (
    ACCOUNT,
    APPLICATION,
    CALLER_ID,
    PERSON,
    SECRET,
    Heard,
    Receiver,
    World,
    running,
    until,
)

ANSWERED = ["trying", "ringing", "in-progress", "completed"]
ALWAYS = [
    "call_sid",
    "direction",
    "from",
    "to",
    "call_id",
    "sip_status",
    "sip_reason",
    "call_status",
    "account_sid",
    "trace_id",
    "fs_sip_address",
]
SIP_STATUSES = {
    400: ("failed", "Bad Request"),
    403: ("failed", "Forbidden"),
    404: ("failed", "Not Found"),
    408: ("failed", "Request Timeout"),
    480: ("failed", "Temporarily Unavailable"),
    484: ("failed", "Address Incomplete"),
    486: ("busy", "Busy Here"),
    487: ("no-answer", "Request Terminated"),
    488: ("failed", "Not Acceptable Here"),
    500: ("failed", "Server Internal Error"),
    503: ("failed", "Service Unavailable"),
    504: ("failed", "Server Time-out"),
    600: ("failed", "Busy Everywhere"),
    603: ("busy", "Decline"),
    607: ("failed", "Unwanted"),
    608: ("failed", "Rejected"),
}


def scripted(*behaviours: dict[str, Any]) -> dict[str, Any]:
    """A scenario in which PERSON does one thing after the other."""
    return {"people": {"preset": "instant", "by_number": {PERSON: list(behaviours)}}}


def signed_by(heard: Heard, secret: str) -> bool:
    found = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", heard.headers["jambonz-signature"])
    assert found is not None
    message = f"{found[1]}.".encode() + heard.raw
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() == found[2]


async def test_an_answered_call_tells_its_four_events_in_order(world: World) -> None:
    line = await world.called()
    heard = world.receiver.heard
    assert [one.event for one in heard] == ANSWERED
    assert [one.body["sip_status"] for one in heard] == [100, 180, 200, 200]
    assert [one.body["sip_reason"] for one in heard] == ["Trying", "Trying", "OK", "OK"]
    assert [one["fate"] for one in line["webhooks"]] == ["delivered"] * 4


async def test_the_payload_has_jambonz_s_keys_in_its_order(world: World) -> None:
    line = await world.called()
    trying, ringing, answered, completed = (one.body for one in world.receiver.heard)
    assert list(trying) == [*ALWAYS, "customerData"]
    with_border = [*ALWAYS[:5], "sbc_callid", *ALWAYS[5:]]
    assert list(ringing) == list(answered) == [*with_border, "customerData"]
    ending = ["call_termination_by", "duration", "customerData", "headers"]
    assert list(completed) == [*with_border, *ending]
    assert completed["from"] == CALLER_ID
    assert completed["to"] == PERSON
    assert completed["account_sid"] == ACCOUNT
    assert completed["customerData"] == {"execution_id": "e-1"}
    assert (completed["call_termination_by"], completed["duration"]) == ("caller", 0)
    assert (completed["call_sid"], completed["call_id"]) == (line["call_sid"], line["call_id"])


async def test_without_a_tag_there_is_no_customer_data(world: World) -> None:
    await world.called(tag=None)
    assert "customerData" not in world.receiver.heard[0].body


async def test_a_tag_comes_back_trimmed_with_whole_urls_and_without_nulls(world: World) -> None:
    await world.called(
        tag={
            "s": "  padded ",
            "u": "https://Example.com",
            "n": 1,
            "deep": {"camelCase": ["  x ", {"aB": None}]},
            "big": "9999999999999999999999999999999999999999",
        }
    )
    assert world.receiver.heard[0].body["customerData"] == {
        "s": "padded",
        "u": "https://example.com/",
        "n": 1,
        "deep": {"camelCase": ["x", {"aB": "Error: Cannot convert undefined or null to object"}]},
        "big": "9999999999999999999999999999999999999999",
    }


async def test_each_webhook_is_signed_over_its_raw_bytes(world: World) -> None:
    await world.called(tag={"name": "Zoë «ü» ñ"})
    for heard in world.receiver.heard:
        assert signed_by(heard, SECRET)
        assert not signed_by(heard, "another secret")
        stamp = int(heard.headers["jambonz-signature"].split(",")[0][2:])
        assert abs(stamp - time.time()) < 5
        assert heard.headers["user-agent"] == "jambonz"
        assert heard.headers["content-type"] == "application/json"
        assert re.fullmatch(r"[0-9a-f]{32}-[0-9a-f]{16}-1", heard.headers["b3"])
        assert "authorization" not in heard.headers
    assert "Zoë".encode() in world.receiver.heard[0].raw


@pytest.mark.parametrize(("does", "said"), [("answer", "human"), ("voicemail", "machine")])
async def test_machine_detection_reports_once_it_is_picked_up_and_only_if_asked(
    receiver: Receiver, does: str, said: str
) -> None:
    async with running(scripted({"does": does}), receiver=receiver) as world:
        await world.called(amd={"actionHook": receiver.url})
        heard = [(h.body["call_status"], h.body.get("type")) for h in receiver.heard]
        assert heard[2:4] == [("in-progress", None), ("in-progress", f"amd_{said}_detected")]
        assert all(signed_by(one, SECRET) for one in receiver.heard)
        receiver.heard.clear()
        await world.called()
        assert not any("type" in one.body for one in receiver.heard)


async def test_a_hook_with_name_and_password_uses_basic_authentication(world: World) -> None:
    hook = {"url": world.receiver.url, "username": "u", "password": "p:w"}
    await world.called(call_status_hook=hook)
    scheme, token = world.receiver.heard[0].headers["authorization"].split()
    assert (scheme, b64decode(token)) == ("Basic", b"u:p:w")


async def test_credentials_in_the_address_are_ignored(world: World) -> None:
    await world.called(call_status_hook=world.receiver.url.replace("//", "//u:p@"))
    assert "authorization" not in world.receiver.heard[0].headers
    reply = await world.ask("GET", "/rotary/deliveries")
    assert {one["url"] for one in reply.body} == {world.receiver.url}


async def test_the_query_is_kept_and_the_fragment_is_not_sent(world: World) -> None:
    await world.called(call_status_hook=f"{world.receiver.url}?tenant=7&x=a%20b#rc=5&rp=all")
    assert {one.path for one in world.receiver.heard} == {"/status?tenant=7&x=a%20b"}


async def test_a_hook_by_get_carries_no_body(world: World) -> None:
    await world.called(call_status_hook={"url": world.receiver.url, "method": "GET"})
    assert [(one.method, one.raw) for one in world.receiver.heard] == [("GET", b"")] * 4
    assert "jambonz-signature" in world.receiver.heard[0].headers


@pytest.mark.parametrize("sip", SIP_STATUSES)
async def test_a_refused_call_ends_with_its_sip_code(receiver: Receiver, sip: int) -> None:
    async with running(scripted({"does": "refuse", "sip": sip}), receiver=receiver) as world:
        line = await world.called()
    status, reason = SIP_STATUSES[sip]
    assert receiver.events() == ["trying", status]
    last = receiver.heard[-1].body
    assert (last["sip_status"], last["sip_reason"]) == (sip, reason)
    assert "duration" not in last
    assert "call_termination_by" not in last
    assert (line["sip_status"], line["call_status"]) == (sip, status)


async def test_early_media_comes_after_ringing(receiver: Receiver) -> None:
    scenario = scripted({"does": "answer", "early_media": True})
    async with running(scenario, receiver=receiver) as world:
        await world.called()
    assert receiver.events() == ["trying", "ringing", "early-media", "in-progress", "completed"]
    assert receiver.heard[2].body["sip_status"] == 183


async def test_nobody_answers_within_the_ring_timeout(receiver: Receiver) -> None:
    scenario = scripted({"does": "answer", "ring_s": 100}) | {"time_scale": 0.01}
    async with running(scenario, receiver=receiver) as world:
        line = await world.called(timeout=10)
    assert receiver.events() == ["trying", "ringing", "no-answer"]
    assert line["sip_status"] == 487
    assert line["answered_at"] is None


async def test_the_time_limit_ends_a_call_from_our_side(receiver: Receiver) -> None:
    scenario = scripted({"does": "answer", "talk_s": 100}) | {"time_scale": 0.01}
    async with running(scenario, receiver=receiver) as world:
        await world.called(timeLimit=7)
    last = receiver.heard[-1].body
    assert (last["call_termination_by"], last["duration"]) == ("jambonz", 7)
    assert "headers" not in last


async def test_the_duration_is_told_in_simulated_seconds(receiver: Receiver) -> None:
    scenario = scripted({"does": "answer", "talk_s": 42.9}) | {"time_scale": 0.001}
    async with running(scenario, receiver=receiver) as world:
        line = await world.called()
    assert receiver.heard[-1].body["duration"] == line["duration"] == 42


async def test_the_application_s_hook_replaces_the_one_in_the_body(receiver: Receiver) -> None:
    hook = {"url": f"{receiver.url}/application", "username": "a", "password": "b"}
    scenario = {"applications": {APPLICATION: {"call_status_hook": hook}}}
    async with running(scenario, receiver=receiver) as world:
        await world.called(application_sid=APPLICATION)
    assert {one.path for one in receiver.heard} == {"/status/application"}
    assert receiver.heard[0].body["application_sid"] == APPLICATION
    assert "authorization" in receiver.heard[0].headers


async def test_an_application_without_status_hook_sends_nothing(receiver: Receiver) -> None:
    async with running({"applications": {APPLICATION: {}}}, receiver=receiver) as world:
        line = await world.called(application_sid=APPLICATION)
    assert (receiver.heard, line["webhooks"], line["webhook_url"]) == ([], [], None)


async def test_the_router_s_own_address_wins_over_every_hook(receiver: Receiver) -> None:
    own = f"{receiver.url}/own"
    scenario: dict[str, Any] = {"applications": {APPLICATION: {}}}
    async with running(scenario, receiver=receiver, webhook_url=own) as world:
        await world.called()
        await world.called(call_status_hook=None)
        await world.called(application_sid=APPLICATION)
    assert [one.path for one in receiver.heard] == ["/status/own"] * 12


async def test_one_webhook_of_a_call_waits_for_the_other(receiver: Receiver) -> None:
    receiver.held = asyncio.Event()
    async with running(receiver=receiver) as world:
        sid = await world.call()
        await until(lambda: receiver.heard, "the first webhook")
        assert receiver.events() == ["trying"]
        receiver.held.set()
        await world.settled(sid)
    assert receiver.events() == ANSWERED
    assert receiver.at_once_max == 1


async def test_calls_do_not_wait_for_each_other(receiver: Receiver) -> None:
    receiver.held = asyncio.Event()
    async with running(receiver=receiver) as world:
        sids = [await world.call() for _ in range(5)]
        await until(lambda: receiver.at_once == 5, "five webhooks at once")
        receiver.held.set()
        for sid in sids:
            await world.settled(sid)
    assert receiver.at_once_max == 5


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_three_answers_count_as_delivered(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        line = await world.called()
    assert line["webhooks"][0]["fate"] == "delivered"
    assert line["webhooks"][0]["attempts"][0]["status"] == status


@pytest.mark.parametrize("status", [201, 302, 401, 404, 500])
async def test_every_other_answer_loses_the_event(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        line = await world.called(call_status_hook=f"{receiver.url}#rc=5")  # rp=ct by default
        deliveries = (await world.ask("GET", "/rotary/deliveries")).body
    assert [one["fate"] for one in line["webhooks"]] == ["failed", "delivered"]
    assert receiver.events() == ["trying", "busy"]
    assert (deliveries[0]["status"], deliveries[0]["attempt"]) == (status, 1)


@pytest.mark.parametrize(
    ("status", "policy"),
    [(500, "5xx"), (404, "4xx"), (201, "all"), (302, "all"), (0, "all"), (503, "4xx,5xx")],
)
async def test_a_failed_event_is_repeated_byte_by_byte(
    receiver: Receiver, status: int, policy: str
) -> None:
    receiver.answers = [200, status]
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        line = await world.called(call_status_hook=f"{receiver.url}#rc=2&rp={policy}")
    assert receiver.events() == ["trying", "busy", "busy"]
    _, first, second = receiver.heard
    assert (first.raw, first.headers) == (second.raw, second.headers)
    assert 0.4 < second.at - first.at < 2.0
    assert line["webhooks"][1]["fate"] == "delivered"
    assert len(line["webhooks"][1]["attempts"]) == 2


async def test_rc_bounds_the_repetitions(receiver: Receiver) -> None:
    receiver.answers = [200, 500, 500, 500, 500]
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        line = await world.called(call_status_hook=f"{receiver.url}#rc=1&rp=5xx")
    assert receiver.events() == ["trying", "busy", "busy"]
    assert line["webhooks"][1]["fate"] == "failed"


async def test_a_refused_connection_is_a_matter_for_ct(receiver: Receiver) -> None:
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        line = await world.called(call_status_hook="http://127.0.0.1:9/s#rc=1")
    trying, busy = line["webhooks"]
    assert [len(trying["attempts"]), len(busy["attempts"])] == [2, 2]
    assert "refused" in busy["attempts"][0]["error"].lower()


async def test_a_connection_closed_without_an_answer_is_not(receiver: Receiver) -> None:
    receiver.answers = [0]
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        line = await world.called(call_status_hook=f"{receiver.url}#rc=1&rp=ct,rt,4xx,5xx")
    assert len(line["webhooks"][0]["attempts"]) == 1
    assert "closed the connection" in line["webhooks"][0]["attempts"][0]["error"]


async def test_a_repetition_is_overtaken_by_later_events(receiver: Receiver) -> None:
    receiver.answers = [500]
    scenario = scripted({"does": "answer", "talk_s": 1.0})
    async with running(scenario, receiver=receiver) as world:
        await world.called(call_status_hook=f"{receiver.url}#rc=1&rp=all")
    assert receiver.events() == ["trying", "ringing", "in-progress", "trying", "completed"]


async def test_the_last_event_of_an_answered_call_is_never_repeated(receiver: Receiver) -> None:
    receiver.answers = [200, 200, 200, 500]
    async with running(receiver=receiver) as world:
        line = await world.called(call_status_hook=f"{receiver.url}#rc=5&rp=all")
    assert receiver.events() == ANSWERED
    assert line["webhooks"][3]["fate"] == "failed"


async def test_with_http_pool_the_last_event_is_repeated_as_well(receiver: Receiver) -> None:
    receiver.answers = [200, 200, 200, 500]
    async with running({"api": {"http_pool": True}}, receiver=receiver) as world:
        line = await world.called(call_status_hook=f"{receiver.url}#rc=5&rp=all")
    assert receiver.events() == [*ANSWERED, "completed"]
    assert line["webhooks"][3]["fate"] == "delivered"


async def test_the_router_s_own_call_hook_answers_with_no_verbs(world: World) -> None:
    for method in ("GET", "POST"):
        reply = await world.ask(method, "/rotary/hook")
        assert (reply.status, reply.body) == (200, [])


async def test_a_failed_delivery_is_logged_without_the_number(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [503]
    async with running(scripted({"does": "busy"}), receiver=receiver) as world:
        await world.called(call_status_hook=f"{receiver.url}?token=secret-token")
    [record] = [one for one in caplog.records if "not delivered" in one.getMessage()]
    text = record.getMessage()
    assert "answered 503" in text
    assert receiver.url in text
    assert PERSON[1:] not in text
    assert "secret-token" not in text


async def test_the_call_hook_is_asked_only_if_the_scenario_says_so(receiver: Receiver) -> None:
    hook = f"{receiver.url}/call"
    async with running(receiver=receiver) as world:
        await world.called(call_hook=hook)
    assert {one.path for one in receiver.heard} == {"/status"}


async def test_a_call_hook_without_verbs_ends_the_call_at_once(receiver: Receiver) -> None:
    scenario = scripted({"does": "answer", "talk_s": 600}) | {"fetch_call_hook": True}
    async with running(scenario, receiver=receiver) as world:
        await world.called(call_hook=f"{receiver.url}/call")  # the receiver answers no JSON
    asked = [one for one in receiver.heard if one.path == "/status/call"]
    assert len(asked) == 1
    assert asked[0].body["call_status"] == "in-progress"
    assert asked[0].body["defaults"] == {
        "synthesizer": {"vendor": "google", "language": "en-US", "voice": "en-US-Standard-C"},
        "recognizer": {"vendor": "google", "language": "en-US"},
    }
    assert signed_by(asked[0], SECRET)
    last = receiver.heard[-1].body
    assert (last["call_status"], last["call_termination_by"]) == ("completed", "jambonz")
    assert last["duration"] == 0
