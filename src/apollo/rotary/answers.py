"""The answers jambonz gives, word for word.

Owns their shapes: JSON with a `msg`, plain text, or nothing. Must not decide when each is given.
"""

from typing import NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]

HTML = "text/html; charset=utf-8"  # what express calls a text it was handed bare


class Answer(NamedTuple):
    """An HTTP answer; a body that is not bytes is sent as JSON."""

    status: int
    body: object = b""
    content_type: str | None = None
    headers: Headers = ()


def message(status: int, words: str) -> Answer:
    """The usual answer of the API server: JSON with one text."""
    return Answer(status, {"msg": words})


def text(status: int, words: str, content_type: str = "text/plain; charset=utf-8") -> Answer:
    """An answer in plain words."""
    return Answer(status, words.encode(), content_type)


ACCEPTED = text(202, "Accepted")
BAD_REQUEST = message(400, "Bad request")
NO_KEY = Answer(401, b"Unauthorized", None, ((b"www-authenticate", b'Bearer realm="Users"'),))
WRONG_KEY = Answer(
    401,
    b"Unauthorized",
    None,
    ((b"www-authenticate", b'Bearer realm="Users", error="invalid_token"'),),
)
FORBIDDEN = message(403, "insufficient permissions")
NOT_FOUND = text(404, "Not Found")
TOO_LARGE = message(413, "request entity too large")
TOO_MANY = text(429, "Too many requests, please try again later.", HTML)
NO_FEATURE_SERVER = message(480, "no available feature servers at this time")
FETCH_FAILED = message(500, "fetch failed")  # the feature server broke off: the call may be up
# What is away behind the API: nothing was forwarded.
NO_KEY_STORE = message(500, "connect ECONNREFUSED 127.0.0.1:3306")
NO_RECORD_STORE = message(500, "connect ECONNREFUSED 127.0.0.1:8086")
REFUSED_BY_FEATURE_SERVER = text(500, "Internal Server Error")
UNAVAILABLE = text(503, "Service Unavailable")  # what a proxy in front of jambonz says
