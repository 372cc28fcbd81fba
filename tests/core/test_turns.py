import uuid

from apollo.core.turns import Turns

NOISY = [uuid.UUID(int=n) for n in range(1, 101)]
QUIET = uuid.UUID(int=1000)


def known() -> Turns:
    turns = Turns()
    for campaign in NOISY:
        turns.learn(campaign, "org_noisy")
    turns.learn(QUIET, "org_quiet")
    return turns


def test_one_campaign_gets_every_second_turn_beside_a_hundred_of_another_organisation() -> None:
    turns = known()
    turns.add([*NOISY, QUIET])
    taken = []
    for _ in range(100):
        campaign = turns.take()
        taken.append(campaign)
        turns.add([campaign])
    assert taken.count(QUIET) == 50


def test_the_campaigns_of_one_organisation_take_turns_in_order() -> None:
    turns = known()
    turns.add(NOISY[:3])
    turns.add(NOISY[:1])
    assert [turns.take() for _ in range(3)] == NOISY[:3]
    assert not turns


def test_campaigns_of_whom_nobody_knows_the_owner_share_a_place_until_it_is_learnt() -> None:
    turns = Turns()
    turns.add([*NOISY[:2], QUIET])
    assert turns.take() == NOISY[0]
    turns.learn(QUIET, "org_quiet")
    turns.learn(NOISY[1], "org_noisy")
    assert {turns.take(), turns.take()} == {QUIET, NOISY[1]}
    assert not turns
