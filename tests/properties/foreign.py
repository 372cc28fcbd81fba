"""Values as others send them, and a count of what each reader did with them.

`make foreign` tries 10 000 for each reader and prints the counts; `make test` tries forty.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = 10_000 if os.environ.get("APOLLO_TEST_FULL") == "1" else 40
many = settings(
    max_examples=EXAMPLES,
    deadline=None,  # the machine may be busy
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Pieces of JSON: ordinary values, and those that broke something somewhere.
ODD_ONES = (
    *("null", "true", "0", "-1", "200", "486", "70000", "1000000000000", "1e999999", "-1e308"),
    *(
        "1e400",
        "0.5",
        "1E-400",
        "1" * 400,
        "1" * 5000,
        '"486"',
        '"4 86"',
        '"NaN"',
        '"1e999999"',
    ),
    *('""', '"a\\u0000b"', '"\\u202e"', '"\\ud83d\\ude00"', f'"{"x" * 9000}"', "[]", "{}"),
    *('"9999-12-31T23:59:59-12:00"', '"0001-01-01T00:00:00+14:00"', '"1970-01-01T00:00:00Z"'),
    *('"2026-05-10T09:05:10Z"', '"2026-05-10T25:00:00Z"', '"10000-01-01T00:00:00Z"'),
    *('[[["deep"]]]', '{"execution_id": 5}', '{"execution_id": "exec_x"}', "[" * 60 + "]" * 60),
)
# By number: hypothesis writes out what it chooses from, and some of these are long.
ODD = st.integers(0, len(ODD_ONES) - 1).map(lambda nth: ODD_ONES[nth])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
).map(json.dumps)
PIECE = ODD | JSON


def objects(*fields: str, **always: str) -> st.SearchStrategy[str]:
    """Objects, as text, that have some of the fields with any value, and `always` as it is."""
    written = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, PIECE))
    return written.map(
        lambda some: "{" + ",".join(f'"{k}":{v}' for k, v in {**some, **always}.items()) + "}"
    )


# By reader: how many values were refused, and how many accepted.
TALLY: Final[defaultdict[str, Counter[str]]] = defaultdict(Counter)


@contextmanager
def read_by(reader: str, *refusals: type[BaseException]) -> Iterator[None]:
    """Count one value: refused where the block raises one of these, else accepted."""
    try:
        yield
    except refusals:
        TALLY[reader]["refused"] += 1
    else:
        TALLY[reader]["accepted"] += 1


def counted() -> list[str]:
    """Say for each reader how many values it was given, and what became of them."""
    return [
        f"{reader:36} {said.total():7} tried {said['refused']:7} refused"
        f" {said['accepted']:7} accepted"
        for reader, said in sorted(TALLY.items())
    ]
