"""`apollo doctor` where Kafka is the bus: each fault with its fix, and nothing is made."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from scripts.brokers import JARS, Apache, Broker
from scripts.ports import free_port

from apollo.cli.findings import Finding, State
from apollo.cli.kafka_check import kafka
from apollo.config import load

TOPICS = ("apollo.batch.dispatch", "apollo.call.status", "apollo.events")
# Everybody has a password, the broker itself included; who is no super user may do nothing.
_GUARDED = """\
listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
username="admin" password="a" user_admin="a" user_apollo="b";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    broker = Apache(tmp_path, Path(os.environ[JARS]).absolute(), more=_GUARDED)
    broker.start()
    yield broker
    broker.stop()


async def findings(address: str, **more: str) -> dict[str, Finding]:
    given = {f"APOLLO_KAFKA_{name.upper()}": value for name, value in more.items()}
    settings = load({"APOLLO_KAFKA_BOOTSTRAP_SERVERS": address, **given})
    return {one.name: one for one in await kafka(settings)}


def as_user(name: str, password: str) -> dict[str, str]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": name,
        "sasl_password": password,
    }


async def create(address: str, partitions: int, **settings: str) -> None:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, **settings})
    wanted = [NewTopic(name, num_partitions=partitions, replication_factor=1) for name in TOPICS]
    for made in admin.create_topics(wanted).values():
        await asyncio.wrap_future(made)


async def test_where_postgresql_is_the_bus_kafka_is_no_subject() -> None:
    assert await kafka(load({})) == []


async def test_a_kafka_that_is_away_is_one_fault_with_its_address() -> None:
    (found,) = (await findings(f"127.0.0.1:{free_port()}")).values()
    assert found.state is State.FAULT
    assert "127.0.0.1" in found.what
    assert "APOLLO_KAFKA_BOOTSTRAP_SERVERS" in found.fix


async def test_a_setting_the_client_does_not_know_is_named() -> None:
    (found,) = (await findings("127.0.0.1:9092", no_such_thing="1")).values()
    assert found.state is State.FAULT
    assert "no.such.thing" in found.what


async def test_topics_that_are_missing_are_named_and_not_made(broker: Broker) -> None:
    for _ in range(2):
        found = await findings(broker.address)
        assert found["Kafka"].state is State.OK
        for name in TOPICS:
            assert found[f"topic {name}"].state is State.FAULT
            assert "apollo worker" in found[f"topic {name}"].fix


async def test_topics_in_good_order_are_ok_and_one_too_small_is_worth_a_note(
    broker: Broker,
) -> None:
    await create(broker.address, 3)
    found = await findings(broker.address, partitions="3")
    assert {one.state for one in found.values()} == {State.OK}
    found = await findings(broker.address, partitions="12")
    for name in TOPICS:
        assert found[f"topic {name}"].state is State.NOTE
        assert "--partitions 12" in found[f"topic {name}"].fix


@pytest.mark.skipif(JARS not in os.environ, reason="needs Apache Kafka itself: make test-kafka")
async def test_what_a_user_may_not_do_is_said_topic_by_topic(guarded: Broker) -> None:
    admin = {name.replace("_", "."): value for name, value in as_user("admin", "a").items()}
    await create(guarded.address, 1, **admin)
    found = await findings(guarded.address, partitions="1", **as_user("admin", "a"))
    assert {one.state for one in found.values()} == {State.OK}
    found = await findings(guarded.address, partitions="1", **as_user("apollo", "b"))
    assert found["Kafka"].state is State.OK
    for name in TOPICS:
        assert found[f"topic {name}"].state is State.FAULT
        assert "kafka-acls.sh" in found[f"topic {name}"].fix
    assert "use the group" in found[f"topic {TOPICS[0]}"].what
    assert "use the group" not in found[f"topic {TOPICS[2]}"].what
    (wrong,) = (await findings(guarded.address, **as_user("apollo", "wrong"))).values()
    assert wrong.state is State.FAULT
    assert "uthentication" in wrong.what
