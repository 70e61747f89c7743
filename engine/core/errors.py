"""The small tree of errors. The docstring of a class is the message a person reads.

Expected refusals inside the engine are return values; what is raised here ends at the rim, where each transport
maps it in one place: the API to `application/problem+json`, the sockets to an `error` frame. `code` is stable and
part of the public protocol.
"""

from typing import ClassVar


class ClenzyError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, detail: str | None = None, *, field: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.field = field
        super().__init__(self.detail)


class InvalidInput(ClenzyError):  # noqa: N818 - named as the rule that was broken
    """A field breaks its rule."""

    code = "invalid_input"
    status = 422


class WireError(InvalidInput):
    """A frame could not be read."""

    code = "malformed_frame"
    status = 400


class NotSignedIn(ClenzyError):  # noqa: N818
    """Sign in first."""

    code = "not_signed_in"
    status = 401


class NotAllowed(ClenzyError):  # noqa: N818
    """Your role may not do this."""

    code = "not_allowed"
    status = 403


class NotFound(ClenzyError):  # noqa: N818
    """There is no such thing, or it is not yours to see."""

    code = "not_found"
    status = 404


class NoSuchMethod(ClenzyError):  # noqa: N818
    """This path does not answer this method."""

    code = "method_not_allowed"
    status = 405


class Conflict(ClenzyError):  # noqa: N818
    """The state has moved on; read it again."""

    code = "conflict"
    status = 409


class BodyTooLarge(InvalidInput):
    """The body is too large."""

    code = "body_too_large"
    status = 413


class BodyTooSlow(InvalidInput):
    """The body did not arrive in time."""

    code = "body_too_slow"
    status = 408


class TooMany(ClenzyError):  # noqa: N818
    """Slow down."""

    code = "too_many"
    status = 429


class Unavailable(ClenzyError):  # noqa: N818
    """A store is away for the moment; try again."""

    code = "unavailable"
    status = 503
