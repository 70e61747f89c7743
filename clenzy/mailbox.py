"""A mail server for the demo: what is sent to it lands as a file, so that notices really go through SMTP.

`python -m clenzy.mailbox PORT FOLDER`
"""

import asyncio
import signal
import sys
import time
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

MESSAGE_BYTES_MAX = 1_048_576
MESSAGES_KEPT_MAX = 500
"""The oldest beyond are removed."""


class Mailbox:
    """Keeps messages as `.eml` files named by the time of their arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd
        """Take a message; called by aiosmtpd."""
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        building = self._folder / f".{time.time_ns()}"
        building.write_bytes(raw)
        building.rename(self._folder / f"{time.time_ns()}.eml")
        for old in sorted(self._folder.glob("*.eml"))[:-MESSAGES_KEPT_MAX]:
            old.unlink(missing_ok=True)
        return "250 kept"


async def serve(port: int, folder: Path) -> None:
    """Take mail on `port` of the loopback address until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    mailbox = Mailbox(folder)
    server = await loop.create_server(
        lambda: SMTP(mailbox, data_size_limit=MESSAGE_BYTES_MAX, loop=loop), "127.0.0.1", port
    )
    async with server:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
