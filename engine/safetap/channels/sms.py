"""Notices as text messages. Whoever answers with the message's code takes responsibility for the incident."""

from collections.abc import Mapping
from typing import Final

from engine.safetap.channels.notifier import NoticeMessage, NotSent, Receipt
from engine.safetap.channels.phone_api import SMS_RECEIPT_PATH, PhoneApi
from engine.safetap.channels.phone_number import e164

TEXT_CHARS_MAX: Final = 320
"""Two or three segments: longer messages arrive in pieces, some of them late."""


class SmsNotifier:
    """Sends each notice as one message."""

    def __init__(self, api: PhoneApi, *, console_url: str) -> None:
        self._api = api
        self._console_url = console_url

    async def send(self, message: NoticeMessage) -> Receipt:
        """Hand the message to the provider; that it arrived is told later, by a receipt.

        Raises:
            NotSent: no provider is configured, or it did not take the message.
        """
        sender = self._api.account.sender
        fields = [
            ("To", recipient(message)),
            ("MessagingServiceSid" if sender.startswith("MG") else "From", sender),
            ("Body", compose(message, console_url=self._console_url)),
            ("StatusCallback", self._api.callback(SMS_RECEIPT_PATH, message.notice_id)),
        ]
        return Receipt(reference=await self._api.create("Messages", fields, key=message.key))


def recipient(message: NoticeMessage) -> str:
    """Return the number that a notice goes to.

    Raises:
        NotSent: it is none.
    """
    number = e164(message.address)
    if number is None:
        raise NotSent("the address is no telephone number with its country", is_final=True)
    return number


def compose(message: NoticeMessage, *, console_url: str) -> str:
    """Return the text: what must not be cut off comes first."""
    if message.decoy is not None:
        return message.decoy[:TEXT_CHARS_MAX]
    incident = message.incident
    person = incident["person"]
    assert isinstance(person, Mapping)
    name = " ".join(str(person["name"]).split())
    doubt = "UNCONFIRMED. " if incident.get("trust") == "unverified" else ""
    lines = [f"{'DRILL. ' if incident['is_drill'] else ''}{doubt}SafeTap: {name} ({person['role']}) needs help."]
    if message.advice is not None:
        lines.append(message.advice)
    else:
        if message.reply_code is not None:
            lines.append(f"Reply ACK {message.reply_code} to take it.")
        lines.append(f"Do not ring them. Desk: {console_url}/")
    address = incident["address"]
    if isinstance(address, Mapping):
        lines.append(", ".join(str(address[part]) for part in ("line", "floor") if address[part]))
    return "\n".join(lines)[:TEXT_CHARS_MAX]
