"""`apollo doctor` and the provider: each answer has its own remedy, each setting its own line."""

from collections.abc import AsyncIterator

import pytest
from tests.drivers.jambonz_stand_in import ACCOUNT, API_KEY, SECRET, Reply, StandIn

from apollo.cli.findings import Finding, State
from apollo.cli.hints import hint_for
from apollo.cli.provider_checks import provider
from apollo.config import Settings, load
from apollo.errors import DriverError, NotPlaced, OutcomeUnknown, WillNeverWork

NOT_FOUND = Reply(404, b"Not Found")
RECORDS = Reply(200, {"total": 0, "page_size": "1", "page": "1", "data": []})
SECRETS = Reply(200, {"webhook_secret": SECRET})
NO_ALERTS = Reply(200, {"total": 0, "data": []})
CARRIERS = Reply(200, [{"voip_carrier_sid": "c-1", "name": "First", "is_active": 1}])
GATEWAY = {"outbound": 1, "is_active": 1}


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn().serving() as one:
        yield one


def settings_for(stand_in: StandIn, secret: str = SECRET) -> Settings:
    return load(
        {
            "APOLLO_JAMBONZ_URL": stand_in.base_url,
            "APOLLO_JAMBONZ_ACCOUNT_SID": ACCOUNT,
            "APOLLO_JAMBONZ_API_KEY": API_KEY,
            "APOLLO_JAMBONZ_WEBHOOK_SECRET": secret,
            "APOLLO_PUBLIC_URL": "https://apollo.example.com",
        }
    )


async def looked_at(stand_in: StandIn, *replies: Reply, secret: str = SECRET) -> dict[str, Finding]:
    stand_in.script.extend(replies)
    found = await provider(settings_for(stand_in, secret), {})
    return {one.name: one for one in found}


async def test_an_account_in_good_order_has_nothing_to_be_done(stand_in: StandIn) -> None:
    found = await looked_at(stand_in)
    states = {name: one.state for name, one in found.items() if name != "clock"}
    assert states == {
        "provider": State.OK,
        "webhook secret": State.OK,
        "call-detail records": State.OK,
        "rate limit": State.NOTE,
        "carriers": State.OK,
        "alerts": State.OK,
    }
    assert "600 requests in 300 s" in found["rate limit"].what
    assert not stand_in.posts, "it never dials"


async def test_another_webhook_secret_is_a_fault_and_neither_is_shown(stand_in: StandIn) -> None:
    found = (await looked_at(stand_in, secret="wh_secret_of_another"))["webhook secret"]
    assert found.state is State.FAULT
    assert "restart the API" in found.fix
    assert "wh_secret" not in f"{found.what} {found.fix}"


async def test_a_record_store_that_is_away_is_named(stand_in: StandIn) -> None:
    down = Reply(500, {"msg": "connect ECONNREFUSED 127.0.0.1:8086"})
    found = await looked_at(stand_in, NOT_FOUND, SECRETS, down, CARRIERS, Reply(200, [GATEWAY]))
    assert found["call-detail records"].state is State.FAULT
    assert "InfluxDB" in found["call-detail records"].fix
    assert found["provider"].state is State.OK


async def test_a_carrier_with_two_gateways_may_ring_somebody_twice(stand_in: StandIn) -> None:
    idle = {"outbound": 0, "is_active": 1}
    gateways = Reply(200, [GATEWAY, GATEWAY, idle])
    found = await looked_at(stand_in, NOT_FOUND, SECRETS, RECORDS, CARRIERS, gateways, NO_ALERTS)
    assert found["carriers"].state is State.NOTE
    assert "First (2)" in found["carriers"].what
    assert "rung again" in found["carriers"].what


async def test_gateways_that_may_not_be_seen_are_no_fault(stand_in: StandIn) -> None:
    hidden = Reply(403, {"msg": "insufficient permissions"})
    found = await looked_at(stand_in, NOT_FOUND, SECRETS, RECORDS, CARRIERS, hidden, NO_ALERTS)
    assert (found["carriers"].state, found["carriers"].what) == (State.OK, "First")


async def test_alerts_are_shown_in_their_own_words_and_without_numbers(stand_in: StandIn) -> None:
    alerts = Reply(
        200,
        {
            "total": 1,
            "data": [
                {
                    "time": "2026-05-10T09:05:00.000Z",
                    "alert_type": "webhook-failure",
                    "message": "https://a.example.com returned 500 for +14155550123",
                    "news": 1,
                }
            ],
        },
    )
    gateways = Reply(200, [GATEWAY])
    found = await looked_at(stand_in, NOT_FOUND, SECRETS, RECORDS, CARRIERS, gateways, alerts)
    assert "webhook-failure: https://a.example.com returned 500 for [number]" in (
        found["alerts"].what
    )


@pytest.mark.parametrize(
    ("reply", "state", "remedy"),
    [
        (Reply(401, b"Unauthorized"), State.FAULT, "APOLLO_JAMBONZ_API_KEY"),
        (Reply(429, b"Too many", {"Retry-After": "152"}), State.FAULT, "wait 152 s"),
        (Reply(400, {"msg": "Bad request"}), State.FAULT, "APOLLO_JAMBONZ_ACCOUNT_SID"),
        (Reply(500, {"msg": "connect ECONNREFUSED 10.0.0.5:3306"}), State.FAULT, "MySQL"),
        (Reply(301, headers={"Location": "/"}), State.FAULT, "no redirect is followed"),
    ],
    ids=lambda value: value.status if isinstance(value, Reply) else None,
)
async def test_the_remedy_fits_the_answer(
    stand_in: StandIn, reply: Reply, state: State, remedy: str
) -> None:
    found = await looked_at(stand_in, reply)
    assert found["provider"].state is state
    assert remedy in found["provider"].fix
    assert list(found) == ["provider"], "nothing else could be found out"


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (NotPlaced("no connection", cause="connect"), "host and port"),
        (NotPlaced("480", status=480, cause="no_capacity"), "feature server"),
        (OutcomeUnknown("connect ECONNREFUSED [::1]:6379", cause="store_down"), "Redis"),
        (OutcomeUnknown("connect ECONNREFUSED 1.2.3.4:99", cause="store_down"), "port 99"),
        (OutcomeUnknown("no answer within 15 s", cause="timeout"), "keeps the provider from"),
        (OutcomeUnknown("500", status=500, cause="server_error"), "provider's log"),
        (WillNeverWork("404", status=404, cause="request"), "ends in /v1"),
    ],
    ids=str,
)
def test_every_kind_of_answer_has_a_remedy(error: DriverError, remedy: str) -> None:
    assert remedy in hint_for(error)
