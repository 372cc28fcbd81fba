"""The reconciler in front of a provider that says odd things, or nothing any more."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from tests.builders import DEADLINES, World, a_world
from tests.drivers.jambonz_stand_in import StandIn, record_of

from apollo.core.events import CallAnswered, Evidence
from apollo.ports import HangUpAnswer
from apollo.telephony.jambonz import JambonzDriver
from apollo.usecases import reconcile_calls
from apollo.usecases.reconcile_calls import ReconcileCalls
from apollo.usecases.record_call_events import Arrival, RecordCallEvents
from apollo.wiring.parts import SystemClock


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with a_world(database_url) as opened:
        yield opened


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn().serving() as one:
        yield one


class HeardMeanwhile(JambonzDriver):
    """Something else happens to a call while it is being hung up."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def hang_up(self, provider_call_id: str, *, was_answered: bool) -> HangUpAnswer:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super().hang_up(provider_call_id, was_answered=was_answered)


@pytest.fixture
async def driver(stand_in: StandIn) -> AsyncIterator[HeardMeanwhile]:
    driver = HeardMeanwhile(
        base_url=stand_in.base_url,
        account_sid=stand_in.account_sid,
        api_key=stand_in.api_key,
        webhook_secret=stand_in.webhook_secret,
        public_url="http://127.0.0.1:9",
        clock=SystemClock(),
    )
    yield driver
    await driver.close()


def reconcile(world: World, driver: JambonzDriver) -> ReconcileCalls:
    return ReconcileCalls(
        db=world.db,
        driver=driver,
        clock=world.clock,
        deadlines=DEADLINES,
        record=RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True),
    )


async def overdue_calls(world: World, driver: JambonzDriver, people: int, age: str) -> list[str]:
    """Calls that are past their deadline; gives the names the provider has for them."""
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id, people)
    claimed = await world.claim(campaign_id)
    names = [str(uuid.UUID(int=n + 1)) for n in range(people)]
    for name, job in zip(names, claimed.calls, strict=True):
        await world.sql(
            "update calls set provider = $2, provider_call_id = $3, state = 'accepted',"
            " deadline_at = now(), requested_at = now() - $4::text::interval where id = $1",
            job.call.id,
            driver.provider,
            name,
            age,
        )
    return names


async def silent_calls(world: World, driver: JambonzDriver, people: int) -> list[str]:
    """Calls that rang a minute ago and are not due for a long time."""
    names = await overdue_calls(world, driver, people, "2 minutes")
    await world.sql(
        "update calls set state = 'ringing', deadline_at = now() + interval '1 hour',"
        " heard_at = now() - interval '1 minute', ringing_at = now() - interval '1 minute'"
    )
    return names


def live(
    name: str, call_status: str, sip_status: int, *, to: str = "+919876500001"
) -> dict[str, Any]:
    return {
        "call_sid": name,
        "call_id": f"sip-{name}",
        "direction": "outbound",
        "from": "+919876543210",
        "to": to,
        "call_status": call_status,
        "sip_status": sip_status,
    }


@pytest.mark.parametrize("people", [3, 6])
async def test_when_nothing_is_heard_of_any_call_the_provider_is_asked_for_all(
    world: World, driver: JambonzDriver, stand_in: StandIn, people: int
) -> None:
    names = await silent_calls(world, driver, people)
    stand_in.calls[names[0]] = live(names[0], "busy", 486)
    (second,) = await world.sql(
        "select phone_number from calls where provider_call_id = $1", names[1]
    )
    over = live(names[1], "completed", 200, to=second["phone_number"])
    stand_in.records.append(record_of(over))
    # Of the third neither tells anything, and nothing is concluded from that.
    for name in names[3:]:
        stand_in.calls[name] = live(name, "in-progress", 200)
    await reconcile(world, driver).poll_silent()
    calls = await world.sql(
        "select state, outcome, evidence from calls order by provider_call_id limit 4"
    )
    found = [("ended", "busy", "poll"), ("ended", "completed", "cdr"), ("ringing", None, None)]
    assert [tuple(call) for call in calls[:3]] == found
    assert [call["state"] for call in calls[3:]] == ["answered"] * (people > 3)


@pytest.mark.parametrize("is_heard_of", [False, True])
async def test_calls_that_are_made_meanwhile_do_not_break_a_silence(
    world: World, driver: JambonzDriver, stand_in: StandIn, is_heard_of: bool
) -> None:
    names = await silent_calls(world, driver, 2)
    stand_in.calls[names[0]] = live(names[0], "busy", 486)
    await world.sql(
        "update calls set heard_at = case when $2 then now() end, ringing_at = null,"
        " requested_at = now(), state = 'accepted' where provider_call_id = $1",
        names[1],
        is_heard_of,
    )
    await reconcile(world, driver).poll_silent()
    calls = await world.sql("select state from calls order by provider_call_id")
    assert [call["state"] for call in calls] == ["ended", "accepted"]


