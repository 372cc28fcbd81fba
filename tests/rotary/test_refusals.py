"""Every way jambonz refuses a request for a call, and the order in which it looks."""

from typing import Any

import pytest
from tests.rotary.world import (
    ACCOUNT,
    APPLICATION,
    OTHER_ACCOUNT,
    PERSON,
    SPEECH,
    World,
    running,
)

from apollo.rotary.accounts import Budget
from apollo.rotary.faults import RateLimit

UNKNOWN = "00000000-0000-0000-0000-000000000007"
NO_SPEECH: dict[str, None] = dict.fromkeys(SPEECH)

BY_THE_API_SERVER: dict[str, tuple[dict[str, Any], str]] = {
    "no from": ({"from": None}, "missing from parameter"),
    "empty from": ({"from": ""}, "missing from parameter"),
    "no to": ({"to": None}, "missing or invalid to property: undefined"),
    "to is a string": ({"to": PERSON}, f'missing or invalid to property: "{PERSON}"'),
    "to with a number that is no string": (
        {"to": {"type": "phone", "number": 919876543210}},
        'missing or invalid to property: {"type":"phone","number":919876543210}',
    ),
    "to of an unknown type": (
        {"to": {"type": "fax", "number": "1"}},
        'missing or invalid to property: {"type":"fax","number":"1"}',
    ),
    "unknown application": (
        {"application_sid": UNKNOWN},
        f"application_sid not found {UNKNOWN}",
    ),
    "application that is no uuid": ({"application_sid": "abc"}, "application_sid not found abc"),
    "neither application nor speech": (
        NO_SPEECH,
        (
            "either application_sid or set of speech_synthesis_vendor, speech_synthesis_language, "
            "speech_synthesis_voice, speech_recognizer_vendor, speech_recognizer_language required"
        ),
    ),
    "no call hook": ({"call_hook": None}, "either call_hook or application_sid required"),
    "relative call hook": ({"call_hook": "/call"}, "call_hook url be an absolute url"),
    "relative status hook": (
        {"call_status_hook": "/status"},
        "call_status_hook url be an absolute url",
    ),
    "call hook without url": (
        {"call_hook": {"method": "POST"}},
        "call_hook must be string or an object containing a url property",
    ),
    "status hook without url": (
        {"call_status_hook": {"method": "POST"}},
        "call_status_hook must be string or an object containing a url property",
    ),
}

BY_THE_FEATURE_SERVER: dict[str, dict[str, Any]] = {
    "unknown field": {"foo": "bar"},
    "env_vars": {"env_vars": {"a": "1"}},
    "answerOnBridge": {"answerOnBridge": True},
    "speech label": {"speech_synthesis_label": "x"},
    "timeout as text": {"timeout": "30"},
    "timeout with a fraction": {"timeout": 30.5},
    "negative timeout": {"timeout": -1},
    "timeLimit as text": {"timeLimit": "abc"},
    "tag as text": {"tag": "abc"},
    "amd without hook": {"amd": {"thresholdWordCount": 5}},
    "amd with an unknown member": {"amd": {"actionHook": "/amd", "enable": True}},
    "unknown member of to": {"to": {"type": "phone", "number": PERSON, "foo": 1}},
    "null inside to": {"to": {"type": "phone", "number": PERSON, "trunk": None}},
    "from as a number": {"from": 14155550123},
    "from too long": {"from": "1" * 257},
    "status hook by PUT": {"call_status_hook": {"url": "http://127.0.0.1/s", "method": "PUT"}},
    "user without realm": {"to": {"type": "user", "name": "alice"}},
    "teams": {"to": {"type": "teams", "number": PERSON}},
    "headers as text": {"headers": "X-Campaign: 42"},
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "timeout 0": {"timeout": 0},
    "empty tag": {"tag": {}},
    "headers": {"headers": {"X-Campaign": "42"}},
    "names": {"fromHost": "sip.example.com", "callerName": "Apollo"},
    "amd": {"amd": {"actionHook": "/amd", "thresholdWordCount": 5, "timers": {"x": 1}}},
    "hooks of a dialog": {"sipRequestWithinDialogHook": "/sip", "referHook": "/refer"},
    "trunk that nobody knows": {"to": {"type": "phone", "number": PERSON, "trunk": "nosuch"}},
    "number that is none": {"to": {"type": "phone", "number": "hello world"}},
    "user with realm": {"to": {"type": "user", "name": "alice@sip.example.com"}},
    "sip address": {"to": {"type": "sip", "sipUri": "sip:alice@example.com"}},
    "no status hook": {"call_status_hook": None},
    "hook objects": {"call_hook": {"url": "https://example.com/call", "method": "POST"}},
    "websocket call hook": {"call_hook": "wss://example.com/call"},
    "user info in a hook": {"call_status_hook": "http://u:p@127.0.0.1:9/s"},
}


