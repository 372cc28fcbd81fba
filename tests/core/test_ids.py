import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apollo.core import ids
from apollo.core.ids import ContactKey

POSITIONS = st.integers(1, 62**5 - 1)
PREFIXES = st.sampled_from(["cmp", "btc", "exec", "con"])


@given(PREFIXES, st.uuids())
def test_what_is_shown_is_read_back(prefix: str, value: uuid.UUID) -> None:
    assert ids.parse_id(prefix, ids.public_id(prefix, value)) == value


@given(st.uuids(), POSITIONS)
def test_a_contact_id_leads_back_to_its_place(batch: uuid.UUID, position: int) -> None:
    key = ContactKey(batch, position)
    assert ids.parse_contact_id(ids.contact_id(key)) == key


@given(st.uuids(), POSITIONS, POSITIONS)
def test_within_a_batch_ids_sort_in_upload_order(batch: uuid.UUID, first: int, second: int) -> None:
    shown = [ids.contact_id(ContactKey(batch, position)) for position in (first, second)]
    assert (shown[0] < shown[1]) == (first < second)


@given(st.uuids(), st.uuids())
def test_ids_sort_like_the_numbers_behind_them(one: uuid.UUID, other: uuid.UUID) -> None:
    assert (ids.batch_id(one) < ids.batch_id(other)) == (one.int < other.int)


@given(st.integers(0, 62**8 - 1))
def test_a_number_is_written_at_its_width_and_read_back(number: int) -> None:
    assert len(ids.encode(number, 8)) == 8
    assert ids.decode(ids.encode(number, 8)) == number


@given(st.uuids())
def test_one_kind_of_id_is_never_taken_for_another(value: uuid.UUID) -> None:
    shown = [ids.campaign_id(value), ids.batch_id(value), ids.execution_id(value)]
    assert len(set(shown)) == 3
    assert ids.parse_id("cmp", ids.batch_id(value)) is None
    assert ids.parse_contact_id(ids.batch_id(value)) is None
    assert ids.parse_id("con", ids.contact_id(ContactKey(value, 7))) is None


@given(st.text())
def test_garbage_is_no_id_and_raises_nothing(text: str) -> None:
    assert ids.parse_id("btc", text) is None
    assert ids.parse_contact_id(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "btc",
        "btc_",
        "btc_" + "0" * 21,
        "btc_" + "0" * 23,
        "btc_" + "z" * 22,  # more than 128 bits
        "btc_" + "-" * 22,
        "btc_" + "٣" * 22,  # digits, but not ours
        "BTC_" + "0" * 22,
        " btc_" + "0" * 22,
        "btc_" + "0" * 22 + "\n",
        "btc__" + "0" * 21,
        str(uuid.UUID(int=1)),
    ],
)
def test_look_alikes_are_no_ids(text: str) -> None:
    assert ids.parse_id("btc", text) is None


@given(st.text(alphabet="0123456789ABCZabcz_-é", min_size=20, max_size=30))
def test_an_id_has_one_spelling(tail: str) -> None:
    value = ids.parse_id("btc", f"btc_{tail}")
    assert value is None or ids.batch_id(value) == f"btc_{tail}"
