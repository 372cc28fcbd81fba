"""The figures that matter most, in about two minutes: `make bench-quick`.

Everything runs on this machine, carrier included, in a folder that is gone afterwards.

    python benchmarks/quick.py [--only NAME] [--json FILE]
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from against_celery import against_celery
from calls import end_to_end, slot_refill
from figures import Figure, say, table
from machine import describe
from reads import reads
from uploads import uploads
from webhooks import webhooks

from apollo import embedded
from apollo.cli.interrupts import Interrupted, until_interrupted
from apollo.errors import ApolloError

MEASUREMENTS: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "end-to-end": end_to_end,
    "refill": slot_refill,
    "webhooks": webhooks,
    "reads": reads,
}
# These take longer than all of the above, and one needs a package index: only when asked for.
MORE: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "upload": uploads,
    "against-celery": against_celery,
}
EVERYTHING = {**MEASUREMENTS, **MORE}


def main() -> None:
    options = _options()
    chosen = [options.only] if options.only else list(MEASUREMENTS)
    machine = describe(f"{embedded.MAJOR_VERSION}, embedded")
    try:
        figures = asyncio.run(until_interrupted(_measure(chosen)))
    except Interrupted:
        sys.exit("Everything is stopped.")
    except ApolloError as fault:
        sys.exit(f"The measurement failed: {fault}")
    print()
    for name, value in machine.items():
        print(f"{name:<13} {value}")
    print(f"\n{table(figures)}")
    if options.json:
        made = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine,
            "figures": [one.as_json() for one in figures],
        }
        options.json.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")


async def _measure(chosen: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    for name in chosen:
        figures += await EVERYTHING[name]()
    say("done")
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=sorted(EVERYTHING), help="measure only this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