@pytest.mark.parametrize("case", BY_THE_API_SERVER)
async def test_the_api_server_refuses_with_400_and_says_why(world: World, case: str) -> None:
    changes, words = BY_THE_API_SERVER[case]
    reply = await world.ask("POST", "Calls", world.order(**changes))
    assert (reply.status, reply.body) == (400, {"msg": words})
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert await world.ledger() == []


@pytest.mark.parametrize("case", BY_THE_FEATURE_SERVER)
async def test_the_feature_server_refuses_with_a_bare_500(world: World, case: str) -> None:
    reply = await world.ask("POST", "Calls", world.order(**BY_THE_FEATURE_SERVER[case]))
    assert (reply.status, reply.text) == (500, "Internal Server Error")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert await world.ledger() == []


@pytest.mark.parametrize("case", ACCEPTED)
async def test_whatever_jambonz_takes_is_taken(world: World, case: str) -> None:
    reply = await world.ask("POST", "Calls", world.order(**ACCEPTED[case]))
    assert reply.status == 201
    assert reply.body.keys() == {"sid", "callId"}


async def test_a_null_at_the_top_counts_as_absent(world: World) -> None:
    reply = await world.ask("POST", "Calls", world.order() | {"timeout": None, "amd": None})
    assert reply.status == 201


async def test_without_a_key_the_answer_is_401(world: World) -> None:
    reply = await world.ask("POST", "Calls", world.order(), key=None)
    assert (reply.status, reply.text) == (401, "Unauthorized")
    assert reply.headers["www-authenticate"] == 'Bearer realm="Users"'


async def test_a_wrong_key_is_told_apart_from_none(world: World) -> None:
    reply = await world.ask("POST", "Calls", world.order(), key="nope")
    assert (reply.status, reply.text) == (401, "Unauthorized")
    assert reply.headers["www-authenticate"] == 'Bearer realm="Users", error="invalid_token"'


async def test_broken_json_is_noticed_before_the_key(world: World) -> None:
    reply = await world.ask("POST", "Calls", raw=b'{"from": ', key="nope")
    assert (reply.status, reply.body) == (400, {"msg": "Unexpected end of JSON input"})
    reply = await world.ask("POST", "Calls", raw=b'{"from": nope}')
    assert reply.status == 400
    assert reply.body["msg"].startswith("Unexpected token in JSON at position ")


async def test_an_empty_body_is_a_body_without_fields(world: World) -> None:
    for raw in (b"{}", b"[]", b""):
        reply = await world.ask("POST", "Calls", raw=raw)
        assert (reply.status, reply.body) == (400, {"msg": "missing from parameter"})


async def test_a_body_of_another_type_is_ignored(world: World) -> None:
    reply = await world.ask("POST", "Calls", world.order(), content_type="text/plain")
    assert (reply.status, reply.body) == (400, {"msg": "missing from parameter"})


async def test_a_body_above_64_kb_is_refused(world: World) -> None:
    reply = await world.ask("POST", "Calls", world.order(tag={"x": "y" * 70_000}))
    assert (reply.status, reply.body) == (413, {"msg": "request entity too large"})


