"""Looking calls up and ending them, with jambonz's words for every case."""

from typing import Any
from uuid import uuid4

import pytest
from tests.rotary.world import (
    ACCOUNT,
    APPLICATION,
    CALLER_ID,
    PERSON,
    Receiver,
    World,
    person,
    running,
    until,
)

LONG_RING = {"does": "answer", "ring_s": 600}
LONG_TALK = {"does": "answer", "talk_s": 600}


def doing(behaviour: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"people": {"preset": "instant", "by_number": {PERSON: behaviour}}} | more


async def ringing(world: World) -> str:
    sid = await world.call()
    await until(lambda: world.router.exchange.calls[sid].call_status == "ringing")
    return sid


async def talking(world: World) -> str:
    sid = await world.call()
    await until(lambda: world.router.exchange.calls[sid].call_status == "in-progress")
    return sid


async def test_a_call_can_be_read_without_its_tag_and_without_times(world: World) -> None:
    line = await world.called()
    record = (await world.ask("GET", f"Calls/{line['call_sid']}")).body
    assert set(record) == {
        "service_url",
        "call_sid",
        "direction",
        "from",
        "to",
        "call_id",
        "sbc_callid",
        "sip_status",
        "sip_reason",
        "call_status",
        "account_sid",
        "trace_id",
        "fs_sip_address",
        "call_termination_by",
        "duration",
    }
    assert (record["call_status"], record["to"]) == ("completed", PERSON)
    assert record["account_sid"] == ACCOUNT


async def test_unknown_calls_are_not_found_and_bad_ids_are_bad_requests(world: World) -> None:
    for method, body in (("GET", None), ("PUT", {"call_status": "completed"}), ("DELETE", None)):
        reply = await world.ask(method, f"Calls/{uuid4()}", body)
        assert (reply.status, reply.text) == (404, "Not Found")
        for sid in ("xyz", "count"):
            reply = await world.ask(method, f"Calls/{sid}", body)
            assert (reply.status, reply.body) == (400, {"msg": "Bad request"})


async def test_an_answered_call_is_completed_by_put(receiver: Receiver) -> None:
    async with running(doing(LONG_TALK), receiver=receiver) as world:
        sid = await talking(world)
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        assert (reply.status, reply.text) == (202, "Accepted")
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        line = await world.settled(sid)
        last = receiver.heard[-1].body
        assert (last["call_status"], last["call_termination_by"]) == ("completed", "jambonz")
        assert (line["terminated_by"], line["duration"]) == ("jambonz", 0)
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        assert (reply.status, reply.text) == (422, f"call session is gone for call_sid {sid}")
        assert reply.headers["content-type"] == "text/html; charset=utf-8"


async def test_post_updates_like_put(receiver: Receiver) -> None:
    async with running(doing(LONG_TALK), receiver=receiver) as world:
        sid = await talking(world)
        reply = await world.ask("POST", f"Calls/{sid}", {"call_status": "completed"})
        assert reply.status == 202


async def test_the_wrong_way_to_end_a_call_is_incompatible(receiver: Receiver) -> None:
    words = "current call state is incompatible with requested action for call_sid"
    async with running(doing(LONG_RING), receiver=receiver) as world:
        sid = await ringing(world)
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        assert (reply.status, reply.text) == (422, f"{words} {sid}")
    async with running(doing(LONG_TALK), receiver=receiver) as world:
        sid = await talking(world)
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "no-answer"})
        assert (reply.status, reply.text) == (422, f"{words} {sid}")


async def test_cancelling_a_ringing_call_loses_its_last_webhook(receiver: Receiver) -> None:
    async with running(doing(LONG_RING), receiver=receiver) as world:
        sid = await ringing(world)
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "no-answer"})
        assert (reply.status, reply.text) == (202, "Accepted")
        line = await world.settled(sid)
        record = (await world.ask("GET", f"Calls/{sid}")).body
    assert receiver.events() == ["trying", "ringing"]
    assert (record["call_status"], record["sip_status"]) == ("no-answer", 487)
    assert line["webhooks"][-1]["fate"] == "client torn down"


