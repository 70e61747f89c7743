"""Where a client that comes back says it has got to. Pure; whatever a stranger sends is at worst no resume point.

A raw socket says `epoch` and `offset` in its hello. A stock Socket.IO client sends the `pid` of its last CONNECT answer
and, as `offset`, the last argument of the last event that had one, and takes the same `pid` again as "recovered". Ours
is `epoch.person.nonce`: an offset is good in its epoch, and for the person whose events it counts. Where a client
brought an offset that is not, its new pid names it after another dot: the client sends it again when it is cut off
before the welcome, which has a new one, arrived.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.core.ids import PersonId

_OFFSET_DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Everything up to `offset` of this epoch has arrived."""

    epoch: str
    offset: int


def from_hello(options: object) -> ResumePoint | None:
    """Return the resume point in the options of a raw hello."""
    match options:
        case {"epoch": str(epoch), "offset": int(offset)} if not isinstance(offset, bool) and offset >= 0:
            return ResumePoint(epoch, offset)
        case _:
            return None


def from_auth(auth: Mapping[str, object], person_id: PersonId) -> ResumePoint | None:
    """Return the resume point in a Socket.IO client's `auth`. A bare epoch is a pid too, for clients without one."""
    pid, offset = auth.get("pid"), auth.get("offset")
    if not isinstance(pid, str) or not isinstance(offset, str) or not _is_number(offset):
        return None
    match pid.split("."):
        case [epoch] | [epoch, _, _] | [epoch, _, _, _] if _is_for(pid, person_id) and not pid.endswith(f".{offset}"):
            return ResumePoint(epoch, int(offset))
        case _:
            return None


def new_pid(epoch: str, person_id: PersonId, nonce: str, auth: Mapping[str, object]) -> str:
    """Return the pid of a client whose events begin anew; what it brought, if anything, was of no use."""
    pid = f"{epoch}.{person_id}.{nonce}"
    offset = auth.get("offset")
    return f"{pid}.{offset}" if isinstance(offset, str) and _is_number(offset) else pid


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _OFFSET_DIGITS_MAX


def _is_for(pid: str, person_id: PersonId) -> bool:
    _, *rest = pid.split(".")
    return not rest or rest[0] == str(person_id)
