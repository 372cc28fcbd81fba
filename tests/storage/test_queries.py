"""Every named query against the real schema: it prepares, it is called as written, it is listed."""

import ast
import enum
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from tests.builders import a_world

from apollo import storage
from apollo.core.carrier import ScopeKind
from apollo.core.events import Evidence, Reached
from apollo.core.model import NumberStrategy, Turn
from apollo.core.reasons import Reason
from apollo.core.sip import Family
from apollo.core.states import (
    FINAL_CONTACT,
    LIVE_BATCH,
    OPEN_CALL,
    UNFINISHED_CONTACT,
    BatchStatus,
    CallKind,
    CallState,
    ContactStatus,
    Outcome,
    PausedBy,
)
from apollo.storage.database import Database, Query, load_queries

FOLDER = Path(storage.__file__).parent
FILES = sorted(path.stem for path in (FOLDER / "sql").glob("*.sql"))
# Told to the planner as one statement, but read and written here.
SCHEMA = (FOLDER / "sql/migrations/0001_schema.sql").read_text()

STORED_REASONS = {
    Reason.RETRY_NOT_DUE,
    Reason.FOLLOW_UP_NOT_DUE,
    Reason.DUPLICATE_NUMBER_BLOCKED,
    Reason.NUMBER_RESTING,
}
# Every column whose values a constraint lists, and what the list must be.
LISTED: dict[tuple[str, str], set[str]] = {
    ("batches", "paused_by"): set(PausedBy),
    ("batches", "status"): set(BatchStatus),
    ("calls", "evidence"): set(Evidence),
    ("calls", "kind"): set(CallKind),
    ("calls", "outcome"): set(Outcome),
    ("calls", "reached"): set(Reached),
    ("calls", "state"): set(CallState),
    ("carrier_gates", "family"): set(Family),
    ("carrier_gates", "kind"): set(ScopeKind),
    ("campaigns", "phone_number_strategy"): set(NumberStrategy),
    ("contacts", "status"): set(ContactStatus),
    ("contacts", "wait_reason"): set(STORED_REASONS),
    ("heartbeats", "role"): {"web", "worker"},
}


def all_queries() -> list[tuple[str, Query]]:
    return [(file, query) for file in FILES for query in load_queries(file).values()]


def text_of(file: str) -> str:
    return (FOLDER / f"sql/{file}.sql").read_text()


async def test_every_query_prepares_and_takes_the_parameters_it_names(database_url: str) -> None:
    faults = []
    async with a_world(database_url) as world, world.db.connection() as connection:
        for file, query in all_queries():
            try:
                prepared = await connection.prepare(query.text)
            except Exception as e:  # noqa: BLE001 - all faults are shown at once
                faults.append(f"{file}.{query.name}: {e}")
                continue
            if len(prepared.get_parameters()) != len(query.params):
                faults.append(f"{file}.{query.name}: takes {prepared.get_parameters()}")
    assert faults == []


@pytest.mark.parametrize("file", FILES)
def test_query_names_are_unique_and_say_what_they_do(file: str) -> None:
    titles = re.findall(r"^-- name: (.*)\n(.*)$", text_of(file), flags=re.MULTILINE)
    names = Counter(name for name, _ in titles)
    assert [name for name, times in names.items() if times > 1] == []
    assert [name for name in names if not re.fullmatch(r"[a-z_]+", name)] == []
    assert [name for name, comment in titles if not comment.startswith("-- ")] == []


TABLES = set(re.findall(r"^create table (\w+)", SCHEMA, flags=re.MULTILINE))


def stars(text: str) -> set[str]:
    """What the stars in these queries stand for: tables, common tables, lists of values."""
    found = set(re.findall(r"select\s+\*\s+from\s+(\w+)", text))
    for alias in re.findall(r"(\w+)\.\*", text):
        found |= set(re.findall(rf"(?:from|join)\s+(\w+)(?:\s+as)?\s+{alias}\b", text))
    return found


@pytest.mark.parametrize("file", FILES)
def test_no_query_takes_every_column_of_a_table(file: str) -> None:
    for query in load_queries(file).values():
        assert stars(query.text) & TABLES == set(), query.name


def test_a_star_over_a_table_is_noticed() -> None:
    assert stars("select *\n  from calls where id = $1") == {"calls"}
    assert stars("select b.*, 1 from listed l join batches b on b.id = l.id") == {"batches"}
    assert stars("select * from unnest($1::uuid[])") == {"unnest"}


def calls_in_python() -> Iterator[tuple[str, str, set[str] | None]]:
    """Which query is run from Python with which parameters; None when they come in a dict."""
    for path in FOLDER.rglob("*.py"):
        tree = ast.parse(path.read_text())
        files = {
            node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "load_queries"
            and isinstance(node.args[0], ast.Constant)
        }
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Subscript(value=ast.Name(id="_Q"), slice=ast.Constant(value=name))
                    )
                ):
                    (file,) = files
                    names = {keyword.arg for keyword in node.keywords}
                    given = None if None in names else {name for name in names if name}
                    yield str(file), str(name), given


