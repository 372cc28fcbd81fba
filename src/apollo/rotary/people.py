"""Who picks up, and what they do then.

Owns the people behind the simulated carrier: what one does depends on the seed, the number and how
often that number was called before, never on the order of arrival. Must not place calls or wait.
"""

from bisect import bisect
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from apollo.rotary.dice import throws
from apollo.rotary.schema import Number, Part, Seconds, Span

REFUSALS_START = 300  # SIP answers from here on end a call that nobody picked up
REFUSALS_END = 699


class Does(StrEnum):
    """What a person, or the network in their place, does with a call."""

    ANSWER = "answer"  # picks up and talks
    VOICEMAIL = "voicemail"  # a machine picks up and records
    NO_ANSWER = "no_answer"  # it rings until somebody gives up
    BUSY = "busy"  # on another call: 486 at once
    DECLINE = "decline"  # rings, then pressed away: 603
    BAD_NUMBER = "bad_number"  # no such subscriber: 404 at once
    REFUSE = "refuse"  # the network answers with the SIP code of the script


PICKS_UP = frozenset({Does.ANSWER, Does.VOICEMAIL})
SILENT_REFUSAL = frozenset({Does.BUSY, Does.BAD_NUMBER, Does.REFUSE})  # no ringing unless scripted
USUAL_SIP = {
    Does.ANSWER: 200,
    Does.VOICEMAIL: 200,
    Does.NO_ANSWER: 480,  # mobile networks say "temporarily unavailable" when nobody comes
    Does.BUSY: 486,
    Does.DECLINE: 603,
    Does.BAD_NUMBER: 404,
}


class Behaviour(Part):
    """One scripted reaction; what is left out comes from the distributions."""

    does: Does
    ring_s: Seconds | None = None
    talk_s: Seconds | None = None
    sip: Annotated[int, Field(ge=REFUSALS_START, le=REFUSALS_END)] | None = None
    early_media: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> "Behaviour":
        if self.does in PICKS_UP and self.sip is not None:
            raise ValueError("sip belongs to a call that is not picked up; leave it out here")
        if self.does is Does.REFUSE and self.sip is None:
            raise ValueError("sip is missing; refuse needs the code to answer, such as 503")
        if self.does not in PICKS_UP and self.talk_s is not None:
            raise ValueError("talk_s belongs to answer or voicemail; leave it out here")
        return self


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, dict) else value


Script = Annotated[tuple[Behaviour, ...], BeforeValidator(_one_or_many), Field(min_length=1)]


class PeopleRules(Part):
    """The people of a scenario: a preset, changes to it, and scripts by number or last digits."""

    preset: Literal["everyday", "instant"] = "everyday"
    mix: dict[Does, Annotated[float, Field(ge=0)]] | None = None
    dial_s: Span | None = None  # from our request to the first sign of ringing
    ring_s: Span | None = None  # ringing before somebody picks up or declines
    talk_s: Span | None = None
    voicemail_s: Span | None = None
    unanswered_s: Span | None = None  # ringing before the network gives up
    by_ending: dict[Annotated[str, Field(pattern=r"^\d+$")], Script] = Field(default_factory=dict)
    by_number: dict[Number, Script] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _someone_is_there(self) -> "PeopleRules":
        if self.mix is not None and sum(self.mix.values()) <= 0:
            raise ValueError("mix should have at least one share above 0")
        if self.mix is not None and Does.REFUSE in self.mix:
            raise ValueError("mix cannot hold refuse, which needs a SIP code; script a number")
        return self


@dataclass(frozen=True, slots=True)
class Preset:
    """A ready set of people; every span is [shortest, longest] in seconds."""

    mix: dict[Does, float]
    dial_s: tuple[float, float]
    ring_s: tuple[float, float]
    talk_s: tuple[float, float]
    voicemail_s: tuple[float, float]
    unanswered_s: tuple[float, float]


