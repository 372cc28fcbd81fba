"""The provider's view beside ours: what is reported, of a provider that the test made up."""

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.builders import SetClock, World, a_world

from apollo.errors import WillNeverWork
from apollo.ports import AgentRoute, LiveCall, RateLimit
from apollo.usecases import watch_provider
from apollo.usecases.record_call_events import Arrival
from apollo.usecases.watch_provider import WatchProvider

APPLICATION = str(uuid.UUID(int=5))


class Listed:
    """A provider that lists what it is told to; nothing else is asked of it here."""

    provider = "p"
    rate_limit: RateLimit | None = None

    def __init__(self) -> None:
        self.live: list[LiveCall] = []
        self.asked = 0

    async def list_live(
        self, _to: str | None = None, *, keep: Callable[[LiveCall], bool]
    ) -> list[LiveCall]:
        self.asked += 1
        return [one for one in self.live if keep(one)]


class Watched:
    """A watch and what it saw."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.provider = Listed()
        self.hook: tuple[str, str] | None = ("https://other.example/status", "POST")
        self.error = "connection refused"
        self.taken: list[Arrival] = []
        known: dict[str, Any] = {
            "db": world.db,
            "driver": self.provider,
            "clock": SetClock(),
            "default_route": AgentRoute(call_hook="https://agent.example/hook?key=secret"),
            "application_hook": self.application_hook,
            "reach": self.reach,
            "take": self.take,
        }
        self.watch = WatchProvider(**known)

    async def application_hook(self, sid: str) -> tuple[str, str] | None:
        if sid != APPLICATION:
            raise WillNeverWork("there is no such application", cause="request")
        return self.hook

    async def reach(self, _url: str) -> str:
        return self.error

    async def take(self, arrival: Arrival) -> None:
        self.taken.append(arrival)

    async def heard_calls(self, count: int) -> uuid.UUID:
        """Calls that the provider reported on; gives their batch."""
        campaign_id = await self.world.a_campaign()
        batch_id = await self.world.a_batch(campaign_id, count)
        claimed = await self.world.claim(campaign_id, count)
        assert len(claimed.calls) == count
        await self.world.sql(
            "update calls set provider = 'p', state = 'answered', heard_at = clock_timestamp(),"
            " answered_at = clock_timestamp(), provider_call_id = 'call-' || position"
        )
        return batch_id


def live(position: int, status: str = "in-progress") -> LiveCall:
    return LiveCall(
        provider_call_id=f"call-{position}", to="+1", from_number="+1", call_status=status
    )


@pytest.fixture
async def watched(database_url: str) -> AsyncIterator[Watched]:
    async with a_world(database_url) as world:
        yield Watched(world)


async def test_a_call_missing_twice_in_a_row_is_reported_by_batch(watched: Watched) -> None:
    batch_id = await watched.heard_calls(3)
    watched.provider.live = [live(1)]
    await watched.watch.look()
    assert watched.watch.report()["live"]["missing"] == {}, "once may be an end on its way"
    await watched.watch.look()
    assert watched.watch.report()["live"]["missing"] == {str(batch_id): 2}
    watched.provider.live = [live(1), live(2), live(3)]
    await watched.watch.look()
    assert watched.watch.report()["live"]["missing"] == {}


async def test_an_application_and_a_call_hook_are_reported_without_their_keys(
    watched: Watched,
) -> None:
    await watched.world.sql(
        "insert into agents (agent_id, application_sid) values ('a', $1), ('b', $2)",
        APPLICATION,
        str(uuid.UUID(int=6)),
    )
    await watched.watch.look()
    await watched.watch.look()
    report = watched.watch.report()
    (seen,) = report["applications"]
    assert (seen["application_sid"], seen["url"]) == (APPLICATION, "https://other.example/status")
    assert report["call_hooks"][0]["call_hook"] == "https://agent.example/hook"
    assert report["call_hooks"][0]["error"] == "connection refused"


async def test_nobody_is_asked_while_nobody_is_on_a_call(watched: Watched) -> None:
    await watched.watch.look()
    assert watched.provider.asked == 0


async def test_one_worker_looks_for_all(watched: Watched) -> None:
    other = Watched(watched.world)
    assert await watched.watch._takes_turn()
    assert not await other.watch._takes_turn()
    await watched.world.sql("update providers set watched_at = watched_at - interval '1 minute'")
    assert await other.watch._takes_turn()


async def test_an_end_that_cannot_be_taken_does_not_hold_up_the_others(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_provider, "_ON_ITS_WAY_S", 0.0)
    await watched.heard_calls(2)
    watched.provider.live = [live(1, "completed"), live(2, "completed")]
    taken: list[Arrival] = []

    async def take(arrival: Arrival) -> None:
        taken.append(arrival)
        if len(taken) == 1:
            raise AssertionError("what one call's data breaks")

    watched.watch._take = take
    await watched.watch.look()
    assert len(taken) == 2
    assert watched.watch.report()["live"]["listed"] == 0


async def test_an_application_nobody_knows_is_logged_once_and_holds_up_no_other(
    watched: Watched,
) -> None:
    await watched.world.sql(
        "insert into agents (agent_id, application_sid) values ('a', $1), ('b', $2)",
        APPLICATION,
        str(uuid.UUID(int=4)),
    )
    with capture_logs() as logged:
        for _ in range(6):
            await watched.watch.look()
    unread = [line for line in logged if line["event"] == "application.not_read"]
    assert [line["application_sid"] for line in unread] == [str(uuid.UUID(int=4))]
    (seen,) = watched.watch.report()["applications"]
    assert seen["application_sid"] == APPLICATION


async def test_the_last_requests_are_left_to_whoever_hangs_up(watched: Watched) -> None:
    await watched.heard_calls(3)
    watched.provider.rate_limit = RateLimit(remaining=3, reset_s=60.0)
    await watched.watch.look()
    assert watched.provider.asked == 0
    watched.provider.rate_limit = RateLimit(remaining=4, reset_s=60.0)
    await watched.watch.look()
    assert watched.provider.asked == 1