async def test_a_call_is_not_kept_from_its_record_by_another_that_fell_silent_before(
    world: World, driver: JambonzDriver, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_calls, "_POLL_EVERY_S", 0.0)
    names = await silent_calls(world, driver, 2)
    await world.sql("update calls set heard_at = null where provider_call_id = $1", names[0])
    later = "update calls set heard_at = now() where provider_call_id = $1"
    await world.sql(later, names[1])
    reconciler = reconcile(world, driver)
    await reconciler.poll_silent()
    assert stand_in.seen["GET RecentCalls"] == 1
    await world.sql(later.replace("now()", "now() - interval '1 minute'"), names[1])
    await reconciler.poll_silent()
    await reconciler.poll_silent()
    assert stand_in.seen["GET RecentCalls"] == 2


async def test_a_ringing_phone_is_no_silence_while_others_are_heard_of(
    world: World, driver: JambonzDriver, stand_in: StandIn
) -> None:
    names = await silent_calls(world, driver, 3)
    for name in names:
        stand_in.calls[name] = live(name, "busy", 486)
    await world.sql("update calls set heard_at = now() where provider_call_id = $1", names[0])
    await world.sql("update calls set heard_at = null where provider_call_id = $1", names[1])
    await reconcile(world, driver).poll_silent()
    calls = await world.sql("select state from calls order by provider_call_id")
    assert [call["state"] for call in calls] == ["ringing", "ended", "ringing"]


async def test_one_end_that_cannot_be_written_does_not_hold_up_the_others(
    world: World, driver: JambonzDriver, stand_in: StandIn
) -> None:
    names = await overdue_calls(world, driver, 3, "1 minute")
    for name in names:
        stand_in.calls[name] = live(name, "busy", 486)
    await world.sql(
        f"alter table calls add check (provider_call_id <> '{names[1]}' or ended_at is null)"
    )
    recorded = await reconcile(world, driver).run()
    assert len(recorded.offs) == 2
    states = await world.sql("select state from calls order by provider_call_id")
    assert [row["state"] for row in states] == ["ended", "accepted", "ended"]


async def test_one_call_that_cannot_be_looked_at_does_not_hold_up_the_others(
    world: World, driver: HeardMeanwhile, stand_in: StandIn
) -> None:
    names = await overdue_calls(world, driver, 3, "1 minute")
    for name in names:
        stand_in.calls[name] = live(name, "in-progress" if name == names[1] else "busy", 486)
    await world.sql(
        "update calls set state = 'answered', answered_at = now() where provider_call_id = $1",
        names[1],
    )

    async def break_down() -> None:
        raise AssertionError("a defect of ours")

    driver.meanwhile = break_down
    assert len((await reconcile(world, driver).run()).offs) == 2
    calls = await world.sql(
        "select state, deadline_at > now() + interval '30 seconds' as is_put_off"
        " from calls order by provider_call_id"
    )
    assert [call["state"] for call in calls] == ["ended", "answered", "ended"]
    assert calls[1]["is_put_off"]


async def test_values_that_no_call_can_have_end_it_all_the_same(
    world: World, driver: JambonzDriver, stand_in: StandIn
) -> None:
    (name,) = await overdue_calls(world, driver, 1, "1 minute")
    odd = {"sip_status": 486_486, "duration": 10**12, "sip_reason": "a\0b" * 900}
    stand_in.calls[name] = live(name, "completed", 200) | odd
    await reconcile(world, driver).run()
    (call,) = await world.sql("select state, outcome, sip_status, duration_seconds from calls")
    assert tuple(call) == ("ended", "completed", None, None)


@pytest.mark.parametrize(
    ("age", "state", "outcome"),
    [("1 minute", "unknown", None), ("11 minutes", "ended", "failed")],
)
async def test_an_unknown_call_whose_name_is_known_ends_when_the_quarantine_is_over(
    world: World, driver: JambonzDriver, age: str, state: str, outcome: str | None
) -> None:
    await overdue_calls(world, driver, 1, age)
    await world.sql("update calls set state = 'unknown'")
    await reconcile(world, driver).run()
    (call,) = await world.sql("select state, outcome, hangup_reason, deadline_at from calls")
    assert (call["state"], call["outcome"]) == (state, outcome)
    assert (call["hangup_reason"] == "outcome_unknown") == (state == "ended")
    assert (call["deadline_at"] is None) == (state == "ended")


@pytest.mark.parametrize(
    ("state", "overdue", "then"),
    [
        # Nobody was asked about it, so nobody may be called again for it.
        ("accepted", "61 minutes", ("ended", "failed", "outcome_unknown")),
        ("answered", "61 minutes", ("ended", "completed", "no_end_event")),
        ("unknown", "61 minutes", ("ended", "failed", "outcome_unknown")),
        ("placing", "61 minutes", ("unknown", None, None)),
        ("accepted", "59 minutes", ("accepted", None, None)),
        ("placing", "59 minutes", ("placing", None, None)),
    ],
)
async def test_calls_of_an_account_that_nobody_is_set_up_for_end_when_nobody_has_asked_for_an_hour(
    world: World,
    driver: HeardMeanwhile,
    stand_in: StandIn,
    state: str,
    overdue: str,
    then: tuple[str, str | None, str | None],
) -> None:
    await overdue_calls(world, driver, 1, "3 hours")
    await world.sql(
        "update calls set provider = 'jambonz:former', state = $1,"
        " answered_at = case when $1 = 'answered' then requested_at end,"
        " provider_call_id = case when $1 in ('accepted', 'answered') then provider_call_id end,"
        " deadline_at = now() - $2::text::interval",
        state,
        overdue,
    )
    await reconcile(world, driver).run()
    (call,) = await world.sql("select state, outcome, hangup_reason from calls")
    assert tuple(call) == then
    assert not stand_in.seen, "this provider knows nothing of the other's calls"


