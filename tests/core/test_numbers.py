"""What a person typed, and the number that is dialled."""

from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.number_forms import (
    AT_THEIR_WORD,
    INTERNATIONAL_FORMS,
    MUTATIONS,
    NATIONAL_FORMS,
    Written,
    examples,
    read_all,
    settings_of,
)

from apollo.core.numbers import check_region, parse_number, read_number

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
        ("+14155552671 ext. 5", "extension"),
        ("+1 202-555-0143 x123", "extension"),
        ("+12025550143,,5#", "extension"),
        ("+12025550143;ext=5", "extension"),
        ("+49 30 23125 Durchwahl 10", "extension"),
        ("+1415555CALL", "letters"),
        ("N/A", "letters"),
        ("++14155552671", "more than one plus"),
        ("+14155552671+", "two numbers"),
        ("+12025550143 / +12025550144", "two numbers"),
        ("+1 202-555-0146 ::: +1 202-555-0147", "two numbers"),
        ("2025550143\n2025550144", "two numbers"),
        ("030/231250/231251", "two numbers, or a slash"),
        ("+49 30 23125-10 - 19", "a range"),
        ("+49 30 23125-10-19", "a range"),
        ("+12025550143~9", "a range"),
        ("+49 30 23125\u201319", "a range"),
        ("4930231250.0", "decimal"),
        ("4930231250,00", "decimal"),
        ("+49 30 231250.5", "decimal"),
        ("9.19877E+11", "shortened.*exponent"),
        ("9,19877e+11", "shortened.*exponent"),
        ("919877000000", "so many zeros"),
        ("-12025550143", "minus sign"),
        ("*6712025550143", "a key"),
        ("+1202555014\u2460", r"U\+2460 CIRCLED DIGIT ONE"),
        ("+1\x07202", r"U\+0007 control character"),
        ("120363025@g.us", "chat group"),
        ("tel:7042;phone-context=+44", "phone-context"),
        ("\u0664\u0661\u0665", "country is missing"),
        ("+", "empty|no digits"),
        ("+0151 2345", "never 0"),
        ("+910000000000", "no such number"),
        ("+11345678901", "no such number"),
        ("+91919876543210", "twice"),
        ("1" * 61, "at most 15 digits"),
        ("+" + "1" * 30, "at most 15 digits"),
    ],
)
def test_each_thing_that_is_no_number_has_a_sentence_of_its_own(typed: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_number(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "'+12025550143",
        "`+12025550143",
        '="+12025550143"',
        "=+12025550143",
        "tel:+1-202-555-0143",
        "\u202a+1 202\u2011555\u20110143\u202c",
        "\u2066+12025550143\u2069",
        "+\u0661\u0662\u0660\u0662\u0665\u0665\u0665\u0660\u0661\u0664\u0663",
        "\uff0b\uff11\uff12\uff10\uff12\uff15\uff15\uff15\uff10\uff11\uff14\uff13",
        "001 202 555 0143",
        "+001 202 555 0143",
        "12025550143@s.whatsapp.net",
        "https://wa.me/12025550143",
        "+1 202 - 555 - 0143",
        "+12025550143\ufe0e",
    ],
)
def test_what_has_one_reading_is_taken(typed: str) -> None:
    assert parse_number(typed) == "+12025550143"


GERMANY = frozenset({49})


@pytest.mark.parametrize(
    ("typed", "rules", "number"),
    [
        ("0151 23456780", {"default_region": "DE"}, "+4915123456780"),
        ("030/23125010", {"default_region": "DE"}, "+493023125010"),
        ("+49 30 23125-10", {}, "+49302312510"),
        ("030-23125-10", {"default_region": "DE"}, "+49302312510"),
        ("+44 (0)20 7946 0018", {}, "+442079460018"),
        ("01.40.20.50.00", {"default_region": "FR"}, "+33140205000"),
        ("+7 495 123-45-67", {}, "+74951234567"),
        # A mobile number of chat exports; nobody has a landline as long as the other reading.
        ("4915123456789", {"country_codes": GERMANY}, "+4915123456789"),
        # Emden without its zero: the setting says that numbers are national.
        ("492112345", {"default_region": "DE"}, "+49492112345"),
        # An Emden number is no doubled country code, and a Lund one neither.
        ("+49 4921 12345", {}, "+49492112345"),
        ("+46 46 812 34 56", {}, "+46468123456"),
        ("+919877000000", {}, "+919877000000"),
        ("2079460018", {"row_region": "GB", "default_region": "US"}, "+442079460018"),
        ("442079460018", {"row_region": "GB", "default_region": "US"}, "+442079460018"),
    ],
)
def test_one_reading_is_taken(typed: str, rules: dict[str, Any], number: str) -> None:
    assert read_number(typed, **rules).e164 == number


@pytest.mark.parametrize(
    ("typed", "rules", "readings"),
    [
        ("4915123456789", {"default_region": "DE"}, ["+49 491", "+49 151"]),
        ("4917112345678", {"default_region": "DE"}, ["+49 491", "+49 171"]),
        ("492112345", {"country_codes": GERMANY}, ["+49 492", "+49 211", "default_region"]),
        ("62218350123", {"default_region": "ID"}, ["+62 622", "+62 218"]),
        ("+494915123456789", {}, ["+49 491", "+49 151"]),
        ("46468123456", {"country_codes": frozenset({46})}, ["+46 468", "+46 812"]),
        ("+39 (0)342 1234567", {}, ["+39 342", "+39 034"]),
    ],
)
def test_of_two_readings_none_is_guessed_and_both_are_named(
    typed: str, rules: dict[str, Any], readings: list[str]
) -> None:
    with pytest.raises(ValueError, match="two ways") as refused:
        read_number(typed, **rules)
    assert all(reading in str(refused.value) for reading in readings)


def test_a_national_zero_without_a_region_is_not_a_country_code() -> None:
    with pytest.raises(ValueError, match="country is missing"):
        parse_number("01.40.20.50.00", country_codes=frozenset({1}))


@pytest.mark.parametrize(
    ("forms", "wrong_allowed"),
    [(INTERNATIONAL_FORMS, 0), (NATIONAL_FORMS, 0), (MUTATIONS, 0), (AT_THEIR_WORD, 1)],
)
def test_no_form_of_an_example_number_reads_as_another_persons(
    forms: dict[str, Written], wrong_allowed: int
) -> None:
    # A tenth of them; `python -m scripts.number_figures` reads them all and prints the figures.
    some = [example for nth, example in enumerate(examples()) if nth % 10 == 3]
    figures = read_all(forms, some)
    wrong = [one for figure in figures.values() for one in figure.wrong]
    assert len({number for _, _, number, _ in wrong}) <= wrong_allowed, wrong
    if forms is INTERNATIONAL_FORMS:
        read, asked = figures["E.164"].right, len(some) * len(settings_of(some[0]))
        assert read == asked, "a clean number is taken under every setting"


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(ValueError, match="two letters"):
        parse_number("4155552671", default_region="Atlantis")
    assert check_region("in") == "IN"


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
