"""What goes wrong in one run, drawn from its seed: which faults, how often, and when.

Each run has a few kinds of fault and not all of them: a run in which everything fails explores
little, because nothing ever gets far. Must draw everything from the seed's own dice.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

# What may become of a request to place a call.
REQUEST_FAULTS: Final = (
    "refused_connection",  # no byte left us
    "reply_lost_placed",  # there is a call, and no answer
    "reply_lost_not_placed",  # there is none, and no answer
    "placed_late",  # we gave up long before the call was placed
    "answer_500_placed",
    "answer_500_not_placed",
    "created_never_placed",  # 201, and no call
    "created_without_body",  # 201, and no ids
    "slow_before_placing",
    "slow_after_placing",  # webhooks come before the 201
    "answer_400_number",
    "answer_400_request",
    "answer_401",
    "answer_404",
    "answer_429",
    "answer_480",
)
# What may become of a status webhook.
HOOK_FAULTS: Final = ("hook_lost", "hook_doubled", "hook_late", "hook_reordered", "hook_forged")
# What may become of a question to the provider.
LOOKUP_FAULTS: Final = ("list_fails", "records_fail", "hang_up_fails", "record_late")
# What happens to our own processes and the database, a number of times in a run.
EVENTS: Final = (
    "worker_killed",  # at a time
    "worker_killed_at_step",  # between two awaits that matter
    "worker_killed_at_step",
    "worker_stopped",  # SIGSTOP for a while
    "worker_stopped_at_step",  # between two awaits that matter, and then something is changed
    "web_killed",
    "web_killed_at_step",
    "database_away",
    "database_restarted",  # all connections break, and a worker must compare before it dials on
    "provider_away",
    "calls_go_silent",  # the provider's own crash: its live calls end without a word
    "worker_stopped_after_claim",  # between claim and request, and then the world moves on
    "worker_stopped_after_claim",
    "host_lost",  # every process of ours at once, with a request on the wire
    "host_lost",
    "pause",
    "resume",
    "cancel",
    "stop_all",  # one organisation or all; lifted later
    "settings",  # limits and retries
    "stranger",  # somebody asks for what is another organisation's
    "listeners_lost",
    "database_restored",  # from a dump of itself, older than calls that were made
)
# What the real jambonz servers do with look-ups; drawn apart: other draws stay as they were.
STORE_FAULTS: Final = (
    "call_not_listed",  # one call, live or over, is in no answer about calls
    "record_lost",  # one record was overwritten by another of the same millisecond
    "answered_in_10_to_40_s",  # placed at once, and answered when nobody listens any more
    "answer_500_store",  # `connect ECONNREFUSED`, before anything was forwarded
    "request_budget",  # so many requests in a minute, for everything that is asked
)
STORE_EVENTS: Final = (
    "call_store_away",  # an empty list and 404 for every call, then all is back
    "call_store_emptied",  # the same, and what it had is gone
    "key_store_away",  # every request is answered 500 before it is forwarded
    "feature_server_dead",  # still registered: requests for calls get `fetch failed`
)
STATE_FAULTS: Final = ("commit_reply_lost", "database_slow", "worker_clock_wrong", "no_records")


@dataclass
class Weather:
    """The faults of one run, and how many of each were injected."""

    dice: Random
    rates: dict[str, float]
    stores: Random = field(default_factory=lambda: Random(0))
    # What happens to the provider's stores in this run.
    store_events: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    is_calm: bool = False

    @classmethod
    def of(cls, dice: Random, stores: Random) -> "Weather":
        """Draw which faults this run has; those of the provider's stores with dice of their own."""
        rates: dict[str, float] = {}
        share = dice.choice((0.0, 0.1, 0.25, 0.5))
        for name in (*REQUEST_FAULTS, *HOOK_FAULTS, *LOOKUP_FAULTS, *STATE_FAULTS):
            if dice.random() < share:
                rates[name] = dice.choice((0.05, 0.15, 0.4))
                if name in LOOKUP_FAULTS and dice.random() < 0.2:
                    rates[name] = 1.0
        # An answered call is first said to have rung out, and the truth is told beside its retry:
        # that takes much coming together.
        if share and dice.random() < 0.3:
            rates["hook_contradicts"] = 0.6
        # What changes what can be known at all; it shows where webhooks are lost, too.
        if "no_records" in rates and dice.random() < 0.5:
            rates["hook_lost"] = 0.4
        events: list[str] = []
        if stores.random() < 0.4:
            for name in STORE_FAULTS:
                if stores.random() < 0.5:
                    rates[name] = stores.choice((0.15, 0.4, 1.0))
            events = stores.sample(STORE_EVENTS, stores.choice((0, 1, 1, 2)))
            # A call vanishes only where its webhooks are lost.
            if stores.random() < 0.6:
                rates["hook_lost"] = stores.choice((0.4, 0.8))
        return cls(dice, rates, stores, events)

    def strikes(self, name: str) -> bool:
        """Draw whether a fault happens now, and count it."""
        rate = self.rates.get(name)
        if rate is None or self.is_calm or self.dice.random() >= rate:
            return False
        self.injected[name] += 1
        return True

    def request_fault(self) -> str | None:
        """Draw what becomes of a request."""
        for name in ("answered_in_10_to_40_s", "answer_500_store"):
            if name in self.rates and self.strikes(name):
                return name
        for name in REQUEST_FAULTS:
            if name in self.rates and self.strikes(name):
                return name
        return None
