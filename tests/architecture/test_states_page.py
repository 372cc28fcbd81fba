from scripts.draw_states import PAGE, render

from apollo.core.states import CALL_MOVES, CallState


def test_the_page_about_states_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == render(), "run: python scripts/draw_states.py"


def test_every_move_is_drawn() -> None:
    page = render()
    for state, moves in CALL_MOVES.items():
        for event, target in moves.items():
            if isinstance(target, CallState):
                assert any(
                    line.startswith(f"  {state} --> {target}: ") and event.__name__ in line
                    for line in page.splitlines()
                )
