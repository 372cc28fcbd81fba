"""Who picks up depends on the seed, the number and how often it was called; on nothing else."""

from collections import Counter
from itertools import pairwise

import pytest
from pydantic import ValidationError
from tests.rotary.world import person, running

from apollo.rotary.people import PRESETS, Conduct, Does, People, PeopleRules

SEED = 20_261_123
NUMBER = "919876543210"


def people(seed: int = SEED, **rules: object) -> People:
    return People(PeopleRules.model_validate(rules), seed)


def test_the_same_seed_number_and_turn_give_the_same_conduct() -> None:
    numbers = [person(one)[1:] for one in range(200)]
    forwards = {(number, nth): people().meet(number, nth) for number in numbers for nth in (1, 2)}
    crowd = people()
    backwards = {key: crowd.meet(*key) for key in reversed(list(forwards))}
    assert backwards == forwards


def test_another_seed_another_crowd() -> None:
    numbers = [person(one)[1:] for one in range(100)]
    first, second = people(1), people(2)
    assert [first.meet(one, 1) for one in numbers] != [second.meet(one, 1) for one in numbers]


def test_a_person_may_do_something_else_the_next_time() -> None:
    crowd = people()
    kinds = [crowd.meet(NUMBER, nth).does for nth in range(1, 60)]
    assert any(first is not second for first, second in pairwise(kinds)), f"seed {SEED}"


def test_everyday_people_come_in_the_shares_of_the_preset() -> None:
    crowd = people()
    found = Counter(crowd.meet(person(one)[1:], 1).does for one in range(20_000))
    for kind, share in PRESETS["everyday"].mix.items():
        assert abs(found[kind] / 20_000 - share) < 0.02, f"{kind}, seed {SEED}"


def test_everyday_calls_are_short_enough_to_watch() -> None:
    crowd = people()
    for one in range(2_000):
        conduct = crowd.meet(person(one)[1:], 1)
        assert conduct.dial_s + (conduct.ring_s or 0) + conduct.talk_s < 5.5, f"seed {SEED}"
        assert (conduct.ring_s is None) == (conduct.does in {Does.BUSY, Does.BAD_NUMBER})


def test_instant_people_answer_without_any_delay() -> None:
    assert people(preset="instant").meet(NUMBER, 7) == Conduct(Does.ANSWER, 0, 0, 0, 200)


def test_a_mix_replaces_the_one_of_the_preset() -> None:
    crowd = people(mix={"busy": 1, "answer": 0})
    assert {crowd.meet(person(one)[1:], 1).does for one in range(100)} == {Does.BUSY}


def test_a_script_goes_call_by_call_and_its_last_line_stays() -> None:
    script = [{"does": "busy"}, {"does": "answer", "talk_s": 3, "ring_s": 0.5}]
    crowd = people(by_number={f"+{NUMBER}": script})
    assert crowd.meet(NUMBER, 1).does is Does.BUSY
    for nth in (2, 3, 9):
        conduct = crowd.meet(NUMBER, nth)
        assert (conduct.does, conduct.talk_s, conduct.ring_s) == (Does.ANSWER, 3, 0.5)


def test_the_longest_ending_wins_and_a_whole_number_beats_it() -> None:
    crowd = people(
        by_ending={"0": {"does": "busy"}, "10": {"does": "decline"}},
        by_number={"+919876543310": {"does": "bad_number"}},
    )
    assert crowd.meet("919876543220", 1).does is Does.BUSY
    assert crowd.meet("919876543210", 1).does is Does.DECLINE
    assert crowd.meet("919876543310", 1).does is Does.BAD_NUMBER


@pytest.mark.parametrize(
    ("does", "sip", "rings"),
    [
        ("busy", 486, False),
        ("bad_number", 404, False),
        ("decline", 603, True),
        ("no_answer", 480, True),
    ],
)
def test_each_refusal_has_its_code_and_its_ringing(does: str, sip: int, rings: bool) -> None:
    conduct = people(by_number={NUMBER: {"does": does}}).meet(NUMBER, 1)
    assert (conduct.sip_status, conduct.ring_s is not None) == (sip, rings)
    scripted = people(by_number={NUMBER: {"does": does, "sip": 503, "ring_s": 1}}).meet(NUMBER, 1)
    assert (scripted.sip_status, scripted.ring_s) == (503, 1)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"does": "answer", "sip": 486}, "leave it out"),
        ({"does": "refuse"}, "sip is missing"),
        ({"does": "busy", "talk_s": 3}, "leave it out"),
    ],
)
def test_a_script_that_contradicts_itself_is_refused(
    behaviour: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        people(by_number={NUMBER: behaviour})


async def test_the_ledger_shows_the_same_outcomes_for_the_same_seed_in_any_order() -> None:
    mix = {"preset": "instant", "mix": {"answer": 1, "busy": 1, "decline": 1, "bad_number": 1}}
    outcomes = []
    for order in (range(30), reversed(range(30))):
        async with running({"people": mix}, seed=SEED) as world:
            lines = [await world.called(person(one), call_status_hook=None) for one in order]
            outcomes.append({line["to"]: (line["does"], line["sip_status"]) for line in lines})
    assert outcomes[0] == outcomes[1], f"seed {SEED}"
    assert len(set(outcomes[0].values())) > 1