async def test_a_look_up_puts_no_deadline_off_that_an_answer_has_set_meanwhile(
    world: World, driver: HeardMeanwhile, stand_in: StandIn
) -> None:
    (name,) = await overdue_calls(world, driver, 1, "3 minutes")
    stand_in.calls[name] = live(name, "trying", 100)
    record = RecordCallEvents(db=world.db, deadlines=DEADLINES, wakes_by_notify=True)
    answer = CallAnswered(at=datetime.now(UTC), evidence=Evidence.WEBHOOK)
    driver.meanwhile = partial(record.record, [Arrival(None, answer, name)])
    await reconcile(world, driver).run()
    (call,) = await world.sql("select state, deadline_at - answered_at as left from calls")
    assert (call["state"], call["left"]) == ("answered", timedelta(minutes=32))


async def beside(world: World, driver: JambonzDriver, stand_in: StandIn) -> list[str]:
    """Three calls past their deadline: the first and the last are over, the second is nowhere."""
    names = await overdue_calls(world, driver, 3, "3 minutes")
    numbers = await world.sql("select provider_call_id, phone_number, id from calls order by 1")
    for n in (0, 2):
        name = names[n]
        over = live(name, "busy", 486, to=numbers[n]["phone_number"])
        stand_in.calls[name] = over
        stand_in.records.append(record_of(over))
        await world.sql(
            "update calls set heard_at = requested_at, ringing_at = requested_at,"
            " requested_at = requested_at + $2::interval, state = 'ended', deadline_at = null,"
            " ended_at = requested_at + $2::interval + interval '10 seconds',"
            " outcome = 'busy', evidence = 'webhook' where provider_call_id = $1",
            name,
            timedelta(seconds=20 * (n - 1)),
        )
    return names


async def fate(world: World, name: str) -> tuple[str, str | None, str | None, str]:
    (row,) = await world.sql(
        "select k.state, k.outcome, k.hangup_reason, c.status"
        " from calls k join contacts c using (batch_id, position) where provider_call_id = $1",
        name,
    )
    return tuple(row)


async def test_who_is_in_neither_place_is_called_again_where_both_know_the_calls_beside(
    world: World, driver: JambonzDriver, stand_in: StandIn
) -> None:
    names = await beside(world, driver, stand_in)
    await reconcile(world, driver).run()
    assert await fate(world, names[1]) == ("ended", "no_answer", "no_end_event", "retrying")


@pytest.mark.parametrize("blind", ["live list", "records", "both"])
async def test_nobody_is_called_again_while_a_place_knows_nothing_of_that_time(
    world: World, driver: JambonzDriver, stand_in: StandIn, blind: str
) -> None:
    names = await beside(world, driver, stand_in)
    if blind != "records":
        stand_in.calls.clear()  # Redis is away, or came back empty: `[]`, and 404 for each call
    if blind != "live list":
        stand_in.records.clear()
    await reconcile(world, driver).run()
    assert await fate(world, names[1]) == ("accepted", None, None, "dispatched")
    (call,) = await world.sql(
        "select deadline_at > now() as later from calls where state <> 'ended'"
    )
    assert call["later"], "it is looked for again"


@pytest.mark.parametrize(
    ("age", "is_over"), [("3 minutes", False), ("32 minutes", False), ("33 minutes", True)]
)
async def test_the_only_call_there_is_is_held_when_it_must_be_over_and_not_called_again(
    world: World, driver: JambonzDriver, age: str, *, is_over: bool
) -> None:
    (name,) = await overdue_calls(world, driver, 1, age)
    await reconcile(world, driver).run()
    held = ("ended", "failed", "outcome_unknown", "failed")
    assert await fate(world, name) == (held if is_over else ("accepted", None, None, "dispatched"))


async def test_a_call_that_is_back_when_the_others_were_asked_for_is_not_gone(
    world: World, driver: JambonzDriver, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await beside(world, driver, stand_in)
    real, asked = driver.read_call, list[str]()

    async def read_call(name: str) -> Any:
        if not asked:  # the list of calls was away for this one look
            asked.append(name)
            return None
        asked.append(name)
        return await real(name)

    (row,) = await world.sql("select phone_number from calls where state = 'accepted'")
    stand_in.calls[names[1]] = live(names[1], "trying", 100, to=row["phone_number"])
    monkeypatch.setattr(driver, "read_call", read_call)
    await reconcile(world, driver).run()
    assert asked == [names[1], names[0], names[2], names[1]]
    assert (await fate(world, names[1]))[0] == "accepted"
