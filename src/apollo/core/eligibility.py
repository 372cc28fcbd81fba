"""Whether a campaign may dial now, how free slots are shared, and from which number a call goes.

"No" is a value that says why and until when; the same `Reason` is stored and shown.
"""

import heapq
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from apollo.core.model import NumberStrategy
from apollo.core.reasons import Reason
from apollo.core.windows import Window, WorkingHours


@dataclass(frozen=True, slots=True)
class DialNow:
    """Contacts may be taken while the window is open."""

    window: Window


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; `until` is when it is worth looking again, None when something must change first."""

    reason: Reason
    until: datetime | None


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """What decides whether a campaign may dial at all."""

    is_stopped: bool
    is_recovering: bool
    is_cancelled: bool
    is_paused: bool
    working_hours: WorkingHours


@dataclass(frozen=True, slots=True)
class BatchLoad:
    """A batch that may dial: its limit, its open calls, and contacts ready to be taken."""

    batch_id: uuid.UUID
    concurrency_limit: int
    open_calls: int
    ready: int


def may_dial(campaign: CampaignFacts, now: datetime) -> DialNow | Wait:
    """Decide for a whole campaign; `now` is the database's clock."""
    for is_held, reason in (
        (campaign.is_cancelled, Reason.CANCELLED),
        (campaign.is_stopped, Reason.DIALLING_STOPPED),
        (campaign.is_recovering, Reason.RECOVERY_MODE),
        (campaign.is_paused, Reason.CAMPAIGN_PAUSED),
    ):
        if is_held:
            return Wait(reason, None)
    window = campaign.working_hours.window_at(now)
    if window is not None:
        return DialNow(window)
    coming = campaign.working_hours.next_window(now)
    if coming is None:
        return Wait(Reason.WINDOW_NEVER_OPENS, None)
    return Wait(Reason.OUTSIDE_WINDOW, coming.opens_at)


def share_slots(batches: Sequence[BatchLoad], free: int) -> list[tuple[uuid.UUID, int]]:
    """Give each free slot to the batch with the fewest open calls for its limit."""
    given = [0] * len(batches)
    heap: list[tuple[float, int]] = []

    def offer(index: int) -> None:
        batch, more = batches[index], given[index]
        if more < batch.ready and batch.open_calls + more < batch.concurrency_limit:
            heapq.heappush(heap, ((batch.open_calls + more) / batch.concurrency_limit, index))

    for index in range(len(batches)):
        offer(index)
    while free > 0 and heap:
        _, index = heapq.heappop(heap)
        given[index] += 1
        free -= 1
        offer(index)
    return [(b.batch_id, n) for b, n in zip(batches, given, strict=True) if n]


def choose_caller_ids(
    strategy: NumberStrategy,
    numbers: Sequence[str],
    *,
    count: int,
    used: int,
    loads: Mapping[str, int],
    random: Random,
) -> list[str]:
    """Choose the caller id of each of `count` calls.

    `used` is how many were handed out before, `loads` the open calls of each number.
    """
    match strategy:
        case NumberStrategy.ROUND_ROBIN:
            return [numbers[(used + n) % len(numbers)] for n in range(count)]
        case NumberStrategy.RANDOM:
            return random.choices(numbers, k=count)
        case NumberStrategy.LEAST_LOADED:
            heap = [(loads.get(number, 0), n) for n, number in enumerate(numbers)]
            heapq.heapify(heap)
            chosen = []
            for _ in range(count):
                load, n = heap[0]
                chosen.append(numbers[n])
                heapq.heapreplace(heap, (load + 1, n))
            return chosen


def grant_pace(wanted: int, *, booked_ahead_s: float, per_second: float) -> int:
    """Say how many requests may be booked: no further than a second ahead.

    A claimed call that waits longer than two seconds is given back, so booking more is waste. A
    pace below one a second books its single next request as soon as it is less than a second away.
    """
    if booked_ahead_s >= 1.0:
        return 0
    return min(wanted, max(1, math.floor((1.0 - booked_ahead_s) * per_second)))