async def test_cancelling_fast_enough_keeps_the_last_webhook(receiver: Receiver) -> None:
    async with running(doing(LONG_RING, carrier={"cancel_s": 0}), receiver=receiver) as world:
        sid = await ringing(world)
        await world.ask("PUT", f"Calls/{sid}", {"call_status": "no-answer"})
        await world.settled(sid)
    assert receiver.events() == ["trying", "ringing", "no-answer"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"call_status": "busy"}, "invalid call_status"),
        ({}, "no valid options supplied to updateCall"),
        ({"call_status_hook": "https://x.example"}, "no valid options supplied to updateCall"),
        (
            {"call_status": "completed", "tag": {}},
            "multiple options are not allowed in updateCall",
        ),
    ],
)
async def test_updates_that_make_no_sense(
    world: World, body: dict[str, object], words: str
) -> None:
    reply = await world.ask("PUT", f"Calls/{uuid4()}", body)
    assert (reply.status, reply.body) == (400, {"msg": words})


async def test_a_new_tag_shows_in_later_webhooks_only(receiver: Receiver) -> None:
    async with running(doing(LONG_TALK), receiver=receiver) as world:
        sid = await talking(world)
        reply = await world.ask("PUT", f"Calls/{sid}", {"tag": {"execution_id": "changed"}})
        assert reply.status == 202
        await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        line = await world.settled(sid)
    tags = [one.body["customerData"]["execution_id"] for one in receiver.heard]
    assert tags == ["e-1", "e-1", "e-1", "changed"]
    assert line["tag"] == {"execution_id": "e-1"}


async def test_delete_forgets_the_call_and_does_not_hang_up(receiver: Receiver) -> None:
    scenario = doing({"does": "answer", "talk_s": 1.5})
    async with running(scenario, receiver=receiver) as world:
        sid = await talking(world)
        reply = await world.ask("DELETE", f"Calls/{sid}")
        assert (reply.status, reply.text) == (204, "")
        assert (await world.ask("GET", f"Calls/{sid}")).status == 404
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        assert reply.status == 404
        assert world.router.ledger.live_now == 1
        line = await world.settled(sid)
        record = (await world.ask("GET", f"Calls/{sid}")).body
        listed = (await world.ask("GET", "Calls")).body
    assert receiver.events()[-1] == "completed"
    assert line["terminated_by"] == "caller"
    assert record["call_status"] == "completed"
    assert "service_url" not in record
    assert listed == []


async def test_the_list_matches_exactly_and_ignores_what_it_does_not_know(world: World) -> None:
    first = await world.called(person(1))
    await world.called(person(2), **{"from": "+447400123456"})
    everything = (await world.ask("GET", "Calls")).body
    assert len(everything) == 2
    for query, found in (
        ("tag=e-1", 2),
        ("direction=outbound", 2),
        ("direction=inbound", 0),
        (f"to=%2B{person(1)[1:]}", 1),
        (f"to={person(1)[1:]}", 0),
        ("from=%2B447400123456", 1),
        ("callStatus=completed", 2),
        ("callStatus=busy", 0),
        (f"to=%2B{person(1)[1:]}&callStatus=busy", 0),
    ):
        assert len((await world.ask("GET", f"Calls?{query}")).body) == found, query
    one = (await world.ask("GET", f"Calls?to=%2B{person(1)[1:]}")).body[0]
    assert one["call_sid"] == first["call_sid"]


async def test_a_record_expires_and_leaves_a_shadow_in_the_whole_list() -> None:
    scenario = doing({"does": "busy"}, api={"record_lifetime_s": 0})
    async with running(scenario) as world:
        line = await world.called(call_status_hook=None)
        assert (await world.ask("GET", f"Calls/{line['call_sid']}")).status == 404
        assert (await world.ask("GET", "Calls")).body == [{}]
        assert (await world.ask("GET", "Calls?direction=outbound")).body == []


async def test_the_count_of_calls(receiver: Receiver) -> None:
    async with running(doing(LONG_TALK), receiver=receiver) as world:
        await world.call()
        assert (await world.ask("GET", "CallCount")).body == {"inbound": 0, "outbound": 1}


