"""Bars are honest: whoever is there is seen, and only a full whole looks full."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from apollo.cli.bars import Bar, cells

NUMBERS = st.lists(st.integers(0, 10_000_000), max_size=11)


@given(NUMBERS, st.integers(0, 1_000_000), st.integers(13, 80))
def test_a_bar_is_full_exactly_when_the_whole_is(numbers: list[int], rest: int, width: int) -> None:
    total = sum(numbers) + rest
    sizes = cells(numbers, total, width)
    if total == 0:
        assert sum(sizes) == 0
    elif rest == 0:
        assert sum(sizes) == width
    else:
        assert sum(sizes) < width


@given(NUMBERS, st.integers(0, 1_000_000), st.integers(13, 80))
def test_who_is_there_has_a_cell_and_who_is_not_has_none(
    numbers: list[int], rest: int, width: int
) -> None:
    sizes = cells(numbers, sum(numbers) + rest, width)
    assert all((size > 0) == (number > 0) for size, number in zip(sizes, numbers, strict=True))


def test_one_contact_left_of_a_million_leaves_a_gap() -> None:
    assert cells([999_999], 1_000_000, 40) == [39]


def test_a_terminal_that_knows_no_blocks_gets_plain_signs() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True), width=20)
    console.print(Bar([(1, "green")], 2))
    assert raw.getvalue() == b"##########..........\n"
