"""Lists are filtered, sorted, counted, and paged so that nobody is missed while things move."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.usecases.batch_world import OTHER, some_numbers
from tests.web.api_world import ApiWorld, Reply, running_api

API = "/api/v1"
NUMBERS = some_numbers(9)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[ApiWorld]:
    async with running_api(database_url) as world:
        yield world


async def a_batch(api: ApiWorld, campaign: str, numbers: list[str], **fields: Any) -> str:
    contacts = [{"phone_number": number} for number in numbers]
    body = {"campaign_id": campaign, "contacts": contacts, "across": "none", **fields}
    made = await api.ask("POST", f"{API}/batches/", json=body)
    assert made.status == 201, made.body
    return str(made.body["batch_id"])


async def listed(api: ApiWorld, path: str, key: str, **query: Any) -> tuple[list[str], Reply]:
    found = await api.ask("GET", f"{API}{path}", params=query)
    assert found.status == 200, found.body
    return [one[key] for one in found.body], found


async def test_batches_and_campaigns_are_filtered_by_what_they_are(api: ApiWorld) -> None:
    first = (await api.campaign(allowed_countries=["*"], metadata={"owner": "a", "tier": 5}))[
        "campaign_id"
    ]
    second = (await api.campaign(allowed_countries=["*"], metadata={"owner": "b"}))["campaign_id"]
    one = await a_batch(api, first, NUMBERS[:2], metadata={"source": "crm", "n": 5})
    two = await a_batch(api, first, NUMBERS[2:3], metadata={"source": "crm"})
    three = await a_batch(api, second, NUMBERS[3:4])
    await api.ask("POST", f"{API}/batches/{two}/pause")
    for query, expected in (
        ({}, [three, two, one]),
        ({"sort": "created_at"}, [one, two, three]),
        ({"status": "paused"}, [two]),
        ({"status": "paused,in_progress"}, [three, two, one]),
        ({"metadata": "source=crm"}, [two, one]),
        ({"metadata": "n=5"}, [one]),
        ({"phone_number": NUMBERS[1]}, [one]),
        ({"campaign_id": first, "after": two}, [one]),
        ({"sort": "created_at", "after": one, "limit": 1}, [two]),
        ({"created_after": "2126-01-01"}, []),
        ({"created_before": "2126-01-01T00:00:00 05:30"}, [three, two, one]),
        ({"updated_since": "2026-01-01T00:00:00Z", "status": "paused"}, [two]),
    ):
        assert (await listed(api, "/batches", "batch_id", **query))[0] == expected, query
    found, reply = await listed(
        api, "/batches", "batch_id", metadata="source=crm", count="true", limit=1
    )
    assert (found, reply.headers["X-Total-Count"]) == ([two], "2")
    found, reply = await listed(api, "/batches", "batch_id", status="expired", count="true")
    assert (found, reply.headers["X-Total-Count"]) == ([], "0")
    assert "X-Total-Count" not in (await listed(api, "/batches", "batch_id"))[1].headers
    for query, expected in (
        ({}, [second, first]),
        ({"sort": "created_at"}, [first, second]),
        ({"metadata": "owner=a"}, [first]),
        ({"metadata": "tier=5"}, [first]),
        ({"status": "active,draft"}, [second, first]),
        ({"status": "draft"}, []),
        ({"after": second}, [first]),
        ({"phone_number": "+14155550123", "limit": 1}, [second]),
    ):
        assert (await listed(api, "/campaigns", "campaign_id", **query))[0] == expected, query
    paths = await listed(
        api, f"/campaigns/{first}/batches", "batch_id", count="true", status="paused"
    )
    assert (paths[0], paths[1].headers["X-Total-Count"]) == ([two], "1")
    token = (await api.uses.authenticate.create_token(OTHER.organization_id, "t")).token
    foreign = await api.ask("GET", f"{API}/batches?after={one}&count=true", token=token)
    assert (foreign.body, foreign.headers["X-Total-Count"]) == ([], "0")


async def test_no_contact_is_missed_while_the_list_moves(api: ApiWorld) -> None:
    """Paging with skip over a status once showed fifteen of thirty people."""
    campaign = (await api.campaign(allowed_countries=["*"]))["campaign_id"]
    batch = await a_batch(api, campaign, NUMBERS)
    path = f"/batches/{batch}/contacts"
    seen: list[str] = []
    query: dict[str, Any] = {"status": "pending", "limit": 2}
    while True:
        page, _ = await listed(api, path, "contact_id", **query)
        if not page:
            break
        seen += page
        query["after"] = page[-1]
        # Whoever was shown is called meanwhile.
        await api.sql("update contacts set status = 'completed' where position <= $1", len(seen))
    assert len(seen) == len(set(seen)) == 9
    done, reply = await listed(
        api, path, "phone_number", status="completed,busy", count="true", limit=3
    )
    assert (done, reply.headers["X-Total-Count"]) == (NUMBERS[:3], "9")
    assert (await listed(api, path, "phone_number", phone_number=NUMBERS[4]))[0] == [NUMBERS[4]]
    every, reply = await listed(api, path, "contact_id", count="true", limit=4)
    assert reply.headers["X-Total-Count"] == "9"
    behind = await listed(api, path, "contact_id", after=every[-1], limit=1)
    assert behind[0] not in (every, [])
    assert (await listed(api, path, "contact_id", updated_since="2126-01-01"))[0] == []


async def test_calls_are_filtered_by_how_they_ended_and_when(api: ApiWorld) -> None:
    campaign = (await api.campaign(allowed_countries=["*"]))["campaign_id"]
    batch = await a_batch(api, campaign, NUMBERS[:3])
    await api.sql(
        "insert into calls (id, organization_id, campaign_id, batch_id, position, attempt, kind,"
        " state, provider, phone_number, from_number, requested_at, ended_at, outcome,"
        " window_opens_at, window_closes_at)"
        " select gen_random_uuid(), organization_id, campaign_id, id, n.position, 1, 'first',"
        " n.state, 'p', $1, '+14155550123', '2026-05-10 09:00Z'::timestamptz"
        " + n.position * interval '1 hour', case when n.outcome is not null then now() end,"
        " n.outcome, now(), now() from batches, (values (1, 'ended', 'no_answer'),"
        " (2, 'ended', 'completed'), (3, 'ringing', null)) as n (position, state, outcome)",
        NUMBERS[0],
    )
    by_number, by_batch = {"phone_number": NUMBERS[0]}, {"batch_id": batch}
    third, second, first = (await listed(api, "/calls", "execution_id", **by_number))[0]
    for query, expected in (
        (by_number | {"status": "no-answer"}, [first]),
        (by_number | {"status": "ringing,completed"}, [third, second]),
        (by_number | {"after": third}, [second, first]),
        (by_batch | {"after": first}, [second, third]),
        (by_batch | {"status": "in-progress"}, []),
        (by_batch | {"created_after": "2026-05-10T11:00:00Z"}, [second, third]),
        (by_number | {"created_before": "2026-05-10T11:00:00Z"}, [first]),
    ):
        assert (await listed(api, "/calls", "execution_id", **query))[0] == expected, query


@pytest.mark.parametrize(
    ("path", "query", "field", "says"),
    [
        ("/batches", "status=paused,lost", "status", "'lost' is not a status; use one or more of"),
        ("/batches", "status=", "status", "is not a status"),
        ("/batches", "created_after=yesterday", "created_after", "write 2026-05-10, or 2026-"),
        ("/batches", "created_after=2026-13-40", "created_after", "is not a time"),
        ("/batches", "updated_since=0001-01-01", "updated_since", "is not a time"),
        (
            "/batches",
            "created_after=2026-02-01&created_before=2026-01-01",
            "created_before",
            "after",
        ),
        ("/batches", "metadata=source", "metadata", "write metadata=key=value"),
        ("/batches", "metadata==x", "metadata", "write metadata=key=value"),
        ("/batches", "phone_number=12", "phone_number", ""),
        ("/batches", "after=nonsense", "after", "last id of the page before"),
        ("/batches", "sort=name", "sort", "created_at"),
        ("/campaigns", "after=btc_x", "after", "last id of the page before"),
        ("/campaigns", "status=live", "status", "draft"),
        ("/calls", "batch_id=B&after=con_x", "after", "last id"),
        ("/calls", "batch_id=B&status=no_answer", "status", "no-answer"),
        ("/batches/B/contacts", "status=done", "status", "pending"),
        ("/batches/B/contacts", "after=con_x", "after", "last id of the page before"),
        ("/batches/B/contacts", "after=x&skip=5", "after", "cannot be given with skip"),
    ],
)
async def test_a_filter_that_cannot_be_read_is_refused_with_the_right_form(
    api: ApiWorld, path: str, query: str, field: str, says: str
) -> None:
    campaign = (await api.campaign(allowed_countries=["*"]))["campaign_id"]
    batch = await a_batch(api, campaign, NUMBERS[:1])
    reply = await api.ask(
        "GET", f"{API}{path.replace('B', batch)}?{query.replace('=B', '=' + batch)}"
    )
    assert reply.status == 422, reply.body
    (fault,) = reply.body["detail"]
    assert fault["loc"] == ["query", field]
    assert says in fault["msg"]
