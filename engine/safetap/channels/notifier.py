"""The seam between the notice sender and the ways to reach somebody: one method, one error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.core.ids import IncidentId, NoticeId, OrgId
from engine.core.vocabulary import Delivery


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """What is sent: one incident to one address.

    `key` is the same at every attempt, so that a receiver can tell a repetition from a second notice.
    """

    notice_id: NoticeId
    key: str
    incident_id: IncidentId
    org_id: OrgId
    target: str
    address: str
    step: int
    sent_at_ms: int
    incident: Mapping[str, object]
    """The protocol's incident as it stood when the attempt began."""
    reply_code: str | None = None
    """What a responder answers to take responsibility; only where an answer can come back to us."""
    advice: str | None = None
    """For whoever is no responder: what to do and what not. They are asked for no answer."""
    decoy: str | None = None
    """The person's own words, for their own phone: sent as they are, and nothing else."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a channel knows once it has handed a notice over. `reference`: the provider's own name for it."""

    reference: str | None = None
    delivery: Delivery | None = None
    """`None`: that it was taken is all that is known; a provider may tell more later."""


class NotSent(Exception):  # noqa: N818 - the outcome, not a defect
    """The notice was not taken. `is_final`: trying again would not help. The text carries no personal data."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Notifier(Protocol):
    """Sends notices over one channel."""

    async def send(self, message: NoticeMessage) -> Receipt:
        """Return once the receiver has taken the message.

        Raises:
            NotSent: it has not, and why.
        """
        ...
