"""What the carrier cannot carry comes back as a SIP code, never as an HTTP error."""

from typing import Any

from tests.rotary.world import Receiver, World, person, running, until

TALK = {"preset": "instant", "talk_s": [60, 60]}


async def place_many(world: World, count: int, **changes: object) -> list[str]:
    return [await world.call(person(one), **changes) for one in range(count)]


async def test_without_a_carrier_each_call_ends_with_603_without_ringing(
    receiver: Receiver,
) -> None:
    async with running({"carrier": {"up": False}}, receiver=receiver) as world:
        line = await world.called()
        records = (await world.ask("GET", "RecentCalls?page=1&count=9")).body
    assert receiver.events() == ["trying", "busy"]
    assert (line["sip_status"], line["rang_at"]) == (603, None)
    assert line["placed_at"] is not None
    assert line["reached_carrier"] is False
    assert records["total"] == 0


async def test_calls_above_the_channels_get_503_and_the_reason(receiver: Receiver) -> None:
    scenario = {"people": TALK, "carrier": {"channels": 2}}
    async with running(scenario, receiver=receiver) as world:
        sids = await place_many(world, 3)
        line = await world.settled(sids[2])
        assert line["sip_status"] == 503
        last = next(one.body for one in receiver.heard if one.body["call_sid"] == sids[2])
        assert last["call_status"] == "trying"
        reasons = [
            one.body["sip_reason"] for one in receiver.heard if one.body["call_sid"] == sids[2]
        ]
        assert reasons == ["Trying", "Maximum Calls In Progress"]
        calls = world.router.exchange.calls
        await until(lambda: calls[sids[0]].call_status == "in-progress")
        await world.ask("PUT", f"Calls/{sids[0]}", {"call_status": "completed"})
        await world.settled(sids[0])
        sid = await world.call(person(9))
        await until(lambda: calls[sid].call_status == "in-progress")


async def test_more_calls_a_second_than_agreed_get_503() -> None:
    async with running({"carrier": {"calls_per_second": 3}}) as world:
        sids = await place_many(world, 5, call_status_hook=None)
        codes = [(await world.settled(sid))["sip_status"] for sid in sids]
    assert codes == [200, 200, 200, 503, 503]


def spam(**rules: object) -> dict[str, Any]:
    return {"carrier": {"spam": {"calls": 3, "window_s": 600} | rules}}


async def test_an_overused_caller_id_is_refused_and_others_are_not() -> None:
    async with running(spam()) as world:
        sids = await place_many(world, 6, call_status_hook=None)
        codes = [(await world.settled(sid))["sip_status"] for sid in sids]
        assert codes[:3] == [200] * 3
        assert set(codes[3:]) <= {603, 608}
        fresh = await world.called(person(7), **{"from": "+447400123456", "call_status_hook": None})
        assert fresh["sip_status"] == 200


async def test_the_share_and_the_codes_of_refusals_can_be_set() -> None:
    seed = 11
    async with running(spam(rate=0.5, sip=[607]), seed=seed) as world:
        sids = await place_many(world, 43, call_status_hook=None)
        codes = [(await world.settled(sid))["sip_status"] for sid in sids]
    assert set(codes[3:]) == {200, 607}, f"seed {seed}"
    assert 8 < codes.count(607) < 32, f"seed {seed}"


async def test_a_caller_id_recovers_when_the_window_has_passed() -> None:
    async with running(spam(calls=1, window_s=0)) as world:
        sids = await place_many(world, 3, call_status_hook=None)
        assert {(await world.settled(sid))["sip_status"] for sid in sids} == {200}


async def test_a_caller_id_that_is_not_on_the_trunk_gets_403_and_others_do_not(
    receiver: Receiver,
) -> None:
    scenario = {"people": TALK, "carrier": {"refused_callers": ["+14155550123"]}}
    async with running(scenario, receiver=receiver) as world:
        refused, taken = [
            await world.call(person(n), **{"from": caller})
            for n, caller in enumerate(("+14155550123", "+14155550199"))
        ]
        line = await world.settled(refused)
        assert (line["sip_status"], line["reached_carrier"]) == (403, False)
        assert taken in world.router.exchange.calls
        assert world.router.exchange.calls[taken].entry.ended_at is None
