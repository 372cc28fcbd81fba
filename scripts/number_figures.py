"""Reads every region's example numbers in every form people write; prints what became of each.

Exits with 1 if any form that says which number is meant, or any mutation, read as another person's.
"""

import sys
from typing import Final

from tests.core.number_forms import (
    AT_THEIR_WORD,
    INTERNATIONAL_FORMS,
    MUTATIONS,
    NATIONAL_FORMS,
    Written,
    examples,
    read_all,
)

_KINDS: Final[dict[str, dict[str, Written]]] = {
    "with the country": INTERNATIONAL_FORMS,
    "without it": NATIONAL_FORMS,
    "mutations": MUTATIONS,
    "taken at their word": AT_THEIR_WORD,
}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Print a line for each form; gives the exit code."""
    numbers = list(examples())
    _say(f"{len(numbers)} example numbers, each under 5 settings")
    wrong = 0
    for kind, forms in _KINDS.items():
        _say(f"\n{kind:<34}{'right':>8}{'refused':>9}{'another':>9}")
        for name, figures in read_all(forms, numbers).items():
            another = len(figures.wrong)
            _say(f"  {name:<32}{figures.right:>8}{figures.refused:>9}{another:>9}")
            if forms is not AT_THEIR_WORD:
                wrong += another
                for _, setting, number, read in figures.wrong[:3]:
                    _say(f"    {number} under {setting} read as {read}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
