"""What the driver port promises, asked of every provider: written against the port alone."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from tests.drivers.conftest import (
    DEADLINE_S,
    INLINE,
    DriverFor,
    Inbox,
    Provider,
    call_id,
    request_to,
)

from apollo.core.events import CallAnswered, CallEnded, CallRinging, CallTrying, Evidence
from apollo.errors import NotPlaced, OutcomeUnknown, WillNeverWork
from apollo.ports import AgentRoute, HangUpAnswer, LiveCall, TelephonyDriver
from apollo.telephony.jambonz import JambonzDriver

T = TypeVar("T")

RINGS = "+919876543210"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def driver(provider: Provider, driver_for: DriverFor) -> JambonzDriver:
    return driver_for(
        provider.base_url,
        account_sid=provider.account_sid,
        api_key=provider.api_key,
        webhook_secret=provider.webhook_secret,
    )


async def until(look: Callable[[], Awaitable[T]], is_it: Callable[[T], bool]) -> T:
    """Ask again and again until the answer is the awaited one; fails at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_it(found := await look()):  # noqa: ASYNC110 - the condition is at a server
            await asyncio.sleep(0.005)
    return found


async def placed(driver: TelephonyDriver, number: str = RINGS) -> str:
    ids = await driver.place(request_to(number))
    assert ids.provider_call_id is not None
    return ids.provider_call_id


async def status_becomes(driver: TelephonyDriver, sid: str, status: str) -> LiveCall:
    def is_it(call: LiveCall | None) -> bool:
        return call is not None and call.call_status == status

    call = await until(lambda: driver.read_call(sid), is_it)
    assert call is not None
    return call


def test_the_driver_is_one_by_the_port(driver: JambonzDriver) -> None:
    port: TelephonyDriver = driver
    assert port.provider.startswith("jambonz:")
    assert port.status_hook_url.endswith("/webhooks/call-status#rc=5&rp=all")


@pytest.mark.parametrize("mode", ["inline", "application"])
async def test_a_call_is_asked_for_once_and_reports_by_its_tag(
    provider: Provider, driver: JambonzDriver, inbox: Inbox, mode: str
) -> None:
    by_application = AgentRoute(application_sid=provider.application_sid)
    route = INLINE if mode == "inline" else by_application
    ids = await driver.place(request_to(provider.answering_number, route=route, call=42))
    assert ids.provider_call_id
    assert ids.sip_call_id
    assert await provider.posts_of(call_id(42)) == 1

    def kinds() -> set[type]:
        return {type(event.event) for event in inbox.events(driver)}

    await inbox.until(lambda: CallAnswered in kinds())
    assert kinds() == {CallTrying, CallRinging, CallAnswered}
    for status in inbox.events(driver):
        assert status.execution_id == uuid.UUID(int=42)
        assert status.provider_call_id == ids.provider_call_id
        assert not status.is_child_leg
        assert status.event is not None
        assert status.event.evidence is Evidence.WEBHOOK
        assert status.event.sip_call_id == ids.sip_call_id


async def test_a_webhook_that_was_touched_or_signed_by_another_is_not_verified(
    driver: JambonzDriver, driver_for: DriverFor, provider: Provider, inbox: Inbox
) -> None:
    await driver.place(request_to())
    await inbox.until(lambda: bool(inbox.deliveries))
    body, headers = inbox.deliveries[0]
    assert driver.verify_status(body, headers)
    assert not driver.verify_status(body + b" ", headers)
    assert not driver.verify_status(body, {})
    assert not driver_for(provider.base_url, webhook_secret="another").verify_status(body, headers)


async def test_a_live_call_is_found_by_its_id_and_by_its_exact_number(
    provider: Provider, driver: JambonzDriver
) -> None:
    sid = await placed(driver)
    other = await placed(driver, provider.answering_number)
    call = await status_becomes(driver, sid, "ringing")
    assert (call.provider_call_id, call.to, call.from_number) == (sid, RINGS, "+447400123456")

    def ids(calls: list[LiveCall]) -> set[str]:
        return {call.provider_call_id for call in calls}

    assert ids(await driver.list_live(RINGS)) == {sid}
    assert ids(await driver.list_live("+15005550006")) == set()
    assert ids(await driver.list_live()) == {sid, other}


async def test_a_call_nobody_knows_is_none(driver: JambonzDriver) -> None:
    assert await driver.read_call(str(uuid.uuid4())) is None


@pytest.mark.parametrize("was_answered", [True, False])
async def test_a_call_is_hung_up_whatever_we_believe_of_it(
    provider: Provider, driver: JambonzDriver, *, was_answered: bool
) -> None:
    ringing, answered = await placed(driver), await placed(driver, provider.answering_number)
    await status_becomes(driver, ringing, "ringing")
    await status_becomes(driver, answered, "in-progress")
    for sid in (ringing, answered):
        assert await driver.hang_up(sid, was_answered=was_answered) is HangUpAnswer.ENDED
    assert (await status_becomes(driver, ringing, "no-answer")).sip_status == 487
    assert (await status_becomes(driver, answered, "completed")).hangup_by == "agent"


async def test_a_call_that_is_over_is_gone_and_one_that_never_was_is_not_known(
    driver: JambonzDriver,
) -> None:
    sid = await placed(driver)
    await status_becomes(driver, sid, "ringing")
    assert await driver.hang_up(sid, was_answered=False) is HangUpAnswer.ENDED
    await status_becomes(driver, sid, "no-answer")
    assert await driver.hang_up(sid, was_answered=False) is HangUpAnswer.GONE
    never = await driver.hang_up(str(uuid.uuid4()), was_answered=True)
    assert never is HangUpAnswer.NOT_KNOWN


