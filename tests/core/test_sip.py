import pytest

from apollo.core.sip import SIP, Family, read, spoken


def test_every_code_says_what_it_means_and_what_to_do() -> None:
    for code, one in SIP.items():
        assert 400 <= code <= 699
        assert one.name
        assert one.meaning[0].islower()
        assert not one.meaning.endswith(".")
        assert one.remedy.endswith(".")


@pytest.mark.parametrize("code", [None, 200, 499, 699])
def test_a_code_that_is_not_in_the_table_is_asked_about(code: int | None) -> None:
    assert read(code).name == ""
    assert read(code).family is None
    assert "Ask the carrier" in read(code).remedy


@pytest.mark.parametrize(
    ("family", "codes"),
    [
        (Family.NUMBER, {404, 410, 484, 604}),
        (Family.CODEC, {415, 488, 606}),
        (Family.DECLINED, {603}),
    ],
)
def test_endings_that_mean_the_same_of_many_numbers_are_one_family(
    family: Family, codes: set[int]
) -> None:
    assert {code for code, one in SIP.items() if one.family is family} == codes


def test_a_code_is_shown_with_its_name_or_with_the_words_of_the_carrier() -> None:
    assert spoken(404) == "404 Not Found"
    assert spoken(503, "Trunk limit") == "503 Trunk limit"
    assert spoken(499) == "499"
    assert spoken(None) == "no SIP code"
