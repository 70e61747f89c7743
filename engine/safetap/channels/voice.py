"""Notices as calls: a voice says that there is an alarm, and a key pressed on the phone takes responsibility for it.

Source of the answer's language: https://www.twilio.com/docs/voice/twiml. A call may end in somebody's voice mail, so it
says neither an address nor a place.
"""

from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from engine.safetap.channels.notifier import NoticeMessage, Receipt
from engine.safetap.channels.phone_api import VOICE_ANSWER_PATH, VOICE_RECEIPT_PATH, PhoneApi
from engine.safetap.channels.sms import recipient

TAKE_IT: Final = "1"
"""The key that acknowledges."""
RING_S: Final = 30
KEY_WAIT_S: Final = 10
TIMES_SAID: Final = 2


class VoiceNotifier:
    """Places one call a notice."""

    def __init__(self, api: PhoneApi) -> None:
        self._api = api

    async def send(self, message: NoticeMessage) -> Receipt:
        """Ask the provider for the call; whether anybody answered is told later, by a receipt.

        Raises:
            NotSent: no provider is configured, or it did not take the call.
        """
        fields = [
            ("To", recipient(message)),
            ("From", self._api.account.sender),
            ("Twiml", script(message, answer_url=self._api.callback(VOICE_ANSWER_PATH, message.notice_id))),
            ("Timeout", str(RING_S)),
            ("StatusCallback", self._api.callback(VOICE_RECEIPT_PATH, message.notice_id)),
        ]
        return Receipt(reference=await self._api.create("Calls", fields, key=message.key))


def script(message: NoticeMessage, *, answer_url: str) -> str:
    """Return what the voice says, and where the pressed key goes."""
    incident = message.incident
    person = incident["person"]
    assert isinstance(person, Mapping)
    drill = "This is a drill. " if incident["is_drill"] else ""
    alarm = f"{drill}SafeTap alarm. {person['name']}, {person['role']}, needs help."
    response = Element("Response")
    if message.advice is not None:
        for _ in range(TIMES_SAID):
            SubElement(response, "Say").text = f"{alarm} {message.advice}"
        return tostring(response, encoding="unicode")
    text = f"{alarm} Do not ring them. Press {TAKE_IT} to take responsibility, then open the desk."
    keys = SubElement(
        response, "Gather", action=answer_url, method="POST", numDigits="1", timeout=str(KEY_WAIT_S), input="dtmf"
    )
    for _ in range(TIMES_SAID):
        SubElement(keys, "Say").text = text
    return tostring(response, encoding="unicode")


def spoken(text: str | None) -> str:
    """Return the answer to a call under way: a sentence, or nothing, and the end of the call."""
    response = Element("Response")
    if text is not None:
        SubElement(response, "Say").text = text
    SubElement(response, "Hangup")
    return tostring(response, encoding="unicode")


def busy() -> str:
    """Return the answer to a call that is not taken: the caller hears what they would hear of any busy line."""
    response = Element("Response")
    SubElement(response, "Reject", reason="busy")
    return tostring(response, encoding="unicode")
