"""Readings of calls that those of a batch are compared with. Must never judge them."""

from typing import Final

from apollo.storage.database import load_queries
from apollo.storage.together import Together

_Q: Final = load_queries("comparison")

# Calls of other batches on the connection.
NEIGHBOURS: Final = _Q["neighbours"]
# Whether people picked up: the last first calls, earlier ones, those of other batches.
PEOPLE: Final = ("decided_calls", "decided_earlier", "decided_elsewhere")
WHO_PICKS_UP: Final = Together([_Q[name] for name in PEOPLE])
