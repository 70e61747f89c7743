"""Line 14: what an organisation or a browser asks us to call leads into no network of ours, however it is written."""

import asyncio
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from engine.core.clock import SystemClock
from engine.core.ids import IncidentId, NoticeId, OrgId
from engine.safetap.channels.notifier import NoticeMessage, NotSent
from engine.safetap.channels.public_address import called_url, is_public
from engine.safetap.channels.webhook import WebhookNotifier, org_secret
from tests.integration.safetap.receivers import open_receiver

CLOCK = SystemClock()
ORG_ID = OrgId(uuid4())
MASTER = "a master secret of 32 characters or more"
PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"

LOOPBACK = (
    "127.0.0.1", "127.1", "2130706433", "0177.0.0.1", "0x7f000001", "0x7f.0.0.1", "127.0.0.1.", "0", "0.0.0.0",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::ffff:0:7f00:1]",
    "\N{CIRCLED DIGIT ONE}\N{CIRCLED DIGIT TWO}\N{CIRCLED DIGIT SEVEN}.0.0.1", "\uff11\uff12\uff17.0.0.1",
    "127\u30020\uff0e0\uff611", "localhost", "LOCALHOST.", "foo.localhost",
)  # fmt: skip
OTHER_PRIVATE = (
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1",
    "255.255.255.255", "240.0.0.1", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]",
    "[2001:db8::1]", "[5f00::1]",
)  # fmt: skip


def message(address: str) -> NoticeMessage:
    return NoticeMessage(
        notice_id=NoticeId(uuid4()), key="k", incident_id=IncidentId(uuid4()), org_id=ORG_ID, step=1, target="webhook",
        address=address, incident={}, sent_at_ms=CLOCK.now_ms(),
    )  # fmt: skip


@pytest.fixture
async def notifier() -> AsyncIterator[WebhookNotifier]:
    async with WebhookNotifier(master_secret=MASTER) as notifier:
        yield notifier


class Sockets:
    """Where the client would connect; nobody is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", self._connect)

    async def _connect(self, _socket: socket.socket, address: tuple[str, int]) -> None:
        self.addresses.append(address[0])
        raise ConnectionRefusedError


@pytest.fixture
async def sockets(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    return Sockets(monkeypatch)


@pytest.mark.parametrize("host", LOOPBACK + OTHER_PRIVATE)
async def test_line_14_no_form_of_a_private_address_is_called(
    notifier: WebhookNotifier, sockets: Sockets, host: str
) -> None:
    with pytest.raises(NotSent):
        await notifier.send(message(f"https://{host}/hook"))
    assert sockets.addresses == []


async def test_line_14_a_name_is_looked_up_once_and_that_address_is_called(
    notifier: WebhookNotifier, sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver whose answers live for no time: public when it is checked, this machine ever after."""
    asked = 0

    async def rebinding(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        nonlocal asked
        asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC if asked == 1 else PRIVATE, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
    with pytest.raises(NotSent):
        await notifier.send(message("https://rebinding.test/hook"))
    assert (sockets.addresses, asked) == ([PUBLIC], 1)
    async with WebhookNotifier(master_secret=MASTER) as another:  # which remembers nothing
        with pytest.raises(NotSent):
            await another.send(message("https://rebinding.test/hook"))
    assert (sockets.addresses, asked) == ([PUBLIC], 2)


@pytest.mark.parametrize("addresses", [(PRIVATE,), (PUBLIC, PRIVATE), (PUBLIC, "::1"), (PUBLIC, "::ffff:10.0.0.1")])
async def test_line_14_a_name_with_one_private_address_is_not_called_at_all(
    notifier: WebhookNotifier, sockets: Sockets, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    async def several(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(families[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", several)
    with pytest.raises(NotSent, match="ClientConnectorDNSError"):
        await notifier.send(message("https://several.test/hook"))
    assert sockets.addresses == []


@pytest.mark.parametrize(
    "address",
    ["http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "//example.com/x",
     "https://user:password@example.com/", "https://example.com:0/", "https://example.com:99999/", "https:///x",
     "https://[::1/", "javascript:alert(1)", ""],
)  # fmt: skip
async def test_line_14_only_https_without_a_sign_in_is_called(
    notifier: WebhookNotifier, sockets: Sockets, address: str
) -> None:
    with pytest.raises(NotSent) as refusal:
        await notifier.send(message(address))
    assert refusal.value.is_final
    assert sockets.addresses == []


async def test_line_14_an_address_is_called_as_it_was_checked(sockets: Sockets, notifier: WebhookNotifier) -> None:
    """What was judged and what is called are one object; a public address of either family goes through."""
    assert str(called_url(f"https://{PUBLIC}:8443/a", is_private_allowed=False)) == f"https://{PUBLIC}:8443/a"
    for host in (PUBLIC, "[2606:2800:220:1:248:1893:25c8:1946]"):
        with pytest.raises(NotSent, match="ClientConnectorError"):
            await notifier.send(message(f"https://{host}/hook"))
    assert sockets.addresses == [PUBLIC, "2606:2800:220:1:248:1893:25c8:1946"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_line_14_no_redirect_is_followed(status: int) -> None:
    async with (
        open_receiver(org_secret(MASTER, ORG_ID)) as receiver,
        WebhookNotifier(master_secret=MASTER, is_private_allowed=True) as notifier,
    ):
        receiver.status = status
        with pytest.raises(NotSent, match=str(status)):
            await notifier.send(message(receiver.url))
        assert receiver.redirected == 0


def test_line_14_what_is_no_address_is_not_public() -> None:
    assert not any(map(is_public, ("", "example.com", "127.1", "0x7f.1", "1.2.3.4.5", "::1%lo")))
    assert all(map(is_public, (PUBLIC, "2606:2800:220:1::1", "::ffff:93.184.216.34")))
