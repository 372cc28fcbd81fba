"""Each fault, by itself: what the client sees, and what the ledger says really happened."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from tests.rotary.test_webhooks import ANSWERED, signed_by
from tests.rotary.world import (
    ACCOUNT,
    CALLER_ID,
    PERSON,
    SECRET,
    Receiver,
    World,
    person,
    running,
    until,
)

from apollo.rotary.faults import FaultPlan, Faults
from apollo.rotary.ledger import Entry
from apollo.rotary.record_store import RecordStore

OTHER = person(1)
# Long enough for what is asked meanwhile, on any machine.
LONG_S = 1.5
TALK = {"preset": "instant", "ring_s": [LONG_S, LONG_S], "talk_s": [LONG_S, LONG_S]}


def faulty(**faults: object) -> dict[str, Any]:
    return {"faults": faults}


async def test_a_delay_before_placing_keeps_the_phone_silent_meanwhile() -> None:
    async with running(faulty(delay_before_placing={"delay_s": 0.2})) as world:
        line = await world.called(call_status_hook=None)
    assert seconds_between(line["requested_at"], line["placed_at"]) > 0.19
    assert line["faults"] == ["delay_before_placing"]


async def test_a_delay_after_placing_lets_the_call_end_before_the_answer(
    receiver: Receiver,
) -> None:
    async with running(faulty(delay_after_placing={"delay_s": LONG_S}), receiver=receiver) as world:
        begun = time.monotonic()
        sid = await world.call()
        assert time.monotonic() - begun > LONG_S - 0.01
        assert receiver.events(sid) == ANSWERED


async def test_a_dropped_reply_leaves_a_call(receiver: Receiver) -> None:
    async with running(faulty(drop_reply={}), receiver=receiver) as world:
        with pytest.raises(aiohttp.ClientConnectionError):
            await world.ask("POST", "Calls", world.order())
        await until(lambda: receiver.events() == ANSWERED)
        await until(lambda: not world.router.exchange.unsettled)
        [line] = await world.ledger()
        stats = (await world.ask("GET", "/rotary/stats")).body
    assert (line["reply"], line["sip_status"]) == ("dropped", 200)
    assert stats["answers"]["dropped"] == 1


async def test_a_call_may_be_placed_and_the_answer_be_500(receiver: Receiver) -> None:
    async with running(faulty(place_then_500={}), receiver=receiver) as world:
        reply = await world.ask("POST", "Calls", world.order())
        assert (reply.status, reply.body) == (500, {"msg": "fetch failed"})
        await until(lambda: receiver.events() == ANSWERED)
        await until(lambda: not world.router.exchange.unsettled)
        [line] = await world.ledger()
    assert (line["reply"], line["call_status"]) == ("500", "completed")


async def test_a_201_may_mean_no_call_at_all(receiver: Receiver) -> None:
    async with running(faulty(never_place={}), receiver=receiver) as world:
        sid = await world.call()
        assert (await world.ask("GET", f"Calls/{sid}")).status == 404
        assert (await world.ask("GET", "RecentCalls?page=1&count=9")).body["total"] == 0
        [line] = await world.ledger()
    assert (line["call_sid"], line["reply"], line["placed_at"]) == (sid, "201", None)
    assert (line["nth_call"], line["live_at_placing"], receiver.heard) == (0, 0, [])


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, '{"msg":"Bad request"}'),
        (401, "Unauthorized"),
        (403, '{"msg":"insufficient permissions"}'),
        (404, "Not Found"),
        (429, "Too many requests, please try again later."),
        (480, '{"msg":"no available feature servers at this time"}'),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ],
)
async def test_a_request_may_be_refused(status: int, text: str) -> None:
    async with running(faulty(refuse={"status": status, "retry_after_s": 7})) as world:
        reply = await world.ask("POST", "Calls", world.order())
        [line] = await world.ledger()
    assert (reply.status, reply.text) == (status, text)
    assert (line["reply"], line["placed_at"]) == (str(status), None)
    assert reply.headers.get("retry-after") == ("7" if status == 429 else None)


async def test_the_carrier_may_go_away_for_some_calls(receiver: Receiver) -> None:
    async with running(faulty(no_carrier={"numbers": [PERSON]}), receiver=receiver) as world:
        assert (await world.called())["sip_status"] == 603
        assert (await world.called(OTHER))["sip_status"] == 200


async def test_a_lost_webhook_is_never_sent(receiver: Receiver) -> None:
    lost = {"events": ["ringing", "completed"]}
    async with running(faulty(webhook_lost=lost), receiver=receiver) as world:
        line = await world.called()
    assert receiver.events() == ["trying", "in-progress"]
    fates = [(one["event"], one["fate"]) for one in line["webhooks"]]
    assert fates == list(zip(ANSWERED, ("delivered", "lost") * 2, strict=True))
    assert line["faults"] == ["webhook_lost:ringing", "webhook_lost:completed"]


async def test_a_doubled_webhook_comes_twice_and_identical(receiver: Receiver) -> None:
    doubled = {"events": ["in-progress"]}
    async with running(faulty(webhook_doubled=doubled), receiver=receiver) as world:
        line = await world.called()
    assert receiver.events() == ["trying", "ringing", "in-progress", "in-progress", "completed"]
    assert receiver.heard[2].raw == receiver.heard[3].raw
    assert receiver.heard[2].headers == receiver.heard[3].headers
    assert len(line["webhooks"][2]["attempts"]) == 2


async def test_a_late_webhook_holds_up_those_behind_it(receiver: Receiver) -> None:
    late = {"events": ["ringing"], "delay_s": 0.3}
    async with running(faulty(webhook_late=late), receiver=receiver) as world:
        await world.called()
    assert receiver.events() == ANSWERED
    assert receiver.heard[1].at - receiver.heard[0].at >= 0.29


async def test_a_reordered_webhook_comes_after_its_successor(receiver: Receiver) -> None:
    async with running(faulty(webhook_reordered={}), receiver=receiver) as world:
        line = await world.called()
    assert receiver.events() == ["ringing", "trying", "completed", "in-progress"]
    assert {one["fate"] for one in line["webhooks"]} == {"delivered"}


async def test_the_first_webhook_may_be_heard_before_the_answer(receiver: Receiver) -> None:
    receiver.held = asyncio.Event()
    async with running(faulty(webhook_before_reply={}), receiver=receiver) as world:
        reply = asyncio.create_task(world.call())
        await until(lambda: receiver.heard)
        assert not reply.done()
        receiver.held.set()
        await world.settled(await reply)


async def test_even_the_last_webhook_may_be_heard_before_the_answer(receiver: Receiver) -> None:
    first = {"events": ["completed"]}
    async with running(faulty(webhook_before_reply=first), receiver=receiver) as world:
        sid = await world.call()
        assert receiver.events(sid) == ANSWERED


async def test_without_a_hook_nobody_waits_for_a_webhook() -> None:
    async with running(faulty(webhook_before_reply={})) as world:
        await world.called(call_status_hook=None)


async def test_a_webhook_may_be_badly_signed(receiver: Receiver) -> None:
    wrong = {"events": ["completed"]}
    async with running(faulty(webhook_badly_signed=wrong), receiver=receiver) as world:
        await world.called()
    assert [signed_by(one, SECRET) for one in receiver.heard] == [True, True, True, False]


async def test_a_silent_call_goes_on_and_nobody_hears_of_it(receiver: Receiver) -> None:
    scenario = {"people": TALK} | faulty(call_silent={"numbers": [PERSON]})
    async with running(scenario, receiver=receiver) as world:
        sid = await world.call()
        await until(lambda: world.router.exchange.calls[sid].line.silent)
        record = (await world.ask("GET", f"Calls/{sid}")).body
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        assert (reply.status, reply.text) == (422, f"call session is gone for call_sid {sid}")
        line = await world.settled(sid)
        other = await world.called(OTHER)
        stale = (await world.ask("GET", f"Calls/{sid}")).body
        details = (await world.ask("GET", "RecentCalls?page=1&count=9")).body
    assert receiver.events(sid) == ["trying", "ringing"]
    assert receiver.events(other["call_sid"]) == ANSWERED
    assert record == stale
    assert record["call_status"] == "ringing"
    assert (line["call_status"], line["terminated_by"]) == ("completed", "caller")
    assert line["webhooks"][-1]["fate"] == "feature server crashed"
    assert details["total"] == 2


async def test_a_crash_silences_every_live_call(receiver: Receiver) -> None:
    crash = {"numbers": [OTHER], "events": ["in-progress"]}
    scenario = {"people": {"preset": "instant", "talk_s": [LONG_S, LONG_S]}} | faulty(crash=crash)
    async with running(scenario, receiver=receiver) as world:
        first = await world.call()
        await until(lambda: receiver.events(first) == ANSWERED[:3])
        second = await world.call(OTHER)
        for sid in (first, second):
            line = await world.settled(sid)
            assert line["ended_at"] is not None
            assert line["webhooks"][-1]["fate"] == "feature server crashed"
        assert receiver.events(first) == ANSWERED[:3]
        await world.called(person(5))
        assert receiver.events()[-1] == "completed"


async def test_a_crash_can_be_asked_for() -> None:
    async with running({"people": {"preset": "instant", "talk_s": [60, 60]}}) as world:
        await world.call()
        assert (await world.ask("POST", "/rotary/crash", key="nope")).status == 401
        reply = await world.ask("POST", "/rotary/crash")
        assert (reply.status, reply.body) == (200, {"calls_silenced": 1})


async def test_a_record_may_expire_at_the_answer(receiver: Receiver) -> None:
    scenario = {"people": TALK} | faulty(record_expires={})
    async with running(scenario, receiver=receiver) as world:
        sid = await world.call()
        await until(lambda: receiver.events(sid) == ANSWERED[:3])
        assert (await world.ask("GET", f"Calls/{sid}")).status == 404
        reply = await world.ask("PUT", f"Calls/{sid}", {"call_status": "completed"})
        assert reply.status == 404
        line = await world.settled(sid)
    assert (line["terminated_by"], line["faults"]) == ("caller", ["record_expires"])


async def test_a_call_detail_record_may_be_late_or_lost() -> None:
    async with running(
        faulty(cdr_late={"delay_s": LONG_S}, cdr_lost={"numbers": [OTHER]})
    ) as world:
        await world.called(call_status_hook=None)
        await world.called(OTHER, call_status_hook=None)
        assert (await world.ask("GET", "RecentCalls?page=1&count=9")).body["total"] == 0
        await until(lambda: world.router.exchange.detail_records)
        page = (await world.ask("GET", "RecentCalls?page=1&count=9")).body
    assert [one["to"] for one in page["data"]] == [PERSON[1:]]


async def test_a_wrong_clock_shows_in_signatures_and_call_detail_records_only(
    receiver: Receiver,
) -> None:
    async with running(faulty(wrong_clock={"offset_s": -7200}), receiver=receiver) as world:
        line = await world.called()
        [record] = (await world.ask("GET", "RecentCalls?page=1&count=9")).body["data"]
    heard = receiver.heard[0]
    assert signed_by(heard, SECRET)
    stamp = int(heard.headers["jambonz-signature"].split(",")[0][2:])
    assert 7190 < time.time() - stamp < 7210
    assert 7190 < seconds_between(record["attempted_at"], line["placed_at"]) < 7210


async def test_a_fault_can_be_kept_to_the_nth_request_for_a_number() -> None:
    async with running(faulty(refuse={"status": 480, "calls": [1, 3]})) as world:
        order = world.order(call_status_hook=None)
        statuses = [(await world.ask("POST", "Calls", order)).status for _ in range(4)]
    assert statuses == [480, 201, 480, 201]


async def test_refused_requests_do_not_move_a_person_s_script_on() -> None:
    script = [{"does": "busy"}, {"does": "answer"}]
    scenario = {
        "people": {"preset": "instant", "by_number": {PERSON: script}},
        "faults": {"refuse": {"status": 480, "calls": [1]}},
    }
    async with running(scenario) as world:
        await world.ask("POST", "Calls", world.order())
        line = await world.called(call_status_hook=None)
    assert (line["does"], line["nth_call"], line["nth_request"]) == ("busy", 1, 2)


async def test_a_rate_strikes_the_same_calls_whatever_their_order() -> None:
    seed = 5
    struck = []
    for order in (range(100), reversed(range(100))):
        async with running(faulty(never_place=0.3), seed=seed) as world:
            for one in order:
                await world.call(person(one), call_status_hook=None)
            await until(lambda: not world.router.exchange.unsettled)
            struck.append({line["to"] for line in await world.ledger() if line["faults"]})
    assert struck[0] == struck[1], f"seed {seed}"
    assert 15 < len(struck[0]) < 45, f"seed {seed}"


async def test_faults_can_be_changed_while_calls_are_up(world: World) -> None:
    await world.set_faults(refuse={"status": 429}, never_place=0.5)
    assert (await world.ask("POST", "Calls", world.order())).status == 429
    await world.set_faults(refuse=None)
    in_force = (await world.ask("GET", "/rotary/faults")).body
    assert in_force == {"never_place": {"rate": 0.5}}
    assert (await world.ask("DELETE", "/rotary/faults")).body == {}
    assert (await world.ask("POST", "Calls", world.order())).status == 201


async def test_changing_faults_takes_the_key_and_sense(world: World) -> None:
    for key in (None, "nope"):
        assert (await world.ask("POST", "/rotary/faults", {}, key=key)).status == 401
    reply = await world.ask("POST", "/rotary/faults", {"webhook_lost": 2, "webhok": 1})
    assert reply.status == 422
    assert len(reply.body["faults"]) == 2
    assert "webhook_lost.rate: Input should be less than or equal to 1" in reply.body["faults"]
    assert (await world.ask("POST", "/rotary/faults", raw=b"[")).status == 422
    assert (await world.ask("GET", "/rotary/faults")).body == {}


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def attempted(sid: str, microsecond: int, *, was_answered: bool = True) -> Entry:
    """A call that is over, placed in one and the same second."""
    at = datetime(2026, 11, 30, 12, 0, 0, microsecond, UTC)
    return Entry(
        call_sid=sid,
        call_id=sid,
        trace_id=sid,
        account_sid=ACCOUNT,
        to=PERSON,
        from_=CALLER_ID,
        nth_request=1,
        requested_at=at,
        placed_at=at,
        answered_at=at if was_answered else None,
    )


@pytest.mark.parametrize(("fault", "kept"), [(None, "abcd"), ({}, "bcd"), ({"within_ms": 9}, "cd")])
def test_the_record_of_a_call_may_overwrite_that_of_another_of_the_same_moment(
    fault: dict[str, int] | None, kept: str
) -> None:
    plan = FaultPlan(Faults.model_validate({"cdr_overwritten": fault}), 1)
    store = RecordStore(plan)
    for entry in (
        attempted("a", 1_000),
        attempted("b", 1_999),
        # One that was not answered has another place.
        attempted("c", 1_500, was_answered=False),
        attempted("d", 2_000),
    ):
        store.write(entry, 0.0)
    assert "".join(entry.call_sid for entry, _ in store) == kept


async def test_a_living_call_may_be_missing_from_the_list_and_by_its_name() -> None:
    async with running({"people": TALK, "faults": {"call_not_listed": {"numbers": [PERSON]}}}) as w:
        sid, other = await w.call(), await w.call(OTHER)
        listed = (await w.ask("GET", "Calls")).body
        assert [one["call_sid"] for one in listed] == [other]
        assert (await w.ask("GET", f"Calls?to={PERSON.replace('+', '%2B')}")).body == []
        for method in ("GET", "PUT", "DELETE"):
            reply = await w.ask(method, f"Calls/{sid}", {"call_status": "completed"})
            assert (reply.status, reply.text) == (404, "Not Found"), method
        await w.set_faults(call_not_listed=None)
        assert (await w.ask("GET", f"Calls/{sid}")).status == 200, "nothing had happened to it"


async def test_without_its_store_of_calls_the_api_says_there_is_none(receiver: Receiver) -> None:
    async with running({"people": TALK}, receiver=receiver) as world:
        sid = await world.call()
        await world.set_faults(call_store_away={"answers_after_s": 0.05})
        begun = time.monotonic()
        reply = await world.ask("POST", "Calls", world.order(OTHER))
        assert (reply.status, reply.body) == (
            480,
            {"msg": "no available feature servers at this time"},
        )
        assert time.monotonic() - begun >= 0.05
        reply = await world.ask("GET", "Calls")
        assert (reply.status, reply.body) == (200, [])
        for method in ("GET", "PUT"):
            reply = await world.ask(method, f"Calls/{sid}", {"call_status": "no-answer"})
            assert reply.status == 404, method
        await until(lambda: receiver.events(sid) == ANSWERED, "webhooks go on meanwhile")
        await world.set_faults(call_store_away=None)
        assert (await world.ask("GET", f"Calls/{sid}")).body["call_status"] == "completed"


async def test_a_store_of_calls_that_was_emptied_stays_empty() -> None:
    async with running({"people": TALK}) as world:
        sid = await world.call()
        await world.set_faults(call_store_away={"forgets": True})
        await world.set_faults(call_store_away=None)
        assert (await world.ask("GET", "Calls")).body == []
        assert (await world.ask("PUT", f"Calls/{sid}", {"call_status": "no-answer"})).status == 404
        other = await world.call(OTHER)
        assert [one["call_sid"] for one in (await world.ask("GET", "Calls")).body] == [other]


async def test_without_its_store_of_keys_everything_is_500_and_nothing_is_forwarded() -> None:
    async with running(faulty(key_store_away=True)) as world:
        for method, path in (
            ("POST", "Calls"),
            ("GET", "Calls"),
            ("GET", "RecentCalls?page=1&count=1"),
        ):
            reply = await world.ask(method, path, world.order(), key="nope")
            assert reply.status == 500, path
            assert reply.body == {"msg": "connect ECONNREFUSED 127.0.0.1:3306"}
        assert (await world.ask("GET", "Calls", key=None)).status == 401, "no key to look for"
        assert await world.ledger() == []


async def test_without_its_store_of_records_they_are_neither_read_nor_written() -> None:
    async with running(faulty(record_store_away=True)) as world:
        await world.called()
        reply = await world.ask("GET", "RecentCalls?page=1&count=9")
        assert (reply.status, reply.body) == (500, {"msg": "connect ECONNREFUSED 127.0.0.1:8086"})
        await world.set_faults(record_store_away=False)
        await world.called(OTHER)
        page = (await world.ask("GET", "RecentCalls?page=1&count=9")).body
        assert [one["to"] for one in page["data"]] == [OTHER[1:]]


@pytest.mark.parametrize(("servers", "then"), [(1, 480), (2, 201)])
async def test_a_dead_feature_server_is_asked_until_it_is_registered_no_more(
    servers: int, then: int
) -> None:
    dead = {"dead_feature_server": {"registered_s": 0.2}}
    async with running({"api": {"feature_servers": servers}, "faults": dead}) as world:
        reply = await world.ask("POST", "Calls", world.order())
        assert (reply.status, reply.body) == (500, {"msg": "fetch failed"})
        async with asyncio.timeout(10):
            while reply.status == 500:
                reply = await world.ask("POST", "Calls", world.order(OTHER))
        assert reply.status == then
        lines = await world.ledger()
    assert (lines[0]["reply"], lines[0]["placed_at"]) == ("500", None)
    assert lines[0]["faults"] == ["dead_feature_server"]


async def test_a_refusal_may_have_words_of_its_own() -> None:
    says = "connect ECONNREFUSED 127.0.0.1:3306"
    async with running(faulty(refuse={"status": 500, "says": says})) as world:
        reply = await world.ask("POST", "Calls", world.order())
        assert (reply.status, reply.body) == (500, {"msg": says})
        [line] = await world.ledger()
    assert (line["reply"], line["placed_at"]) == ("500", None)


async def test_look_ups_may_be_slow_while_calls_are_placed_at_once() -> None:
    slow = faulty(lookups_slow={"answers_after_s": [0.1, 0.2]})
    async with running(slow) as world:
        begun = time.monotonic()
        await world.call()
        placed = time.monotonic()
        await world.ask("GET", "Calls")
        assert time.monotonic() - placed >= 0.1 > placed - begun


async def test_a_delay_may_be_drawn_between_two_bounds_and_is_shown_as_given() -> None:
    async with running(faulty(delay_before_placing={"delay_s": [0.05, 0.1]})) as world:
        first, second = await world.called(), await world.called(OTHER)
        waited = [seconds_between(x["requested_at"], x["placed_at"]) for x in (first, second)]
        assert all(0.05 <= seconds < 0.2 for seconds in waited)
        assert waited[0] != waited[1]
        shown = (await world.ask("GET", "/rotary/faults")).body
        assert shown == {"delay_before_placing": {"delay_s": [0.05, 0.1]}}
        await world.set_faults(delay_before_placing={"delay_s": 0.5})
        shown = (await world.ask("GET", "/rotary/faults")).body
        assert shown == {"delay_before_placing": {"delay_s": 0.5}}
