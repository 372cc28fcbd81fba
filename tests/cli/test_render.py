"""What a person reads at two in the morning holds all that the API said."""

import pytest
from rich.console import Console, RenderableType
from tests.cli.shapes import batch, debug

from apollo.cli.render import (
    batch_view,
    calls_in_progress,
    diagnosis,
    finished_contacts,
    listing,
    progress_line,
    rejected_table,
    verdict_line,
)


def shown(view: RenderableType, width: int = 100) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(view)
    return captured.get()


def test_a_diagnosis_shows_verdict_arithmetic_reasons_and_fixes() -> None:
    text = shown(diagnosis(debug()))
    for part in (
        "blocked",
        "520 contacts unfinished = 20 on a call + 380 no_worker_alive + 120 retry_not_due",
        "critical  no_worker_alive  380 contacts  since 2026-05-10T09:01:00Z",
        "→ No worker is running. Start one: `apollo worker`.",
        "20 of 20 in use",
        "Could not be read, so not judged: processes",
    ):
        assert part in text


def test_contacts_that_are_held_are_named_beside_the_reasons() -> None:
    note = "2 contacts are held as failed"
    text = shown(diagnosis(debug(held={"contacts": 2, "note": note})))
    assert text.index("no_worker_alive") < text.index(note)
    assert "held" not in shown(diagnosis(debug(held={"contacts": 0, "note": None})))


def test_texts_of_the_api_are_shown_as_they_are_and_not_taken_for_colours() -> None:
    assert "last_seen host-1 [red], process 4711" in shown(diagnosis(debug()))


def test_a_stuck_batch_says_so() -> None:
    assert "Stuck" not in shown(diagnosis(debug()))
    assert "Stuck" in shown(diagnosis(debug(stuck_pending=True)))


def test_an_answer_of_an_older_api_is_shown_as_far_as_it_goes() -> None:
    old = debug()
    old["diagnostics"] = {"stuck_pending": True, "tip": "Restart the worker."}
    assert "Restart the worker." in shown(diagnosis(old))


@pytest.mark.parametrize("width", [30, 80, 200])
def test_views_fit_any_terminal(width: int) -> None:
    for view in (diagnosis(debug()), batch_view(batch(), 4.2)):
        assert all(len(line) <= width for line in shown(view, width).splitlines())


def test_a_batch_shows_every_counter_that_is_not_zero() -> None:
    text = shown(batch_view(batch(), 4.2))
    assert "480 of 1,000 finished" in text
    assert "20 on a call" in text
    assert "4.2/s" in text
    assert "no retry left" in text
    assert "follow-up agreed" not in text


def test_one_line_says_how_far_a_batch_is() -> None:
    assert progress_line(batch(), None) == (
        "in_progress: 480 of 1000 contacts finished, 20 on a call"
    )
    assert (finished_contacts(batch()), calls_in_progress(batch())) == (480, 20)


def test_a_healthy_verdict_has_the_tip_for_its_reason() -> None:
    healthy = debug(verdict="healthy", reasons=[], tip="All is well.")
    assert shown(verdict_line(healthy)).strip() == "healthy  All is well."


def test_a_listing_cuts_nothing_off_on_a_narrow_terminal() -> None:
    url = "https://bot.example.com/" + "x" * 60
    text = shown(listing(("agent", "call hook"), [("agent_sales", url)]), 40)
    cells = "".join(line[13:].strip() for line in text.splitlines()[1:])
    assert cells == url


def test_rows_left_out_are_listed_and_the_rest_counted() -> None:
    rows = [{"index": n, "phone_number": f"[{n}]", "reason": "empty"} for n in range(2, 32)]
    table = rejected_table(batch(rejected=rows, rejected_count=40), rows_max=20)
    assert table is not None
    text = shown(table)
    assert "[21]" in text
    assert "[22]" not in text
    assert "and 20 more" in text
    assert rejected_table(batch(), rows_max=20) is None
