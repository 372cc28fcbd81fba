"""How many requests that place calls may leave for a provider, and how fast.

A provider may allow so many requests in a window of time and count every kind of request. Dialling
must never use the budget up: whoever stops everything has to be able to hang up every open call.
Nor may it risk many people on a provider of which nothing good is known just now.
"""

import math
from dataclasses import dataclass
from typing import Final

# Hanging up takes one request for each open call, and one in ten is asked for twice, because the
# call was answered meanwhile or its fate had to be looked up: eleven requests for ten calls.
_REQUESTS_FOR, _CALLS = 11, 10
# Looking for lost calls and watching the provider take a few requests a minute, calls or no calls.
_KEPT_MIN: Final = 20
# Where the provider allows fewer than forty in all, half of them may still place calls.
_KEPT_SHARE_MAX: Final = 0.5
# What was said longer ago says little: others use the same budget. One request finds out.
_SAID_RECENTLY_S: Final = 10.0
# People for whom it may stay unknown whether they were called. Three failures open the breaker, so
# more would be sent in vain.
RISKED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Load:
    """The open calls at a provider connection, over all campaigns and workers."""

    open_calls: int = 0
    # Of them: asked for, and not answered yet.
    placing: int = 0
    # Of them: nobody knows yet whether they were placed, the requests on their way included.
    at_risk: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What the provider last said about its request budget."""

    remaining: int
    reset_s: float
    # All requests of a window; None when it did not say.
    limit: int | None
    said_s_ago: float


@dataclass(frozen=True, slots=True)
class Allowance:
    """Requests that may place calls: at most so many, at this pace, and what is kept back."""

    most: int
    per_second: float
    kept: int


def allow(budget: Budget, load: Load) -> Allowance:
    """Spread what dialling may use over the time until the budget is full again.

    Each call placed raises what has to be kept by what it takes to hang that call up.
    """
    kept_min = _KEPT_MIN
    if budget.limit is not None:
        kept_min = min(kept_min, math.floor(budget.limit * _KEPT_SHARE_MAX))
    left = budget.remaining - load.placing
    for_open_calls = _REQUESTS_FOR * load.open_calls
    kept = max(kept_min, -(-for_open_calls // _CALLS))
    most = min(left - kept_min, (_CALLS * left - for_open_calls) // (_CALLS + _REQUESTS_FOR))
    if budget.said_s_ago > _SAID_RECENTLY_S:
        most = min(most, 1)
    per_second = max(left - kept, 1) / max(budget.reset_s, 1.0)
    return Allowance(max(most, 0), per_second, kept)
