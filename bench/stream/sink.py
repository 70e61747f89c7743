"""A server that does nothing with pings but acknowledge them: how fast the load client itself is.

`python -m bench.stream.sink FRAME_BYTES` prints its port and serves until it is ended.
"""

import select
import socket
import sys
from typing import Final

from bench.stream.frames import FIRST_SEQ

_READ_BYTES: Final = 262_144
_SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_ACK: Final = b"\x82\x08\x93\x02\xce"


def serve(frame_bytes: int) -> None:
    """Accept phones, count whole frames by their bytes alone, acknowledge after every read."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
    print(listener.getsockname()[1], flush=True)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    lines: dict[int, socket.socket] = {}
    heard: dict[int, int] = {}
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == listener.fileno():
                line, _ = listener.accept()
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                lines[line.fileno()] = line
                poll.register(line, select.EPOLLIN)
                continue
            data = lines[descriptor].recv(_READ_BYTES)
            if descriptor not in heard:
                heard[descriptor] = 0
                lines[descriptor].send(_SWITCHING)
            elif data:
                heard[descriptor] += len(data)
                seq = FIRST_SEQ + heard[descriptor] // frame_bytes - 1
                lines[descriptor].send(_ACK + seq.to_bytes(4) + b"\0")
            else:
                poll.unregister(descriptor)
                del heard[descriptor]
                lines.pop(descriptor).close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
