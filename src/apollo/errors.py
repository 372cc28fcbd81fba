"""Everything that can go wrong, sorted by what the caller may do next.

ApolloError
  Refused              the caller asked for what is not allowed; has a code and an HTTP status
    NotFound           no such object in this organisation              404
    Invalid            the request is malformed: which field, and why   422
    NotAllowedNow      the object's state forbids it                    409
    Conflict           it clashes with another request                  409
    Forbidden          the token's organisation may not name this       403
    Unauthorised       no token, or one we do not know                  401
    TooLarge           over a stated size                               413
  Stale                a race was lost: read again and decide again
  Unavailable          something we depend on is away: nothing was done, try again
  DriverError          what a provider did, sorted by what we may do next
    NotPlaced          certainly no call; it may be tried again, not before `retry_after_s`
    WillNeverWork      certainly no call, and the same request will be refused again
    OutcomeUnknown     there may be a call; never ask again before that is known
    ProviderForgot     it lacks calls of ours, so that its silence about others proves nothing
  Misconfigured        a setting is wrong: which one, and what would be right
  Broken               an invariant failed: stop, alarm, do not guess
"""

from datetime import datetime
from typing import ClassVar


class ApolloError(Exception):
    """Anything Apollo raises on purpose."""


class Refused(ApolloError):
    """The caller asked for something that is not allowed."""

    code: ClassVar[str] = "refused"
    http_status: ClassVar[int] = 400


class NotFound(Refused):
    """There is no such object in the caller's organisation."""

    code = "not_found"
    http_status = 404


class FieldError:
    """One wrong field, in the form FastAPI uses: where, what is wrong, and the kind of fault."""

    __slots__ = ("loc", "msg", "type")

    def __init__(self, loc: tuple[str | int, ...], msg: str, type: str = "value_error") -> None:  # noqa: A002 - FastAPI's own key
        self.loc = loc
        self.msg = msg
        self.type = type


class Invalid(Refused):
    """The request is malformed; `errors` names each field and what would be right."""

    code = "invalid"
    http_status = 422

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, e.loc))}: {e.msg}" for e in errors))
        self.errors = errors

    @classmethod
    def field(cls, name: str, msg: str, *, where: str = "body") -> "Invalid":
        """Build the error for a single wrong field."""
        return cls([FieldError((where, *name.split(".")), msg)])


class NotAllowedNow(Refused):
    """The object's present state forbids this; the text says what to do instead."""

    code = "not_allowed_now"
    http_status = 409


class Conflict(Refused):
    """The request clashes with another one."""

    code = "conflict"
    http_status = 409


class Forbidden(Refused):
    """The token's organisation may not name this organisation."""

    code = "forbidden"
    http_status = 403


class Unauthorised(Refused):
    """No token, or one that is malformed, unknown or revoked."""

    code = "unauthorised"
    http_status = 401


class TooLarge(Refused):
    """The request is over a stated size."""

    code = "too_large"
    http_status = 413


class Stale(ApolloError):
    """Somebody else moved the row first; the use-case reads and decides again."""


class Unavailable(ApolloError):
    """A dependency is away; nothing was done and the same request may be sent again.

    Its text says what is away, and after a colon what that said itself, if it said anything.
    """

    def __init__(self, msg: str, *, sqlstate: str = "") -> None:
        super().__init__(msg)
        # PostgreSQL's own code for it, where it was PostgreSQL that said so.
        self.sqlstate = sqlstate

    @property
    def away(self) -> str:
        """What is away, in our own words: others' name hosts and tables."""
        return str(self).partition(":")[0]


class DriverError(ApolloError):
    """What a provider answered, or failed to."""

    def __init__(self, msg: str, *, status: int | None = None, cause: str = "") -> None:
        super().__init__(msg)
        self.status = status
        self.cause = cause


class ProviderForgot(DriverError):
    """The provider's lists lack calls of ours that they must know, so they prove nothing.

    `until` is when every call that may be up unseen is over.
    """

    def __init__(self, msg: str, *, until: datetime) -> None:
        super().__init__(msg, cause="forgot")
        self.until = until


class NotPlaced(DriverError):
    """No call exists.

    `cause`: connect, unauthorised, rate_limited, no_capacity, store_down, redirect.
    """

    def __init__(
        self, msg: str, *, status: int | None = None, cause: str, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(msg, status=status, cause=cause)
        self.retry_after_s = retry_after_s


class WillNeverWork(DriverError):
    """No call exists and the same request will be refused again. `cause`: number, request."""


class OutcomeUnknown(DriverError):
    """There may be a call, or a question has no answer.

    `cause`: server_error, timeout, reset, broken_body, too_many, store_down.
    """


class Misconfigured(ApolloError):
    """One or more settings are wrong; one line for each, with what would be right."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Broken(ApolloError):
    """An invariant failed: stop, alarm, do not guess."""