def test_every_query_is_used_and_given_exactly_its_parameters() -> None:
    wanted = {(file, query.name): set(query.params) for file, query in all_queries()}
    used = list(calls_in_python())
    wrong = [
        (file, name, given)
        for file, name, given in used
        if given is not None and wanted[file, name] != given
    ]
    assert wrong == []
    subscripts = {
        (file, name)
        for path in FOLDER.rglob("*.py")
        for file in re.findall(r'load_queries\("(\w+)"\)', path.read_text())
        for name in re.findall(r'_Q\[\s*"(\w+)"', path.read_text())
    }
    # A choice between two queries names them apart from the brackets.
    texts = "\n".join(path.read_text() for path in FOLDER.rglob("*.py"))
    unused = [key for key in wanted if key not in subscripts and f'"{key[1]}"' not in texts]
    assert unused == []


# --------------------------------------------------------------------- lists of values in SQL


async def test_every_list_in_a_constraint_equals_its_enum(database_url: str) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    async with a_world(database_url) as world:
        rows = await world.sql(
            "select conrelid::regclass::text as table_name, pg_get_constraintdef(oid) as text"
            " from pg_constraint where contype = 'c' and connamespace = 'public'::regnamespace"
        )
    for row in rows:
        listed = re.fullmatch(
            r"CHECK \(\((\w+) = ANY \(ARRAY\[(.*)\]\)\)\)(?: NOT VALID)?", row["text"]
        )
        if listed:
            values = set(re.findall(r"'(\w+)'::text", listed.group(2)))
            found[row["table_name"], listed.group(1)] = values
    assert found == {key: {str(value) for value in values} for key, values in LISTED.items()}


def in_lists(text: str) -> list[tuple[str, set[str]]]:
    found = re.findall(r"(\w+)\s+(?:not )?in\s*\(\s*('[a-z_]+'(?:,\s*'[a-z_]+')*)\)", text)
    return [(column, set(re.findall(r"'([a-z_]+)'", values))) for column, values in found]


KNOWN_LISTS: dict[str, list[Collection[str]]] = {
    "status": [
        set(BatchStatus),
        set(ContactStatus),
        set(LIVE_BATCH),
        set(UNFINISHED_CONTACT),
        set(FINAL_CONTACT),
        # Waiting for a call, and so to be skipped.
        {ContactStatus.PENDING, ContactStatus.RETRYING, ContactStatus.FOLLOWUP_SCHEDULED},
        # Running, and so to be completed.
        {BatchStatus.IN_PROGRESS, BatchStatus.PAUSED},
        {BatchStatus.PENDING, BatchStatus.IN_PROGRESS},
        {ContactStatus.DISPATCHED, ContactStatus.IN_PROGRESS},
        # What the end of a call leads to.
        (FINAL_CONTACT - {ContactStatus.SKIPPED})
        | {ContactStatus.RETRYING, ContactStatus.FOLLOWUP_SCHEDULED},
    ],
    "state": [
        set(CallState),
        set(CallState) - set(OPEN_CALL),
        set(OPEN_CALL),
        # Taken by the provider.
        set(OPEN_CALL) - {CallState.PLACING, CallState.UNKNOWN},
    ],
}


@pytest.mark.parametrize("file", FILES)
def test_every_list_of_states_in_a_query_is_one_the_core_knows(file: str) -> None:
    for column, values in in_lists(text_of(file)):
        if column in KNOWN_LISTS:
            known = [{str(v) for v in one} for one in KNOWN_LISTS[column]]
            assert values in known, f"{column} in {sorted(values)}"


ENUMS: list[type[enum.StrEnum]] = [
    BatchStatus,
    CallKind,
    CallState,
    ContactStatus,
    Evidence,
    Outcome,
    PausedBy,
    Reason,
]


@pytest.mark.parametrize("file", FILES)
def test_every_state_that_a_query_sets_or_asks_for_exists(file: str) -> None:
    words = {str(member) for one in ENUMS for member in one}
    asked = re.findall(
        r"\b(?:status|state|paused_by|kind|outcome|wait_reason) = '(\w+)'", text_of(file)
    )
    assert [word for word in asked if word not in words] == []


def test_the_schema_counts_turns_and_partial_indexes_as_the_core_does() -> None:
    assert (min(Turn), max(Turn)) == (0, 2)
    assert "check (turn between 0 and 2)" in SCHEMA
    live = re.search(r"index batches_live .*?\n\s+where status in \((.*?)\)", SCHEMA)
    assert live is not None
    assert set(re.findall(r"'(\w+)'", live.group(1))) == {str(one) for one in LIVE_BATCH}


async def test_a_query_refuses_wrong_parameters_before_it_is_sent(database_url: str) -> None:
    db = await Database.connect(database_url, connections_max=1)
    try:
        async with db.connection() as connection:
            with pytest.raises(TypeError, match=r"lock_campaign.*campaign_id"):
                await load_queries("dialling")["lock_campaign"].rows(connection, wrong=1)
    finally:
        await db.close()
