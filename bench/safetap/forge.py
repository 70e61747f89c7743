"""A process of its own: forged alarms, each with another token, so many a second; prints how many went and came.

The forger has thousands of connections from many addresses, and each sends when its own time has come, whatever became
of what it sent before: a slow door does not slow it.
"""

import argparse
import asyncio
import base64
import os
import time
from typing import cast
from uuid import uuid4

import uvloop

ADDRESSES = 2_000
HEAD = base64.urlsafe_b64encode(b'{"alg":"EdDSA","typ":"JWT"}').rstrip(b"=")


def forged_request() -> bytes:
    """Return a request that only a signature check could tell from a real one."""
    claims = b'{"sub":"%s","org":"%s","role":"worker"}' % (str(uuid4()).encode(), str(uuid4()).encode())
    token = b".".join((HEAD, base64.urlsafe_b64encode(claims).rstrip(b"="), base64.urlsafe_b64encode(os.urandom(64))))
    body = b'{"trigger_id":"%s","kind":"button"}' % str(uuid4()).encode()
    return (
        b"POST /v1/safetap HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (token.rstrip(b"="), len(body), body)
    )


class Forger(asyncio.Protocol):
    """One connection; requests by the clock."""

    sent = answered = 0

    def __init__(self, each_s: float) -> None:
        self._each_s = each_s
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._due = time.perf_counter() + self._each_s * int.from_bytes(os.urandom(2)) / 65_536
        asyncio.get_running_loop().call_later(self._due - time.perf_counter(), self._send)

    def data_received(self, data: bytes) -> None:
        """Count."""
        Forger.answered += data.count(b"HTTP/1.1 2")

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        Forger.sent += 1
        self._transport.write(forged_request())
        self._due = max(self._due + self._each_s, time.perf_counter() - self._each_s)
        asyncio.get_running_loop().call_later(max(0, self._due - time.perf_counter()), self._send)


async def _run(port: int, per_s: float, connections: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    for number in range(connections):
        address = f"127.1.{number % ADDRESSES // 250}.{1 + number % 250}"
        await loop.create_connection(lambda: Forger(connections / per_s), "127.0.0.1", port, local_addr=(address, 0))
    await asyncio.sleep(2 * connections / per_s)  # until all of them are under way
    print("running", flush=True)
    sent, answered, started = Forger.sent, Forger.answered, time.perf_counter()
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - started
    print((Forger.sent - sent) / took_s, (Forger.answered - answered) / took_s, flush=True)


def main() -> None:
    """Run for some seconds."""
    parser = argparse.ArgumentParser(prog="bench.safetap.forge")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--per-s", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    uvloop.run(_run(options.port, options.per_s, options.connections, options.seconds))


if __name__ == "__main__":
    main()
