"""The outbox and its relay: what happened reaches other systems, in order, as documented."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema_rs
import structlog
import yaml
from scripts.brokers import Broker
from scripts.draw_events import page
from tests.builders import World
from tests.buses.lines import a_client, rows_of, until, until_so

from apollo.bus.kafka import Topic
from apollo.bus.kafka.subscription import Subscription
from apollo.errors import Unavailable
from apollo.storage import outbox
from apollo.usecases.event_messages import EVENTS, message_of
from apollo.usecases.publish_events import PublishEvents, stop_publishing
from apollo.wiring.parts import SystemClock

REFERENCE = Path(__file__).parents[2] / "docs/reference"


class Shelf:
    """A stream that keeps what it is given, and refuses now and then."""

    def __init__(self, refuses: set[int] | None = None) -> None:
        self.kept: list[tuple[str, Any]] = []
        self._asked = 0
        self._refuses = refuses or set()

    async def append(self, key: str, value: bytes) -> None:
        self._asked += 1
        if self._asked in self._refuses:
            raise Unavailable("not now")
        self.kept.append((key, json.loads(value)))


async def publish(world: World, *, wanted: bool = True) -> None:
    async with world.db.connection() as connection:
        await outbox.publish_events(connection, wanted=wanted)


async def something_happens(world: World, contacts: int = 3) -> None:
    """A batch is made, called and completed; its campaign is paused and resumed."""
    campaign_id = await world.a_campaign()
    await world.a_batch(campaign_id, contacts)
    claimed = await world.claim(campaign_id)
    await world.end(*(job.call.id for job in claimed.calls))
    for paused in ("clock_timestamp()", "null"):
        await world.sql(f"update campaigns set paused_at = {paused}")  # noqa: S608 - ours


async def relayed(world: World, shelf: Shelf, count: int) -> None:
    relay = asyncio.create_task(PublishEvents(db=world.db, stream=shelf).run())
    await until(lambda: len(shelf.kept) >= count, f"{count} events")
    await rows_are_gone(world)
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)


async def rows_are_gone(world: World) -> None:
    await until_so(lambda: world.value("select count(*) = 0 from outbox"), "an empty outbox")


async def test_nothing_is_noted_where_kafka_is_not_the_bus(world: World) -> None:
    await something_happens(world)
    assert await world.value("select count(*) from outbox") == 0
    triggers = "select count(*) from pg_trigger where tgname like '%noted%'"
    assert await world.value(triggers) == 0
    await publish(world)
    await publish(world)
    assert await world.value(triggers) == 7
    await stop_publishing(world.db)
    assert await world.value(triggers) == 0


async def test_the_outbox_is_written_on_while_another_worker_still_publishes(world: World) -> None:
    await publish(world)
    await world.sql(
        "insert into heartbeats (process_id, role, host, pid, version, started_at, seen_at, report)"
        " values (gen_random_uuid(), 'worker', 'h', 1, '1', now(), clock_timestamp(),"
        """ '{"bus": {"kind": "kafka"}}')"""
    )
    await stop_publishing(world.db)
    await something_happens(world)
    assert await world.value("select count(*) from outbox") > 0


async def test_what_happens_is_noted_in_its_own_transaction_and_a_claim_alone_is_no_campaign_news(
    world: World,
) -> None:
    await publish(world)
    await something_happens(world, contacts=2)
    kinds = await rows_of(world.db, "select type, was, status from outbox order by id", count=1)
    seen = [tuple(row) for row in kinds]
    assert seen.count(("contact.changed", "pending", "dispatched")) == 2
    assert seen.count(("contact.changed", "dispatched", "completed")) == 2
    assert seen.count(("call.changed", None, "placing")) == 2
    assert seen.count(("call.changed", "placing", "ended")) == 2
    assert ("batch.changed", None, "in_progress") in seen
    assert ("batch.changed", "in_progress", "completed") in seen
    campaigns = [row[1:] for row in seen if row[0] == "campaign.changed"]
    assert campaigns == [(None, "open"), ("open", "paused"), ("paused", "open")]


async def test_every_event_fits_the_schema_that_is_documented(world: World) -> None:
    described = yaml.safe_load((REFERENCE / "asyncapi.yaml").read_text())
    # The definitions as one schema document, for whoever reads one message.
    checks = {
        schema["properties"]["type"]["enum"][0]: jsonschema_rs.validator_for(schema)
        for schema in inlined(described)
    }
    shelf = Shelf()
    await publish(world)
    await something_happens(world)
    await relayed(world, shelf, 12)
    assert {event["type"] for _, event in shelf.kept} == set(checks)
    for _, event in shelf.kept:
        checks[event["type"]].validate(event)
        assert event["version"] == 1
        assert "+91" not in json.dumps(event)


def inlined(described: dict[str, Any]) -> list[dict[str, Any]]:
    schemas = described["components"]["schemas"]

    def put_in(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return put_in(schemas[value["$ref"].rpartition("/")[2]])
            return {key: put_in(one) for key, one in value.items()}
        return [put_in(one) for one in value] if isinstance(value, list) else value

    return [put_in(schemas[one.__name__]) for one in EVENTS]


async def test_a_stream_that_refuses_gets_the_same_again_and_nothing_overtakes_it(
    world: World,
) -> None:
    shelf = Shelf(refuses={3, 9, 10})
    await publish(world)
    await something_happens(world, contacts=5)
    noted = await rows_of(world.db, "select id from outbox order by id", count=10)
    await relayed(world, shelf, len(noted))
    assert {event["sequence"] for _, event in shelf.kept} == {row["id"] for row in noted}
    last: dict[str, int] = defaultdict(int)
    first_seen: dict[str, list[int]] = defaultdict(list)
    for key, event in shelf.kept:
        if event["sequence"] not in first_seen[key]:
            assert event["sequence"] > last[key]
            last[key] = event["sequence"]
            first_seen[key].append(event["sequence"])


async def test_a_kafka_that_refuses_every_event_is_one_line_of_the_log(world: World) -> None:
    await publish(world)
    await something_happens(world, contacts=5)
    noted = await rows_of(world.db, "select id from outbox order by id", count=10)
    # The first event of each contact, and the first of the batch and the campaign.
    shelf = Shelf(refuses=set(range(1, 8)))
    with structlog.testing.capture_logs() as logged:
        await relayed(world, shelf, len(noted))
    assert [(line["event"], line["error"]) for line in logged] == [("events.wait", "not now")]


async def test_only_one_relay_works_at_a_time_and_the_next_follows_it(world: World) -> None:
    await publish(world)
    one, other = Shelf(), Shelf()
    first = asyncio.create_task(PublishEvents(db=world.db, stream=one).run())
    await something_happens(world)
    await until(lambda: one.kept, "the first relay")
    second = asyncio.create_task(PublishEvents(db=world.db, stream=other).run())
    await something_happens(world)
    await rows_are_gone(world)
    assert other.kept == []
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await something_happens(world)
    await until(lambda: other.kept, "the second relay")
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_events_come_out_of_kafka_in_order_for_each_contact(
    world: World, broker: Broker
) -> None:
    heard: list[tuple[bytes, Any]] = []

    async def take(messages: Any) -> None:
        heard.extend((message.key(), json.loads(message.value())) for message in messages)

    await publish(world)
    await something_happens(world, contacts=10)
    noted = await rows_of(world.db, "select id from outbox order by id", count=40)
    async with a_client(broker) as client:
        relay = PublishEvents(db=world.db, stream=client.stream(Topic.EVENTS))
        reader = Subscription(client, Topic.EVENTS, clock=SystemClock())
        running = [asyncio.create_task(relay.run()), asyncio.create_task(reader.run(take))]
        await until(lambda: len(heard) >= len(noted), "every event")
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for key, event in heard:
        by_key[key].append(event["sequence"])
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


async def test_a_message_is_keyed_by_contact_else_by_batch_else_by_campaign(world: World) -> None:
    await publish(world)
    await something_happens(world, contacts=1)
    async with world.db.connection() as connection:
        noted = await outbox.take(connection, 100)
    prefixes = {one.type: message_of(one)[0].partition("_")[0] for one in noted}
    assert prefixes == {
        "campaign.changed": "cmp",
        "batch.changed": "btc",
        "contact.changed": "con",
        "call.changed": "con",
    }


def test_the_page_about_the_events_is_the_one_the_code_draws() -> None:
    committed = (REFERENCE / "asyncapi.yaml").read_text()
    assert page() == committed, "run: python scripts/draw_events.py > docs/reference/asyncapi.yaml"


def test_the_words_about_the_events_name_every_type_and_field() -> None:
    words = (REFERENCE / "events.md").read_text()
    for one in EVENTS:
        assert f"`{one.__struct_config__.tag}`" in words
        for name in one.__struct_fields__:
            assert f"`{name}`" in words
