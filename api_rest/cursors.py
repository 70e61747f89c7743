"""Cursors of pages: opaque to clients, checked when they come back."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from engine.core.errors import InvalidInput
from engine.core.units import ms_from_utc, utc_from_ms


def encode_cursor(*parts: object) -> str:
    """Return the cursor that `decode_cursor` takes apart again."""
    return base64.urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *, parts: int) -> list[str]:
    """Return the parts of a cursor.

    Raises:
        InvalidInput: it is not one of ours.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error
    found = text.split("|")
    if len(found) != parts:
        raise _not_ours()
    return found


def encode_moment(at: datetime, row_id: UUID) -> str:
    """Return the cursor behind a row that is ordered by a time of whole milliseconds and an id."""
    return encode_cursor(ms_from_utc(at), row_id)


def decode_moment(cursor: str) -> tuple[datetime, UUID]:
    """Return time and id of the row that a page ended with.

    Raises:
        InvalidInput: it is not one of ours.
    """
    at_ms, row_id = decode_cursor(cursor, parts=2)
    try:
        return utc_from_ms(int(at_ms)), UUID(row_id)
    except (ValueError, OverflowError) as error:
        raise _not_ours() from error


def decode_number(cursor: str) -> int:
    """Return the number that a page ended with (a 32-bit one).

    Raises:
        InvalidInput: it is not one of ours.
    """
    (number,) = decode_cursor(cursor, parts=1)
    if not (number.isascii() and number.isdigit() and int(number) < 1 << 31):
        raise _not_ours()
    return int(number)


def _not_ours() -> InvalidInput:
    return InvalidInput("Not a cursor of ours.", field="cursor")
