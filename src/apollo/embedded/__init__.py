"""The PostgreSQL that comes in a wheel, for whoever has set no database of their own.

`server` starts, shares and stops it; `programs` are what it is made of. It is never reached but
through what is named here.
"""

from apollo.embedded.programs import MAJOR_VERSION, program
from apollo.embedded.server import ensure_running, in_use, is_made, is_running, running_url, stop

__all__ = [
    "MAJOR_VERSION",
    "ensure_running",
    "in_use",
    "is_made",
    "is_running",
    "program",
    "running_url",
    "stop",
]
