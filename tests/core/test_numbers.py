"""What a person typed, and the number that is dialled."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo.core.numbers import check_region, country_code_of, parse_number

INDIA = frozenset({91})


@pytest.mark.parametrize(
    "typed",
    [
        "+919876543210",
        "+91 98765 43210",
        "+91-98765-43210",
        "(+91) 98765.43210",
        "+91\u00a098765\u201143210",
        " \ufeff+91 [98765] 43210\t",
    ],
)
def test_separators_are_left_out(typed: str) -> None:
    assert parse_number(typed) == "+919876543210"


def test_a_missing_plus_is_added_before_a_country_code_of_the_caller_ids() -> None:
    assert parse_number("919876543210", country_codes=INDIA) == "+919876543210"


def test_a_missing_plus_is_never_added_on_a_guess() -> None:
    with pytest.raises(ValueError, match="country is missing"):
        parse_number("14155552671", country_codes=INDIA)
    with pytest.raises(ValueError, match="country is missing"):
        parse_number("919876543210")


def test_a_national_number_that_looks_like_a_country_code_is_not_cut_in_two() -> None:
    # An Indian number may itself begin with 91.
    assert parse_number("9123456789", country_codes=INDIA, default_region="IN") == "+919123456789"
    with pytest.raises(ValueError, match="not a valid number"):
        parse_number("9123456789", country_codes=INDIA)


def test_a_default_region_reads_national_and_international_writing() -> None:
    assert parse_number("09876543210", default_region="IN") == "+919876543210"
    assert parse_number("(415) 555-2671", default_region="us") == "+14155552671"
    assert parse_number("919876543210", default_region="IN") == "+919876543210"
    assert parse_number("+447400123456", default_region="IN") == "+447400123456"
    codes = frozenset({44})
    number = parse_number("447400123456", country_codes=codes, default_region="IN")
    assert number == "+447400123456"


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("", "empty"),
        (" - ", "empty"),
        ("+91 98765", "too few digits"),
        ("+1 415 555 26711", "too many digits"),
        ("+999 123456789", "no known country code"),
        ("+14155552671 ext. 5", "only digits"),
        ("+1415555CALL", "only digits"),
        ("++14155552671", "only digits"),
        ("+14155552671+", "only digits"),
        ("\u0664\u0661\u0665", "only digits"),
        ("+", "only digits"),
        ("+910000000000", "no such number"),
        ("+11345678901", "no such number"),
        ("1" * 41, "at most 15 digits"),
        ("+" + "1" * 30, "not a valid number"),
    ],
)
def test_a_wrong_number_is_refused_with_what_is_wrong(typed: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_number(typed)


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(ValueError, match="two letters"):
        parse_number("4155552671", default_region="Atlantis")
    assert check_region("in") == "IN"


def test_the_country_code_of_a_number_is_known() -> None:
    assert country_code_of("+919876543210") == 91
    assert country_code_of("+14155552671") == 1


@given(st.text(max_size=45))
def test_any_text_gives_a_valid_number_or_a_sentence(typed: str) -> None:
    try:
        number = parse_number(typed, country_codes=frozenset({1, 44, 91}), default_region="US")
    except ValueError as fault:
        assert len(str(fault)) > 20  # noqa: PT017 - both ways out are checked
    else:
        assert phonenumbers.is_valid_number(phonenumbers.parse(number))
        assert parse_number(number) == number


@given(st.from_regex(r"\+?[0-9 ().-]{1,20}", fullmatch=True))
def test_an_error_never_repeats_the_number(typed: str) -> None:
    try:
        parse_number(typed)
    except ValueError as fault:
        digits = "".join(filter(str.isdigit, typed))
        assert len(digits) < 6 or digits not in str(fault)  # noqa: PT017 - see above
