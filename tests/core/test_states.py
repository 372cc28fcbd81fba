from apollo.core import events
from apollo.core.states import (
    CALL_MOVES,
    CONTACT_SHOWS,
    FINAL_CONTACT,
    OPEN_CALL,
    UNFINISHED_CONTACT,
    CallState,
    ContactStatus,
    Off,
)

EVENTS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type)
    and issubclass(kind, events.CallEvent)
    and kind is not events.CallEvent
]


def test_every_pair_of_call_state_and_event_is_named() -> None:
    missing = [
        (state, event.__name__)
        for state in CallState
        for event in EVENTS
        if event not in CALL_MOVES[state]
    ]
    assert missing == []


def test_nothing_leads_back_to_placing() -> None:
    targets = {target for moves in CALL_MOVES.values() for target in moves.values()}
    assert CallState.PLACING not in targets


def test_a_closed_call_never_opens_again() -> None:
    for state in (CallState.ENDED, CallState.RELEASED):
        for target in CALL_MOVES[state].values():
            assert isinstance(target, Off) or target is state


def test_an_unknown_call_is_never_released_because_time_passed() -> None:
    moves = CALL_MOVES[CallState.UNKNOWN]
    assert moves[events.LeaseExpired] is Off.REPEAT
    assert CALL_MOVES[CallState.PLACING][events.LeaseExpired] is CallState.UNKNOWN


def test_ringing_and_answered_never_move_backwards() -> None:
    order = [CallState.ACCEPTED, CallState.RINGING, CallState.ANSWERED, CallState.ENDED]
    for position, state in enumerate(order):
        for target in CALL_MOVES[state].values():
            if isinstance(target, CallState):
                assert order.index(target) >= position


def test_an_open_call_shows_as_a_contact_on_call() -> None:
    assert CONTACT_SHOWS.keys() == OPEN_CALL
    assert set(CONTACT_SHOWS.values()) == {ContactStatus.DISPATCHED, ContactStatus.IN_PROGRESS}


def test_every_contact_status_is_final_or_unfinished() -> None:
    assert set(ContactStatus) == FINAL_CONTACT | UNFINISHED_CONTACT
    assert not FINAL_CONTACT & UNFINISHED_CONTACT