async def test_the_account_is_a_uuid_before_it_is_the_wrong_one(world: World) -> None:
    world.account = "abc"
    reply = await world.ask("POST", "Calls", {})
    assert (reply.status, reply.body) == (400, {"msg": "Bad request"})
    world.account = OTHER_ACCOUNT
    reply = await world.ask("POST", "Calls", {})
    assert (reply.status, reply.body) == (403, {"msg": "insufficient permissions"})


async def test_without_a_feature_server_even_a_broken_account_hears_480() -> None:
    async with running({"api": {"feature_servers": 0}}) as world:
        for account in (ACCOUNT, OTHER_ACCOUNT, "abc"):
            world.account = account
            reply = await world.ask("POST", "Calls", {})
            assert (reply.status, reply.body) == (
                480,
                {"msg": "no available feature servers at this time"},
            )
        assert (await world.ask("POST", "Calls", {}, key="nope")).status == 401
        world.account = ACCOUNT
        assert (await world.ask("GET", "Calls")).status == 200


async def test_the_rate_limit_comes_before_everything_and_says_when_it_ends() -> None:
    scenario = {"api": {"rate_limit": {"requests": 3, "window_s": 300}}}
    async with running(scenario) as world:
        for left in (2, 1, 0):
            reply = await world.ask("GET", "Calls")
            assert reply.status == 200
            assert reply.headers["ratelimit-policy"] == "3;w=300"
            assert reply.headers["ratelimit-limit"] == "3"
            assert reply.headers["ratelimit-remaining"] == str(left)
            assert 298 <= int(reply.headers["ratelimit-reset"]) <= 300
        reply = await world.ask("POST", "Calls", raw=b"{", key="nope")
        assert (reply.status, reply.text) == (429, "Too many requests, please try again later.")
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.headers["ratelimit-remaining"] == "0"
        assert reply.headers["retry-after"] == reply.headers["ratelimit-reset"]
        assert (await world.ask("GET", "/rotary/health")).status == 200


async def test_a_request_budget_may_be_set_and_lifted_while_calls_are_up() -> None:
    async with running() as world:
        sid = await world.call()
        await world.set_faults(request_budget={"requests": 2, "window_s": 300})
        assert (await world.ask("GET", f"Calls/{sid}")).headers["ratelimit-remaining"] == "1"
        assert (await world.ask("POST", "Calls", world.order())).status == 201
        for method, path in (("PUT", f"Calls/{sid}"), ("GET", "RecentCalls?page=1&count=9")):
            reply = await world.ask(method, path, {"call_status": "completed"})
            assert (reply.status, reply.headers["ratelimit-remaining"]) == (429, "0"), path
            assert 298 <= int(reply.headers["retry-after"]) <= 300
        await world.set_faults(request_budget={"requests": 5, "window_s": 300})
        assert (await world.ask("GET", "Calls")).headers["ratelimit-remaining"] == "4"
        await world.set_faults(request_budget=None)
        assert "ratelimit-limit" not in (await world.ask("GET", "Calls")).headers


async def test_unknown_paths_are_not_found(world: World) -> None:
    for path in ("/v1/nothing", "/rotary/nothing", "/rotary", "/", "Nothing", "Calls/a/b"):
        reply = await world.ask("GET", path)
        assert (reply.status, reply.text) == (404, "Not Found"), path


async def test_in_application_mode_the_hooks_of_the_body_are_not_even_looked_at(
    world: World,
) -> None:
    async with running({"applications": {APPLICATION: {}}}) as with_application:
        body = world.order(application_sid=APPLICATION, call_hook="/x", call_status_hook=5)
        assert (await with_application.ask("POST", "Calls", body)).status == 201


def test_a_whole_window_never_reads_a_second_more() -> None:
    limit = RateLimit(requests=3, window_s=300)
    for tenths in range(20_000):
        _, headers = Budget().take(limit, tenths / 10)
        assert dict(headers)[b"ratelimit-reset"] == b"300", tenths / 10
