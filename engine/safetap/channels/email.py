"""Notices by e-mail over SMTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from config.limits import NOTICE_SEND_TIMEOUT_MS
from engine.core.units import MS_PER_S
from engine.safetap.channels.notifier import NoticeMessage, NotSent, Receipt

DEFAULT_PORTS: Final = {"smtp": 587, "smtps": 465}
SMTP_PERMANENT: Final = 500
"""SMTP answers from here on say that trying again would not help (RFC 5321, 4.2.1)."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over. `is_tls`: from the first byte on; otherwise STARTTLS is used where offered."""

    host: str
    port: int
    user: str | None
    password: str | None
    is_tls: bool


def parse_smtp_url(url: str) -> SmtpServer:
    """Return the server of `smtp://user:password@host:port` or `smtps://...`.

    Raises:
        ValueError: it is neither.
    """
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("CLENZY_SMTP_URL is smtp://user:password@host:port or smtps://...")
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        is_tls=parts.scheme == "smtps",
    )


class EmailNotifier:
    """Sends each notice on a connection of its own: alarms are rare, and a kept connection may be dead when needed."""

    def __init__(self, server: SmtpServer | None, *, sender: str, console_url: str) -> None:
        self._server = server
        self._sender = sender
        self._console_url = console_url

    async def send(self, message: NoticeMessage) -> Receipt:
        """Hand the mail to the SMTP server.

        Raises:
            NotSent: no server is configured, or it did not take the mail.
        """
        if self._server is None:
            raise NotSent("no SMTP server is configured (CLENZY_SMTP_URL)", is_final=True)
        try:
            await aiosmtplib.send(
                compose(message, sender=self._sender, console_url=self._console_url),
                hostname=self._server.host,
                port=self._server.port,
                username=self._server.user,
                password=self._server.password,
                use_tls=self._server.is_tls,
                timeout=NOTICE_SEND_TIMEOUT_MS / MS_PER_S,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            raise NotSent(f"recipient refused: {codes}", is_final=min(codes) >= SMTP_PERMANENT) from error
        except aiosmtplib.SMTPResponseException as error:
            raise NotSent(f"SMTP answered {error.code}", is_final=error.code >= SMTP_PERMANENT) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"SMTP: {type(error).__name__}") from error
        return Receipt(reference=message_id(message))


def message_id(message: NoticeMessage) -> str:
    """Return the Message-ID: the same at every attempt."""
    return f"<{message.notice_id}@safetap.clenzy>"


def compose(message: NoticeMessage, *, sender: str, console_url: str) -> EmailMessage:
    """Return the mail; its Message-ID is the notice's, so that a repetition can be recognised."""
    incident = message.incident
    person = incident["person"]
    assert isinstance(person, Mapping)
    prefix = "[DRILL] " if incident["is_drill"] else ""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = message.address
    name = " ".join(str(person["name"]).split())  # a header has one line
    mail["Subject"] = f"{prefix}SafeTap: {name} ({person['role']}) needs help"
    mail["Date"] = formatdate(message.sent_at_ms / MS_PER_S)
    mail["Message-ID"] = message_id(message)
    mail["X-Priority"] = "1"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join([*_lines(incident, person), "", *_what_to_do(message, console_url)]))
    return mail


def _lines(incident: Mapping[str, object], person: Mapping[str, object]) -> list[str]:
    lines = ["This is a drill: act as if it were real, but call nobody outside.", ""] if incident["is_drill"] else []
    lines += [
        f"{person['name']} ({person['role']}) raised a silent alarm.",
        f"Opened: {incident['opened_at']}",
        f"State: {incident['state']}, step {incident['step']}, severity {incident['severity']}",
    ]
    address = incident["address"]
    if isinstance(address, Mapping):
        parts = (address["line"], address["floor"], address["entry_notes"])
        lines.append("Address: " + ", ".join(str(part) for part in parts if part))
    fix = incident["fix"]
    if isinstance(fix, Mapping):
        about = "" if fix["accuracy_m"] is None else f" (within about {fix['accuracy_m']:.0f} m)"
        lines.append(f"Last position: {fix['lat']:.6f}, {fix['lng']:.6f}{about}")
    return lines


def _what_to_do(message: NoticeMessage, console_url: str) -> list[str]:
    if message.advice is not None:
        return [message.advice]
    return [
        f"Acknowledge it at the desk: {console_url}/",
        "Do not ring the person: the alarm was silent for a reason.",
    ]
