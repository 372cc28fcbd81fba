"""Whom a campaign may call: kinds of number, countries, its own caller ids."""

import pytest

from apollo.core.numbers import read_number
from apollo.core.reach import NumberKind, checked_countries, checked_kinds, fault_of, reach_of

US = "+12025550100"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("+19005551234", NumberKind.PREMIUM_RATE),
        ("+449098790000", NumberKind.PREMIUM_RATE),
        ("+979123456789", NumberKind.PREMIUM_RATE),
        ("+4918012345", NumberKind.SHARED_COST),
        ("+447012345678", NumberKind.PERSONAL),
        ("+4970012345678", NumberKind.PERSONAL),
        ("+443012345678", NumberKind.UNIVERSAL_ACCESS),
        ("+881612345678", NumberKind.SATELLITE),
        ("+870773111632", NumberKind.SATELLITE),
        ("+80012345678", NumberKind.GLOBAL_SERVICE),
        ("+883510000000094", NumberKind.GLOBAL_SERVICE),
        (US, NumberKind.OWN_CALLER_ID),
    ],
)
def test_numbers_that_nobody_means_to_call_are_refused_unless_their_kind_is_allowed(
    number: str, kind: NumberKind
) -> None:
    read = read_number(number)
    fault = fault_of(read, reach_of([US], ["*"]))
    assert fault is not None
    assert f"add {kind} to its allowed_number_types" in fault
    assert fault_of(read, reach_of([US], ["*"], [kind])) is None


@pytest.mark.parametrize(
    ("caller_id", "number", "is_allowed"),
    [
        (US, "+14155550123", True),
        (US, "+18005550123", True),
        (US, "+17875550123", True),  # Puerto Rico: a territory
        (US, "+16045550123", False),  # Canada shares the code, and is another country
        (US, "+18765550123", False),  # Jamaica as well, at other prices
        (US, "+442079460018", False),
        ("+16045550100", "+18005550123", True),  # toll-free is of every country of +1
        ("+18005550100", "+16045550123", True),
        ("+442079460018", "+441534123456", True),  # Jersey is part of the plan
        ("+493023125000", "+4915123456789", True),
        ("+493023125000", "+43123456789", False),
        ("+79161234567", "+77012345678", False),  # Kazakhstan
        ("+883510000000094", "+442079460018", True),  # a caller id of no country names none
    ],
)
def test_without_a_setting_the_countries_of_the_caller_ids_are_called(
    caller_id: str, number: str, *, is_allowed: bool
) -> None:
    fault = fault_of(read_number(number), reach_of([caller_id]))
    assert (fault is None) is is_allowed, fault
    assert fault is None or "add " in fault


def test_allowed_countries_replace_those_of_the_caller_ids() -> None:
    reach = reach_of([US], ["GB", "CA"])
    assert fault_of(read_number("+442079460018"), reach) is None
    assert fault_of(read_number("+18005550123"), reach) is None, "toll-free is valid in Canada"
    fault = fault_of(read_number("+14155550123"), reach)
    assert fault == (
        "it is a number of US, and the campaign calls CA, GB only; if it is to call there, add US"
        " to its allowed_countries"
    )
    assert fault_of(read_number("+442079460018"), reach_of([US], ["*"])) is None


def test_settings_are_checked() -> None:
    assert checked_countries(["us", "US", "*"]) == ["US", "*"]
    with pytest.raises(ValueError, match="at least one"):
        checked_countries([])
    with pytest.raises(ValueError, match="two letters"):
        checked_countries(["Germany"])
    assert checked_kinds(["pager", "pager"]) == ["pager"]
    with pytest.raises(ValueError, match="unknown type 'gold'; use one or more of premium_rate"):
        checked_kinds(["gold"])
