"""What a client of the protocol can meet."""

from collections.abc import Mapping


class ClientFailure(Exception):  # noqa: N818 - the common root; its children carry the names that say what happened
    """Something went wrong between this client and the server."""


class Refused(ClientFailure):
    """The server answered, and refused; `code` is the protocol's stable word for why."""

    def __init__(self, code: str, detail: str = "", *, status: int = 0, field: str | None = None) -> None:
        self.code = code
        self.detail = detail
        self.status = status
        self.field = field
        super().__init__(f"{code}: {detail}" if detail else code)

    @classmethod
    def from_body(cls, body: Mapping[str, object], *, status: int = 0) -> "Refused":
        """Return the refusal of an `application/problem+json` body or of a socket's error object."""
        field = body.get("field")
        return cls(
            str(body.get("code", "internal")),
            str(body.get("detail", body.get("title", ""))),
            status=status,
            field=None if field is None else str(field),
        )


class SignedOut(Refused):
    """The refresh token is spent, revoked or unknown: only a new sign-in or enrolment helps."""


class Disconnected(ClientFailure):
    """The connection is gone or the server cannot be reached; trying again may help."""


class WireFault(ClientFailure):
    """The server sent something that the protocol does not know."""
