# ruff: noqa: INP001 - a script to run, not a package
"""Write contacts.csv: a thousand invented customers of an insurer, with the mess of real files.

Byte-order mark, CRLF, numbers with spaces, dashes, brackets or no plus, names with commas, quotes
and other alphabets, rows that appear twice, and a few that nobody can call. Every name and number
is made up by a seeded generator, so the file is the same each time:

    python examples/make_contacts.py

The numbers are of ranges that belong to nobody (555-01xx in North America, 7946 0xxx and 496 0xxx
in Britain), so that no stranger's phone rings, whatever this file is uploaded to. Upload it with
`on_invalid=skip` to a campaign that calls from +12025550100.
"""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

ROWS = 1000
# Most customers are in America; a few are in the register twice; some entries are no number.
IN_AMERICA, TWICE, WRONG = 0.85, 0.02, 0.008
# From here on everything is decided by this number.
SEED = 20260510
HERE = Path(__file__).parent

GIVEN = [
    *(
        "Aarav",
        "Aditi",
        "Ananya",
        "Arjun",
        "Asha",
        "Deepak",
        "Farhan",
        "Ishaan",
        "Kavya",
        "Lakshmi",
    ),
    *("Meera", "Mohammed", "Neha", "Priya", "Rahul", "Rajesh", "Rohan", "Sana", "Suresh", "Vikram"),
    *("अनीता", "रवि", "கவிதா", "José", "Zoë", "François", "Łukasz", "Søren", "Mei-Ling", "Siobhán"),
]
FAMILY = [
    *(
        "Agarwal",
        "Bose",
        "Chatterjee",
        "D'Souza",
        "Gupta",
        "Iyer",
        "Khan",
        "Menon",
        "Nair",
        "Patel",
    ),
    *("Rao", "Reddy", "Sharma", "Singh", "Verma", "शर्मा", "குமார்", "Müller", "O'Brien", "Nguyễn"),
]
PLANS = [
    "Basic Health",
    "Family Floater",
    "Senior Care",
    "Super Top-up, 25 lakh",
    'The "Gold" plan',
]
NOTES = [
    *(
        "",
        "",
        "",
        "",
        "prefers evenings",
        "asked for a call back, after 6 pm",
        'said "not on Mondays"',
    ),
    *(
        "moved to Boston; new address on file",
        "speaks Spanish",
        "line 1\nline 2",
        "=see agent's remark",
    ),
]
# Ranges for drama: the digits before the random ones, and how many those are.
AREAS = (
    "201 202 206 212 213 214 215 303 305 312 313 404 408 415 503 602 612 617 619 702 713 718 808"
)
AMERICA = [(f"1{area}55501", 2) for area in AREAS.split()]
BRITAIN = [("442079460", 3), ("441614960", 3), ("441214960", 3), ("441314960", 3)]
BAD = ["not known", "+1 415 555", "20255501O3", "+999 12345678", "", "+1 000 555 0100"]


def spelled(digits: str, dice: random.Random) -> str:
    """A number as somebody typed it; some American ones lose their plus."""
    if not digits.startswith("1"):
        return dice.choice([f"+{digits}", f"+{digits[:-4]} {digits[-4:]}", f"+44-{digits[2:]}"])
    area, exchange, line = digits[1:4], digits[4:7], digits[7:]
    return dice.choice(
        [
            *([f"+{digits}"] * 4),
            f"+1 {area} {exchange} {line}",
            f"+1-{area}-{exchange}-{line}",
            f"+1 ({area}) {exchange}-{line}",
            digits,
            f"1 {area} {exchange}-{line}",
            f" +{digits} ",
        ]
    )


def name(dice: random.Random) -> str:
    """A name as a register has it: some the other way round, some with a nickname."""
    given, family = dice.choice(GIVEN), dice.choice(FAMILY)
    other_ways = [f"{family}, {given}", f'{given} "{given[:3]}" {family}', f"{given}  {family}"]
    return dice.choice([*([f"{given} {family}"] * 7), *other_ways])


def rows(dice: random.Random) -> list[list[str]]:
    """All rows, the header left out."""
    made: list[list[str]] = []
    taken: set[str] = set()
    while len(made) < ROWS:
        start, width = dice.choice(AMERICA if dice.random() < IN_AMERICA else BRITAIN)
        digits = start + "".join(dice.choices("0123456789", k=width))
        if digits in taken:
            continue
        taken.add(digits)
        typed = spelled(digits, dice)
        if made and dice.random() < TWICE:
            typed = dice.choice(made)[1]  # somebody is in the register twice
        elif dice.random() < WRONG:
            typed = dice.choice(BAD)
        renewal = date(2026, 6, 1) + timedelta(days=dice.randrange(120))
        premium = str(dice.randrange(60, 480) * 100)
        made.append(
            [
                name(dice),
                typed,
                dice.choice(PLANS),
                renewal.isoformat(),
                premium,
                dice.choice(NOTES),
            ]
        )
    return made


def main() -> None:
    """Write the file beside this script."""
    columns = ["callee_name", "mobile_number", "current_plan", "renewal_date", "premium", "notes"]
    with (HERE / "contacts.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([columns, *rows(random.Random(SEED))])  # noqa: S311 - invented people, not secrets


if __name__ == "__main__":
    main()
