"""`clenzy device add`: what a worker's stock tracker needs, as text to type and as a QR code to scan."""

import asyncio
import io
import json
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

import segno

from clenzy.account import of_running, on_database
from clenzy.screen import Screen
from config.settings import Settings

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
NO_PHONE_REACHES_IT: Final = (
    "No phone reaches this address: name the gateway's own with --gateway-url or CLENZY_GATEWAY_PUBLIC_URL."
)


@dataclass(frozen=True, slots=True)
class NewDevice:
    """What `engine.run_device` reads."""

    email: str
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What `engine.run_device` prints. `username` is set where the app signs in by name and password."""

    device_id: str
    token: str
    app: str
    url: str
    username: str | None
    deep_link: str | None


def add_device(settings: Settings, device: NewDevice, screen: Screen) -> str:
    """Add a tracker in the configured, the running, or else the embedded database; return what to do on the phone.

    Raises:
        CannotStartError: with the reason.
    """
    given = json.dumps(asdict(device)).encode()
    said = asyncio.run(on_database(of_running(settings), "engine.run_device", given, screen))
    return instructions(Setup(**json.loads(said)))


def instructions(setup: Setup) -> str:
    """Return the lines that a person follows."""
    lines = [
        f"Device {setup.device_id}, for {setup.app}. What follows is shown only now.",
        "",
        f"URL       {setup.url}",
    ]
    if setup.username is not None:
        lines.append(f"user      {setup.username}")
    if setup.token not in setup.url:
        lines.append(f"token     {setup.token}")
    if setup.deep_link is not None:
        lines.append(f"link      {setup.deep_link}")
    if urlsplit(setup.url).hostname in LOOPBACK:
        lines += ["", NO_PHONE_REACHES_IT]
    return "\n".join([*lines, "", qr_code(setup.deep_link or setup.url)])


def qr_code(text: str) -> str:
    """Return a QR code of half blocks for a terminal."""
    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(drawn, compact=True)
    return drawn.getvalue()