async def test_the_end_of_an_answered_call_says_how_long_and_by_whom(
    provider: Provider, driver: JambonzDriver, inbox: Inbox
) -> None:
    sid = await placed(driver, provider.answering_number)
    await status_becomes(driver, sid, "in-progress")
    await driver.hang_up(sid, was_answered=True)

    def ends() -> list[CallEnded]:
        events = [status.event for status in inbox.events(driver)]
        return [event for event in events if isinstance(event, CallEnded)]

    await inbox.until(lambda: bool(ends()))
    (end,) = ends()
    assert (end.call_status, end.sip_status, end.hangup_by) == ("completed", 200, "agent")
    assert end.duration_s is not None


async def test_records_show_ended_calls_with_their_plus_by_number_or_id(
    provider: Provider, driver: JambonzDriver
) -> None:
    missed, answered = await placed(driver), await placed(driver, provider.answering_number)
    await status_becomes(driver, missed, "ringing")
    await status_becomes(driver, answered, "in-progress")
    for sid in (missed, answered):
        await driver.hang_up(sid, was_answered=sid == answered)

    async def records(matching: str | None = None) -> dict[str, LiveCall]:
        found = await driver.list_records(LONG_AGO, matching=matching)
        return {call.provider_call_id: call for call in found}

    found = await until(records, lambda found: set(found) == {missed, answered})
    assert (found[missed].to, found[missed].from_number) == (RINGS, "+447400123456")
    assert (found[missed].call_status, found[missed].sip_status) == ("no-answer", 487)
    assert found[missed].answered_at is None
    assert found[missed].duration_s is None
    assert (found[answered].call_status, found[answered].hangup_by) == ("completed", "agent")
    for call in found.values():
        assert call.attempted_at is not None
        assert call.ended_at is not None
        assert call.attempted_at.tzinfo is UTC
    assert set(await records(RINGS)) == {missed}
    assert set(await records(answered)) == {answered}


async def test_a_good_connection_passes_the_probe(driver: JambonzDriver) -> None:
    await driver.probe()


async def test_a_wrong_key_places_nothing_and_fails_the_probe(
    provider: Provider, driver_for: DriverFor
) -> None:
    driver = driver_for(
        provider.base_url, account_sid=provider.account_sid, api_key="not-the-right-one"
    )
    for asked in (driver.probe(), driver.place(request_to(call=9)), driver.list_live()):
        with pytest.raises(NotPlaced) as caught:
            await asked
        assert caught.value.cause == "unauthorised"
    other = driver_for(
        provider.base_url, account_sid=provider.account_sid, api_key=provider.api_key
    )
    assert await other.list_live() == []


async def test_an_application_tells_where_it_reports_to(
    provider: Provider, driver: JambonzDriver
) -> None:
    assert await driver.application_hook(provider.application_sid) == (
        driver.status_hook_url,
        "POST",
    )
    with pytest.raises(WillNeverWork):
        await driver.application_hook(str(uuid.uuid4()))


async def test_without_its_store_of_keys_nothing_is_placed_and_no_look_up_is_an_answer(
    provider: Provider, driver: JambonzDriver
) -> None:
    sid = await placed(driver)
    provider.set_away("key_store_away")
    with pytest.raises(NotPlaced) as refused:
        await driver.place(request_to(call=7))
    assert (refused.value.status, refused.value.cause) == (500, "store_down")
    for asked in (
        driver.list_live(),
        driver.read_call(sid),
        driver.list_records(LONG_AGO, matching=None),
        driver.hang_up(sid, was_answered=False),
    ):
        with pytest.raises(OutcomeUnknown):
            await asked
    provider.set_away()
    assert await driver.read_call(sid) is not None


async def test_without_its_store_of_calls_a_call_that_rings_is_said_not_to_be_there(
    provider: Provider, driver: JambonzDriver
) -> None:
    sid = await placed(driver)
    await status_becomes(driver, sid, "ringing")
    provider.set_away("call_store_away")
    with pytest.raises(NotPlaced) as refused:
        await driver.place(request_to(call=7))
    assert (refused.value.status, refused.value.cause) == (480, "no_capacity")
    assert await driver.list_live() == []
    assert await driver.list_live(RINGS) == []
    assert await driver.read_call(sid) is None
    assert await driver.hang_up(sid, was_answered=False) is HangUpAnswer.NOT_KNOWN
    provider.set_away()
    assert (await status_becomes(driver, sid, "ringing")).provider_call_id == sid


async def test_without_its_store_of_records_they_fail_and_calls_go_on(
    provider: Provider, driver: JambonzDriver
) -> None:
    provider.set_away("record_store_away")
    with pytest.raises(OutcomeUnknown) as failed:
        await driver.list_records(LONG_AGO, matching=None)
    assert "connect ECONNREFUSED 127.0.0.1:8086" in str(failed.value)
    sid = await placed(driver)
    assert {call.provider_call_id for call in await driver.list_live()} == {sid}


async def test_a_dead_feature_server_that_is_still_registered_leaves_a_call_of_unknown_fate(
    provider: Provider, driver: JambonzDriver
) -> None:
    provider.set_away("dead_feature_server")
    with pytest.raises(OutcomeUnknown) as failed:
        await driver.place(request_to(call=7))
    assert failed.value.status == 500
    assert "fetch failed" in str(failed.value)
    assert await driver.list_live() == []
