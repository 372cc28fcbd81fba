# ruff: noqa: T201 - it is a command
"""How long a row of numbers that do not exist has to be before it is the set-up's fault.

Calls lists with bad numbers in them through the carrier's own gate (`apollo.core.carrier`), in
virtual time: a bad number is told within a second, a phone rings seconds later, a freed slot is
used again. Prints, for each length, how often a gate shuts that should not (once in so many
contacts), and for a carrier that knows no number how many calls it takes to find out. Run it as
`python scripts/wrong_numbers.py`; `--contacts` and `--seeds` make it longer.
"""

import argparse
import heapq
import statistics
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Final, NamedTuple

from apollo.core.carrier import OPEN, ROW_MAX, Gate, note_carried, note_silent_end
from apollo.core.model import Call
from apollo.core.sip import Family
from apollo.core.states import CallKind, CallState

START: Final = datetime(2026, 5, 10, 9, tzinfo=UTC)
LENGTHS: Final = (3, 4, 5, 6, 8, 10)
# Seconds from the request to what is told first, and how long a call holds its slot.
TOLD_BAD_S: Final = (0.2, 1.0)
RINGS_S: Final = (1.5, 6.0)
TALKS_S: Final = (5.0, 90.0)


class Kind(NamedTuple):
    """A kind of list: the share of bad numbers, and how many of them stand together (mean)."""

    name: str
    bad: float
    together: float = 1.0


KINDS: Final = (
    Kind("5 % bad, anywhere", 0.05),
    Kind("5 % bad, by twos", 0.05, 2.0),
    Kind("5 % bad, by fours", 0.05, 4.0),
    Kind("10 % bad, anywhere", 0.10),
    Kind("20 % bad, anywhere", 0.20),
    Kind("30 % bad, anywhere", 0.30),
)


def people(kind: Kind, dice: Random) -> Iterator[bool]:
    """Say of each number of a list whether it is bad, in upload order."""
    is_bad = False
    while True:
        stays = 1 - 1 / kind.together
        begins = kind.bad / (1 - kind.bad) / kind.together if kind.together > 1 else kind.bad
        is_bad = dice.random() < (stays if is_bad and kind.together > 1 else begins)
        yield is_bad


def false_alarms(kind: Kind, slots: int, contacts: int, seed: int) -> dict[int, int]:
    """Call a list; returns for each length how often a row of it would have shut the gate."""
    dice = Random(seed)  # noqa: S311 - reproducible, not secret
    alarms = dict.fromkeys(LENGTHS, 0)
    gate, shut_by = OPEN, set[int]()
    under_way = 0
    # What happens when: (second, number, what).
    coming: list[tuple[float, int, str]] = []
    waiting = islice(enumerate(people(kind, dice)), contacts)

    def place(now: float) -> int:
        nth = next(waiting, None)
        if nth is None:
            return 0
        number, is_bad = nth
        told = now + dice.uniform(*(TOLD_BAD_S if is_bad else RINGS_S))
        heapq.heappush(coming, (told, number, "bad" if is_bad else "rings"))
        return 1

    for _ in range(slots):
        under_way += place(0.0)
    while coming:
        now, number, what = heapq.heappop(coming)
        at = START + timedelta(seconds=now)
        match what:
            case "rings":
                under_way -= 1
                gate, shut_by = note_carried(gate, at), set()
                heapq.heappush(coming, (now + dice.uniform(*TALKS_S), number, "over"))
            case "bad":
                under_way -= 1
                gate = note_silent_end(gate, _call(number), Family.NUMBER, at, shuts=False)
                for length in set(LENGTHS) - shut_by:
                    if len(gate.row) >= max(length, min(under_way, ROW_MAX)):
                        alarms[length] += 1
                        shut_by.add(length)
                under_way += place(now)
            case _:
                under_way += place(now)
    return alarms


def calls_until_noticed(slots: int, seed: int) -> int:
    """Call through a carrier that knows no number; returns how many calls it takes to notice."""
    dice, gate = Random(seed), Gate()  # noqa: S311 - as above
    coming = [(dice.uniform(*TOLD_BAD_S), n) for n in range(slots)]
    heapq.heapify(coming)
    for number in range(slots, 10_000):
        now, one = heapq.heappop(coming)
        gate = note_silent_end(gate, _call(one), Family.NUMBER, START, shuts=False)
        if len(gate.row) >= max(6, min(len(coming), ROW_MAX)):
            return number
        heapq.heappush(coming, (now + dice.uniform(*TOLD_BAD_S), number))
    raise AssertionError("it was never noticed")


def _call(number: int) -> Call:
    return Call(
        id=uuid.UUID(int=number),
        state=CallState.ENDED,
        version=1,
        kind=CallKind.FIRST,
        provider="p",
        phone_number=str(number),
        from_number="",
        requested_at=START,
        sip_status=404,
    )


def main() -> None:
    """Run every kind of list with few and many slots, and print the figures."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--contacts", type=int, default=20_000)
    asked.add_argument("--seeds", type=int, default=5)
    given = asked.parse_args()
    print(f"False alarms in {given.contacts} contacts; mean and spread of {given.seeds} seeds")
    print(f"{'list':20} {'slots':>5} " + "".join(f"{f'row of {n}':>14}" for n in LENGTHS))
    for kind in KINDS:
        for slots in (1, 20, 100):
            runs = [false_alarms(kind, slots, given.contacts, s) for s in range(given.seeds)]
            shown = ""
            for length in LENGTHS:
                each = [run[length] for run in runs]
                shown += f"{statistics.mean(each):8.1f} {min(each)}..{max(each)}".rjust(14)
            print(f"{kind.name:20} {slots:5} {shown}")
    print("\nA carrier that knows no number: calls placed until a row of 6 is noticed")
    for slots in (1, 5, 20, 100, 500):
        each = [calls_until_noticed(slots, seed) for seed in range(given.seeds)]
        print(f"{slots:5} slots: {statistics.mean(each):6.1f}  {min(each)}..{max(each)}")


if __name__ == "__main__":
    main()
