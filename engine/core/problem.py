"""An error as a problem document (RFC 9457), the same at every HTTP door. Pure."""

from http import HTTPStatus
from typing import Final

from engine.core.errors import ClenzyError, NotSignedIn, TooMany, Unavailable

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = {Unavailable.status: "1", TooMany.status: "60"}


def problem_fields(error: ClenzyError) -> dict[str, object]:
    """Return the members of the document that tells of a refusal."""
    fields: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.field is not None:
        fields["field"] = error.field
        fields["errors"] = [{"field": error.field, "rule": error.detail}]
    return fields


def problem_headers(error: ClenzyError) -> dict[str, str]:
    """Return what the answer says besides: how to sign in, when to come again."""
    headers = {}
    if error.status == NotSignedIn.status:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in RETRY_AFTER_S:
        headers["Retry-After"] = RETRY_AFTER_S[error.status]
    return headers
