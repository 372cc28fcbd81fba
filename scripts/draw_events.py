"""Prints docs/reference/asyncapi.yaml: the events on Kafka, from the code that writes them."""

import sys

import yaml

from apollo.usecases.event_messages import asyncapi

HEAD = """\
# What Apollo tells other systems over Kafka; docs/reference/events.md says it in words.
# Printed by `python scripts/draw_events.py`; a test fails when it is out of date.
"""


def page() -> str:
    """Give the page."""
    body: str = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=100)
    return HEAD + body


if __name__ == "__main__":
    sys.stdout.write(page())
