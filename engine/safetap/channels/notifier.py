"""The seam between the notice sender and the ways to reach somebody: one method, one error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.core.ids import IncidentId, NoticeId, OrgId


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """What is sent: one incident to one address.

    `key` is the same at every attempt, so that a receiver can tell a repetition from a second notice.
    """

    notice_id: NoticeId
    key: str
    incident_id: IncidentId
    org_id: OrgId
    address: str
    step: int
    sent_at_ms: int
    incident: Mapping[str, object]
    """The protocol's incident as it stood when the attempt began."""


class NotSent(Exception):  # noqa: N818 - the outcome, not a defect
    """The notice was not taken. `is_final`: trying again would not help. The text carries no personal data."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Notifier(Protocol):
    """Sends notices over one channel."""

    async def send(self, message: NoticeMessage) -> None:
        """Return once the receiver has taken the message.

        Raises:
            NotSent: it has not, and why.
        """
        ...
