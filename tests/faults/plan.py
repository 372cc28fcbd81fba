"""What one seed decides: who is called, what the weather is, and which blows fall when."""

from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.entry import KILL_POINTS
from tests.faults.proxy import Cut

# Kinds of blows, each with how often it is drawn.
BLOWS: Final = {
    "worker killed": 4,
    "API killed": 3,
    "PostgreSQL killed": 2,
    "PostgreSQL stopped at once": 2,
    "RotaryRouter killed": 2,
    "killed at a marked point": 6,
    "worker stands still": 3,
    "API stands still": 2,
    "PostgreSQL stands still": 1,
    "connections to the provider cut": 3,
    "connections to the API cut": 2,
    "connections to PostgreSQL cut": 3,
    "worker's clock off by an hour": 2,
}
# What the operators do in the middle of it, each with how often it is drawn; "" is nothing.
ORDERS: Final = {
    "": 2,
    "batch paused and resumed": 2,
    "campaign paused and resumed": 2,
    "batch cancelled": 3,
}
# Weather that is bad in more than one way at once, as it is when somebody's machine is ill.
FRONTS: Final[tuple[dict[str, Any], ...]] = (
    # The provider forgets what is over: its webhooks are all there ever was.
    {"record_expires": {"rate": 1.0, "delay_s": 0.0}, "cdr_lost": {"rate": 1.0}},
    {
        "record_expires": {"rate": 1.0, "delay_s": 0.0},
        "cdr_lost": {"rate": 1.0},
        "delay_after_placing": {"rate": 0.3, "delay_s": 1.0},
    },
    {"delay_before_placing": {"rate": 0.4, "delay_s": 1.5}},
    # Not one webhook comes through: all that is known is asked for.
    {"webhook_lost": {"rate": 1.0}},
    # Nor the reply of some, and what is over is on record alone, which comes last.
    {
        "webhook_lost": {"rate": 1.0},
        "place_then_500": {"rate": 0.2},
        "record_expires": {"rate": 1.0, "delay_s": 0.0},
    },
    {
        "record_expires": {"rate": 1.0, "delay_s": 0.0},
        "webhook_lost": {"rate": 0.3},
        "place_then_500": {"rate": 0.1},
    },
)
# What RotaryRouter does wrong all the while; a run has some of these.
WEATHER: Final[dict[str, Any]] = {
    "webhook_lost": {"rate": 0.1},
    "webhook_doubled": {"rate": 0.2},
    "webhook_late": {"rate": 0.15, "delay_s": 1.0},
    "webhook_reordered": {"rate": 0.2},
    "webhook_before_reply": {"rate": 0.3},
    "webhook_badly_signed": {"rate": 0.05},
    "place_then_500": {"rate": 0.08},
    "drop_reply": {"rate": 0.08},
    "never_place": {"rate": 0.03},
    "delay_before_placing": {"rate": 0.1, "delay_s": 1.0},
    "delay_after_placing": {"rate": 0.1, "delay_s": 1.0},
    "call_silent": {"rate": 0.05, "events": ["ringing", "in-progress"]},
    "cdr_late": {"rate": 0.5, "delay_s": 2.0},
    "cdr_lost": {"rate": 0.5},
    "record_expires": {"rate": 0.7, "delay_s": 0.0},
    "refuse": {"rate": 0.05, "status": 480},
    "nonsense": {"rate": 0.4},
}
_REFUSALS: Final = (429, 480, 500, 503)


@dataclass(frozen=True)
class Blow:
    """Something that happens once a share of the contacts was called."""

    kind: str
    at_share: float
    lasts_s: float
    # Where the process dies, for a marked point; which cuts, for connections.
    point: str = ""
    nth: int = 1
    cuts: tuple[Cut, ...] = ()
    hours: int = 0
    second: bool = False


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    blows: tuple[Blow, ...]
    weather: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    # Every patience of the product made short; False: as a customer has it.
    is_quick: bool = True
    # Contacts in the two batches of the first organisation and in the one of the second, which
    # calls some of the same people.
    contacts: tuple[int, int, int] = (40, 25, 35)
    shared: int = 15
    limits: tuple[int, int] = (12, 8)
    mutant: str = ""

    def shown(self) -> str:
        """One line for whoever replays it."""
        blows = ", ".join(f"{b.kind}{f' ({b.point})' * bool(b.point)}" for b in self.blows)
        return f"{blows}; {', '.join(self.weather) or 'fair weather'}; {self.workers} workers"


def draw(seed: int, mutant: str = "") -> Plan:
    """Draw the plan of a seed."""
    random = Random(seed)
    front = random.choice(FRONTS) if random.random() < 0.5 else {}
    kinds = random.choices(list(BLOWS), list(BLOWS.values()), k=random.randint(1, 3))
    if "delay_before_placing" in front:
        # A request that is lost on its way to a slow provider is placed after the first look-up.
        kinds.append("connections to the provider cut")
    kinds += [one for one in random.choices(list(ORDERS), list(ORDERS.values())) if one]
    random.shuffle(kinds)
    shares = sorted(random.uniform(0.05, 0.8) for _ in kinds)
    weather = dict(front)
    for name in random.sample([x for x in WEATHER if x not in weather], random.randint(0, 3)):
        weather[name] = dict(WEATHER[name])
        if name == "refuse":
            weather[name]["status"] = random.choice(_REFUSALS)
    blows = [make_blow(kind, share, random) for kind, share in zip(kinds, shares, strict=True)]
    if mutant == "believe every value of the provider":
        weather["nonsense"] = WEATHER["nonsense"]
    if any("look-up" in blow.point for blow in blows):
        weather = {"webhook_lost": {"rate": 0.6}}  # or nothing would be looked up
    return Plan(
        seed=seed,
        blows=tuple(blows),
        weather=weather,
        workers=random.choice((1, 1, 2)),
        mutant=mutant,
    )


def make_blow(kind: str, share: float, random: Random) -> Blow:
    """Draw what is open about one blow."""
    point = random.choice(list(KILL_POINTS)) if kind == "killed at a marked point" else ""
    cuts = tuple(Cut) if random.random() < 0.2 else tuple(c for c in Cut if c is not Cut.STALL)
    return Blow(
        kind=kind,
        at_share=share,
        lasts_s=random.uniform(0.0, 1.5) if "killed" in kind else random.uniform(0.5, 3.5),
        point=point,
        nth=1 if "look-up" in point else random.randint(1, 4),
        cuts=cuts,
        hours=random.choice((-1, 1)),
        second=random.random() < 0.5,
    )
