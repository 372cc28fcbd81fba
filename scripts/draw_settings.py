"""Prints docs/reference/settings.md: every setting, from the code that reads it."""

import sys

from apollo.config import settings_table

HEAD = """# Settings

Every setting is an environment variable, read once at the start. An unknown `APOLLO_…` name stops
the start, with the name that was probably meant. This page is printed by
`python scripts/draw_settings.py`, and a test fails when it is out of date.

| name | default | what it is |
| --- | --- | --- |
"""


def page() -> str:
    """Give the page."""
    rows = [f"| `{name}` | {default} | {text} |" for name, default, text in settings_table()]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
