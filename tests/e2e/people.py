"""People whose every call is scripted, and what Apollo must make of each of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Reaction:
    """What somebody, or the network in their place, does with one call."""

    sip: int = 200
    rings: bool = True
    early_media: bool = False
    ring_s: float = 0.05
    talk_s: float = 0.1

    @property
    def word(self) -> str:
        """The word jambonz has for the end."""
        words = {200: "completed", 486: "busy", 603: "busy", 487: "no-answer"}
        return words.get(self.sip, "failed")


@dataclass(frozen=True)
class Person:
    """One scripted person. The last reaction stands for all later calls."""

    kind: str
    reactions: tuple[Reaction, ...]
    # What the contact's status must be in the end, and the outcome of each call.
    status: str
    outcomes: tuple[str, ...]
    # Whether the voice application asks for another call, after the first answered one.
    asks_again: bool = False

    def meets(self, nth: int) -> Reaction:
        """The reaction to the nth call, counted from 1."""
        return self.reactions[min(nth, len(self.reactions)) - 1]


def _once(kind: str, sip: int, status: str, outcome: str, *, rings: bool = True) -> Person:
    return Person(kind, (Reaction(sip, rings=rings),), status, (outcome,))


def _always(kind: str, sip: int, outcome: str, *, rings: bool = True) -> Person:
    """Not reached by any of three calls: the campaign allows two retries."""
    return Person(kind, (Reaction(sip, rings=rings),), "max_retries_reached", (outcome,) * 3)


_ANSWERS = Reaction()
# How often each kind is met, in a hundred people; two retries are allowed.
KINDS: tuple[tuple[int, Person], ...] = (
    (52, Person("answers", (_ANSWERS,), "completed", ("completed",))),
    (6, Person("early media", (Reaction(early_media=True),), "completed", ("completed",))),
    (4, Person("never rings", (Reaction(rings=False),), "completed", ("completed",))),
    (3, Person("answers again", (_ANSWERS,), "completed", ("completed",) * 2, asks_again=True)),
    (3, _always("busy", 486, "busy", rings=False)),
    (1, _always("busy everywhere", 600, "busy")),
    (3, _always("rings out", 487, "no_answer")),
    (2, _always("unreachable", 480, "no_answer")),
    (1, _always("timed out", 408, "no_answer", rings=False)),
    (3, _once("declines", 603, "busy", "busy")),
    (2, _once("unassigned", 404, "failed", "failed", rings=False)),
    (1, _once("gone", 410, "failed", "failed", rings=False)),
    (1, _once("too short", 484, "failed", "failed", rings=False)),
    (1, _once("nowhere", 604, "failed", "failed")),
    (1, _once("unwanted", 607, "failed", "failed")),
    (1, _once("blocked", 608, "failed", "failed", rings=False)),
    (
        6,
        Person(
            "busy, then answers",
            (Reaction(486, rings=False), _ANSWERS),
            "completed",
            ("busy", "completed"),
        ),
    ),
    (
        4,
        Person(
            "rings out, then declines",
            (Reaction(487), Reaction(603)),
            "busy",
            ("no_answer", "busy"),
        ),
    ),
    (
        5,
        # A carrier's failure does not use up the person's attempts: two of them and three tries.
        Person(
            "bad carrier, then busy",
            (Reaction(503, rings=False), Reaction(500), Reaction(486)),
            "max_retries_reached",
            ("failed", "failed", "busy", "busy", "busy"),
        ),
    ),
)


def crowd(count: int, random: Random) -> Iterator[Person]:
    """So many people, every kind among them in its share, in random order."""
    people = [kind for share, kind in KINDS for _ in range(share)]
    drawn = [people[n % len(people)] for n in range(count)]
    random.shuffle(drawn)
    return iter(drawn)


def numbers(count: int, first: int = 9_810_000_000) -> list[str]:
    """Valid Indian mobile numbers."""
    return [f"+91{first + n}" for n in range(count)]
