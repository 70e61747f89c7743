"""Why the gateway ends a connection: one member a reason, with the public code of a raw websocket."""

from enum import Enum

from engine.core.errors import ClenzyError


class Close(Enum):
    """Name and websocket close code (docs/protocol.md, section 2)."""

    GOING_AWAY = ("going_away", 1001)
    FRAME_TOO_LARGE = ("frame_too_large", 1009)
    NOT_SIGNED_IN = ("not_signed_in", 4401)
    NOT_ALLOWED = ("not_allowed", 4403)
    ABUSE = ("abuse", 4408)
    REPLACED = ("replaced", 4409)
    SLOW_READER = ("slow_reader", 4410)

    def __init__(self, code: str, websocket_code: int) -> None:
        self.code = code
        self.websocket_code = websocket_code

    def told(self, detail: str = "", retry_after_ms: int | None = None) -> dict[str, str | int]:
        """Return what a client reads before its connection ends."""
        body: dict[str, str | int] = {"code": self.code, "detail": detail or self.code}
        if retry_after_ms is not None:
            body["retry_after_ms"] = retry_after_ms
        return body


class UnknownType(ClenzyError):  # noqa: N818 - named as the rule that was broken
    """There is no such frame, command or event."""

    code = "unknown_type"
    status = 400


class TooManyFixes(ClenzyError):  # noqa: N818
    """The frame holds more fixes than a frame may."""

    code = "too_many_fixes"
    status = 400
