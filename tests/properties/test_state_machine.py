"""The API in any order: whatever people and calls do, it shows what a simple model says."""

import asyncio
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, ClassVar

import uvloop
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.properties.api_site import ApiSite, an_api
from tests.properties.campaign_model import EVENTS, Batch, Call, Campaign, Contact

from apollo.core import ids

FULL = os.environ.get("APOLLO_TEST_FULL") == "1"
API = "/api/v1"
# Pausing and resuming in turn says more than a campaign that is over at once.
RARELY_CANCEL = st.sampled_from(["pause", "pause", "pause", "resume", "resume", "resume", "cancel"])
ANY = st.integers(min_value=0, max_value=1000)


class CampaignMachine(RuleBasedStateMachine):
    """One campaign under a random order of requests, events and instants."""

    runner: ClassVar[asyncio.Runner]
    site: ClassVar[ApiSite]
    # Nobody is in two campaigns, so that no number is parked behind another's call.
    people: ClassVar["count[int]"]

    model: Campaign
    campaign_id: str

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self.runner.run(self.site.ask(method, API + path, body))

    @property
    def contacts(self) -> list[Contact]:
        return [contact for batch in self.model.batches for contact in batch.contacts]

    @property
    def calls(self) -> list[Call]:
        return [call for contact in self.contacts for call in contact.calls]

    @initialize(limit=st.integers(1, 4), retries=st.integers(0, 2), follow_ups=st.integers(0, 2))
    def begin(self, limit: int, retries: int, follow_ups: int) -> None:
        self.model = Campaign(limit, retries, follow_ups)
        status, made = self.ask(
            "POST",
            "/campaigns/",
            {
                "name": "Any order",
                "agent_id": "agent_1",
                "phone_numbers": ["+919876543210"],
                "metadata": {"concurrency_limit": limit},
                "max_follow_ups": follow_ups,
                "retry_policy": {
                    "max_retries": retries,
                    "strategy": "fixed",
                    "cooldown_minutes": 30,
                },
            },
        )
        assert status == 201, made
        self.campaign_id = made["campaign_id"]
        self.create_batch(people=4, limit=None)

    # --------------------------------------------------------------------------------- requests

    @precondition(lambda self: len(self.model.batches) < 3)
    @rule(people=st.integers(1, 4), limit=st.none() | st.integers(1, 3))
    def add_batch(self, people: int, limit: int | None) -> None:
        self.create_batch(people, limit)

    def create_batch(self, people: int, limit: int | None) -> None:
        numbers = [f"+91{9_800_000_000 + next(self.people)}" for _ in range(people)]
        body: dict[str, Any] = {
            "campaign_id": self.campaign_id,
            "contacts": [{"phone_number": number} for number in numbers],
        }
        if limit is not None:
            body["concurrency_limit"] = limit
        status, made = self.ask("POST", "/batches/", body)
        if self.model.is_cancelled:
            assert status == 409, made
            return
        assert status == 201, made
        batch = Batch(made["batch_id"], "", None, limit)
        self.model.add(batch)
        assert made["status"] == batch.status
        _, contacts = self.ask("GET", f"/batches/{batch.batch_id}/contacts")
        batch.contacts = [Contact(one["contact_id"], batch) for one in contacts]

    @rule(action=RARELY_CANCEL)
    def change_campaign(self, action: str) -> None:
        expected = getattr(self.model, action)()
        status, body = self.ask("POST", f"/campaigns/{self.campaign_id}/{action}")
        assert status == expected, (action, body)
        if self.model.room() == 0:
            self.claim_now()
        if status == 200:
            assert body["status"] == self.model.status
            before = sum(b.open_calls() for b in self.model.batches)
            assert body["calls_in_progress"] == before

    @precondition(lambda self: self.model.batches)
    @rule(which=ANY, action=RARELY_CANCEL)
    def change_batch(self, which: int, action: str) -> None:
        batch = self.model.batches[which % len(self.model.batches)]
        expected = getattr(self.model, f"{action}_batch")(batch)
        status, body = self.ask("POST", f"/batches/{batch.batch_id}/{action}")
        assert status == expected, (action, body)
        if status == 200:
            assert (body["status"], body["calls_in_progress"]) == (batch.status, batch.open_calls())

    @precondition(lambda self: self.model.batches)
    @rule(which=ANY)
    def dispatch(self, which: int) -> None:
        batch = self.model.batches[which % len(self.model.batches)]
        status, body = self.ask("POST", f"/batches/{batch.batch_id}/dispatch")
        assert status == self.model.dispatch(batch), body
        if status == 200:
            assert body["dispatched_count"] == batch.counters()["pending"]

    @precondition(lambda self: self.model.batches)
    @rule(which=ANY, limit=st.integers(0, 3), retries=st.integers(0, 2))
    def patch(self, which: int, limit: int, retries: int) -> None:
        batch = self.model.batches[which % len(self.model.batches)]
        wanted = {"concurrency_limit": limit, "max_retries_override": retries}
        status, body = self.ask("PATCH", f"/batches/{batch.batch_id}", wanted)
        if limit == 0:
            assert status == 422, body
            return
        assert status == (200 if batch.is_live else 409), body
        if status == 200:
            batch.limit, batch.max_retries = limit, retries

    @precondition(lambda self: self.contacts)
    @rule(which=ANY)
    def follow_up(self, which: int) -> None:
        contact = self.contacts[which % len(self.contacts)]
        expected = self.model.follow_up(contact)
        at = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/batches/{contact.batch.batch_id}/contacts/{contact.contact_id}/follow-up"
        status, body = self.ask("POST", path, {"at": at})
        assert status == expected, body

    @precondition(lambda self: self.contacts)
    @rule(which=ANY)
    def skip(self, which: int) -> None:
        contact = self.contacts[which % len(self.contacts)]
        is_on_call = contact.open_call is not None
        expected = self.model.skip(contact)
        path = f"/batches/{contact.batch.batch_id}/contacts/{contact.contact_id}/skip"
        status, body = self.ask("POST", path)
        assert status == expected, body
        if status == 200:
            assert body["calls_in_progress"] == is_on_call

    # -------------------------------------------------------------------- the worker, the provider

    # A claim where there is no room is tried after whatever takes the room away.
    @precondition(lambda self: self.model.room() > 0)
    @rule()
    def claim(self) -> None:
        self.claim_now()

    def claim_now(self) -> None:
        key = ids.parse_id("cmp", self.campaign_id)
        assert key is not None
        room = self.model.room()
        jobs = self.runner.run(self.site.claim(key))
        # Those who were skipped are passed over; the next claim takes who stands behind them.
        for _ in self.contacts:
            if len(jobs) < room:
                jobs += self.runner.run(self.site.claim(key))
        known = {contact.contact_id: contact for contact in self.contacts}
        for job in jobs:
            contact = known[ids.contact_id(job.call.contact)]
            assert contact in contact.batch.claimable(), contact
            self.model.claimed(contact, ids.execution_id(job.call.id), job.call.kind)
        assert len(jobs) == room

    @precondition(lambda self: self.calls)
    @rule(which=ANY, event=st.sampled_from(sorted(EVENTS)), times=st.integers(1, 2))
    def hear(self, which: int, event: str, times: int) -> None:
        call = self.calls[which % len(self.calls)]
        for _ in range(times):
            self.hear_of(call, event)

    @precondition(lambda self: any(call.outcome is None for call in self.calls))
    @rule(event=st.sampled_from(sorted(EVENTS)))
    def hear_of_all_open_calls(self, event: str) -> None:
        for call in self.calls:
            if call.outcome is None:
                self.hear_of(call, event)

    def hear_of(self, call: Call, event: str) -> None:
        word, sip_status = EVENTS[event]
        key = ids.parse_id("exec", call.execution_id)
        self.model.hear(call, event)
        heard = self.site.hear(call.execution_id, str(key), word, sip_status)
        assert self.runner.run(heard) == 200
        # Where the last contacts were skipped before a claim came to them, it closes the batch.
        self.runner.run(self.site.time.sweep())

    @precondition(lambda self: not all(contact.is_due for contact in self.contacts))
    @rule()
    def pass_time(self) -> None:
        self.model.pass_time()
        self.runner.run(self.site.pass_time())

    # ------------------------------------------------------------------------------- what is shown

    @invariant()
    def everything_is_shown_as_it_is(self) -> None:
        status, shown = self.ask("GET", f"/campaigns/{self.campaign_id}")
        assert (status, shown["status"]) == (200, self.model.status)
        _, batches = self.ask("GET", f"/campaigns/{self.campaign_id}/batches")
        by_id = {one["batch_id"]: one for one in batches}
        for batch in self.model.batches:
            one = by_id[batch.batch_id]
            assert (one["status"], one["paused_by"]) == (batch.status, batch.paused_by)
            counters = Counter({name: n for name, n in one["counters"].items() if n})
            assert counters == batch.counters()
            assert sum(one["counters"].values()) == one["total_contacts"]
            _, contacts = self.ask("GET", f"/batches/{batch.batch_id}/contacts?include_calls=true")
            assert [c["status"] for c in contacts] == [c.status for c in batch.contacts]
            records = [[r["execution_id"] for r in c["call_records"]] for c in contacts]
            assert records == [[call.execution_id for call in c.calls] for c in batch.contacts]

    def teardown(self) -> None:
        """Nothing of this campaign is claimed or promoted by a later one."""
        if hasattr(self, "campaign_id"):
            self.ask("POST", f"/campaigns/{self.campaign_id}/cancel")


def test_the_api_shows_what_the_model_says_in_any_order(database_url: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        opened = an_api(database_url)
        CampaignMachine.runner = runner
        CampaignMachine.site = runner.run(opened.__aenter__())
        CampaignMachine.people = count()
        try:
            run_state_machine_as_test(
                CampaignMachine,
                settings=settings(
                    max_examples=1_500 if FULL else 25,
                    stateful_step_count=60 if FULL else 30,
                    deadline=None,
                    print_blob=True,
                    phases=[Phase.explicit, Phase.generate, Phase.shrink],
                    suppress_health_check=list(HealthCheck),
                    database=None,
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))