async def test_call_detail_records_have_lost_their_plus_and_keep_the_sip_code(
    world: World,
) -> None:
    line = await world.called()
    page = (await world.ask("GET", "RecentCalls?page=1&count=25")).body
    assert (page["total"], page["page"], page["page_size"]) == (1, "1", "25")
    [record] = page["data"]
    assert (record["from"], record["to"]) == (CALLER_ID[1:], PERSON[1:])
    assert (record["answered"], record["sip_status"], record["duration"]) == (True, 200, 0)
    assert record["termination_reason"] == "called party hungup"
    assert (record["call_sid"], record["sip_callid"]) == (line["call_sid"], line["call_id"])
    assert record["direction"] == "outbound"
    assert record["attempted_at"].endswith("Z")


async def test_an_unanswered_call_detail_record_was_answered_in_1970() -> None:
    async with running(doing({"does": "busy"})) as world:
        await world.called()
        [record] = (await world.ask("GET", "RecentCalls?page=1&count=25")).body["data"]
    assert record["answered"] is False
    assert record["answered_at"] == "1970-01-01T00:00:00.000Z"
    assert (record["sip_status"], record["termination_reason"]) == (486, "failed")


async def test_call_detail_records_are_filtered_and_paged(world: World) -> None:
    lines = [await world.called(person(number)) for number in range(3)]
    for query, found in (
        ("", 3),
        (f"&filter={lines[1]['call_sid']}", 1),
        (f"&filter={person(2)[1:]}", 1),
        (f"&filter=%2B{person(2)[1:]}", 0),
        ("&filter=9876500", 3),
        ("&filter=nosuch", 0),
        ("&answered=true", 3),
        ("&answered=false", 0),
        ("&direction=inbound", 0),
        ("&trunk=nosuch", 0),
        ("&days=1", 3),
        ("&start=2001-01-01T00:00:00Z", 3),
        ("&end=2001-01-01T00:00:00Z", 0),
    ):
        reply = await world.ask("GET", f"RecentCalls?page=1&count=10{query}")
        assert reply.body["total"] == len(reply.body["data"]) == found, query
    second = (await world.ask("GET", "RecentCalls?page=2&count=2")).body
    assert (second["total"], second["page"]) == (3, "2")
    assert [one["call_sid"] for one in second["data"]] == [lines[0]["call_sid"]]


@pytest.mark.parametrize(
    ("query", "name"),
    [("", "page"), ("page=0&count=5", "page"), ("page=1", "count"), ("page=1&count=501", "count")],
)
async def test_page_and_count_are_compulsory(world: World, query: str, name: str) -> None:
    reply = await world.ask("GET", f"RecentCalls?{query}")
    assert (reply.status, reply.body) == (400, {"msg": f'missing or invalid "{name}" query arg'})


async def test_a_call_in_progress_has_no_call_detail_record_yet() -> None:
    async with running(doing(LONG_TALK)) as world:
        await talking(world)
        assert (await world.ask("GET", "RecentCalls?page=1&count=9")).body["total"] == 0


async def test_an_application_can_be_read() -> None:
    hook = {"url": "https://example.com/status", "username": "u", "password": "p"}
    scenario = {"applications": {APPLICATION: {"name": "Apollo", "call_status_hook": hook}}}
    async with running(scenario) as world:
        reply = await world.ask("GET", f"/v1/Applications/{APPLICATION}")
        assert reply.status == 200
        assert (reply.body["application_sid"], reply.body["name"]) == (APPLICATION, "Apollo")
        assert reply.body["call_status_hook"] == hook | {"method": "POST"}
        assert reply.body["call_hook"] is None
        assert (await world.ask("GET", f"/v1/Applications/{uuid4()}")).status == 404
        assert (await world.ask("GET", "/v1/Applications/abc")).status == 400
        assert (await world.ask("GET", f"/v1/Applications/{APPLICATION}", key="x")).status == 401


async def test_the_same_request_twice_is_two_calls(world: World) -> None:
    first, second = await world.called(), await world.called()
    assert first["call_sid"] != second["call_sid"]
    assert (first["nth_call"], second["nth_call"]) == (1, 2)
