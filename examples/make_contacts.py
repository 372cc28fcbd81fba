# ruff: noqa: INP001 - a script to run, not a package
"""Write contacts.csv: a thousand invented customers of an insurer, with the mess of real files.

Byte-order mark, CRLF, numbers with spaces, dashes, brackets or no plus, names with commas, quotes
and other alphabets, rows that appear twice, and a few that nobody can call. Every name and number
is made up by a seeded generator, so the file is the same each time:

    python examples/make_contacts.py

Upload it with `on_invalid=skip` to a campaign that calls from +919876543210.
"""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

ROWS = 1000
# Most customers are in India; a few are in the register twice; some entries are no number at all.
IN_INDIA, TWICE, WRONG = 0.92, 0.02, 0.008
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
        "moved to Pune; new address on file",
        "speaks Hindi",
        "line 1\nline 2",
        "=see agent's remark",
    ),
]
# Mobile ranges whose numbers are all valid: digits before the random ones, how many of those.
INDIA = [("9198765", 5), ("9198100", 5), ("9199300", 5), ("9198450", 5)]
ABROAD = [("1415555", 4), ("1212555", 4), ("447400", 6), ("491512", 7), ("658123", 4), ("97150", 7)]
BAD = ["not known", "+91 98765", "98765 4321O", "+999 12345678", "", "+1 000 555 0100"]


def spelled(digits: str, dice: random.Random) -> str:
    """A number as somebody typed it; only Indian ones lose their plus."""
    rest = digits[2:]
    if not digits.startswith("91"):
        return dice.choice(
            [f"+{digits}", f"+{digits[:-4]} {digits[-4:]}", f"+{digits[:-4]}-{digits[-4:]}"]
        )
    return dice.choice(
        [
            *([f"+{digits}"] * 4),
            f"+91 {rest[:5]} {rest[5:]}",
            f"+91-{rest[:5]}-{rest[5:]}",
            f"(+91) {rest}",
            digits,
            f"91 {rest[:5]} {rest[5:]}",
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
        start, width = dice.choice(INDIA if dice.random() < IN_INDIA else ABROAD)
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
