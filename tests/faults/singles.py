"""One thing broken at a time, with the patience that the product has: how long until it dials."""

from random import Random
from typing import Final

from tests.faults.plan import Blow, Plan, make_blow

# For how long each is broken, in seconds.
SINGLES: Final = {
    "worker killed": 1.0,
    "API killed": 5.0,
    "PostgreSQL killed": 5.0,
    "PostgreSQL stopped at once": 5.0,
    "RotaryRouter killed": 5.0,
    "worker stands still": 60.0,
    "API stands still": 60.0,
    "PostgreSQL stands still": 60.0,
    "connections to the provider cut": 5.0,
    "connections to the API cut": 5.0,
    "connections to PostgreSQL cut": 5.0,
    "worker's clock off by an hour": 0.0,
}


def single(kind: str, seed: int) -> Plan:
    """Plan a run with one fault in fair weather and enough contacts to dial for long after."""
    random = Random(seed)
    drawn = make_blow(kind, random.uniform(0.1, 0.25), random)
    blow = Blow(
        kind=kind,
        at_share=drawn.at_share,
        lasts_s=SINGLES[kind],
        nth=drawn.nth,
        cuts=drawn.cuts,
        hours=drawn.hours,
    )
    return Plan(
        seed=seed,
        blows=(blow,),
        is_quick=False,
        contacts=(120, 60, 80),
        limits=(12, 8),
    )