PRESETS = {
    # The shares of an ordinary campaign; times short enough to watch a batch to its end.
    "everyday": Preset(
        mix={
            Does.ANSWER: 0.54,
            Does.VOICEMAIL: 0.14,
            Does.NO_ANSWER: 0.16,
            Does.BUSY: 0.09,
            Does.DECLINE: 0.04,
            Does.BAD_NUMBER: 0.03,
        },
        dial_s=(0.02, 0.15),
        ring_s=(0.3, 1.0),
        talk_s=(0.5, 3.0),
        voicemail_s=(0.5, 1.5),
        unanswered_s=(1.0, 2.0),
    ),
    # For benchmarks: everybody answers and hangs up in the same moment.
    "instant": Preset(
        mix={Does.ANSWER: 1.0},
        dial_s=(0.0, 0.0),
        ring_s=(0.0, 0.0),
        talk_s=(0.0, 0.0),
        voicemail_s=(0.0, 0.0),
        unanswered_s=(0.0, 0.0),
    ),
}


@dataclass(frozen=True, slots=True)
class Conduct:
    """What happens to one call: all in simulated seconds; no `ring_s` means it never rings."""

    does: Does
    dial_s: float
    ring_s: float | None
    talk_s: float
    sip_status: int
    early_media: bool = False


class People:
    """Everybody the carrier can reach."""

    def __init__(self, rules: PeopleRules, seed: int) -> None:
        usual = PRESETS[rules.preset]
        mix = rules.mix or usual.mix
        self._seed = seed
        self._rules = rules
        self._kinds = [kind for kind, share in mix.items() if share]
        self._bounds = list(accumulate(share for share in mix.values() if share))
        self._endings = sorted(rules.by_ending, key=len, reverse=True)
        self._dial_s = rules.dial_s or usual.dial_s
        self._ring_s = rules.ring_s or usual.ring_s
        self._talk_s = rules.talk_s or usual.talk_s
        self._voicemail_s = rules.voicemail_s or usual.voicemail_s
        self._unanswered_s = rules.unanswered_s or usual.unanswered_s

    def meet(self, number: str, nth: int) -> Conduct:
        """What the owner of the number (no plus) does on the nth call to it, counted from 1."""
        # Every throw is made whether it is used or not, so that a script for one field of a
        # person leaves the others as they were.
        who, dial, ring, talk, *_ = throws(self._seed, "person", number, nth)
        kind = self._kinds[bisect(self._bounds, who * self._bounds[-1])]
        dial_s = _within(self._dial_s, dial)
        script = self._script(number)
        if script is None:
            ring_s, talk_s = self._times(kind, ring, talk)
            return Conduct(kind, dial_s, ring_s, talk_s, USUAL_SIP[kind])
        scripted = script[min(nth, len(script)) - 1]  # the last line stands for all later calls
        ring_s, talk_s = self._times(scripted.does, ring, talk)
        return Conduct(
            scripted.does,
            dial_s,
            ring_s if scripted.ring_s is None else scripted.ring_s,
            talk_s if scripted.talk_s is None else scripted.talk_s,
            scripted.sip or USUAL_SIP[scripted.does],
            scripted.early_media,
        )

    def _times(self, kind: Does, ring: float, talk: float) -> tuple[float | None, float]:
        patience_s = self._unanswered_s if kind is Does.NO_ANSWER else self._ring_s
        speech_s = self._voicemail_s if kind is Does.VOICEMAIL else self._talk_s
        ring_s = None if kind in SILENT_REFUSAL else _within(patience_s, ring)
        return ring_s, _within(speech_s, talk)

    def _script(self, number: str) -> tuple[Behaviour, ...] | None:
        script = self._rules.by_number.get(number)
        if script is None:
            for ending in self._endings:
                if number.endswith(ending):
                    return self._rules.by_ending[ending]
        return script


def _within(span: tuple[float, float], share: float) -> float:
    return span[0] + (span[1] - span[0]) * share
