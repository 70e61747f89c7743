"""The fastest websocket server for Python that we know of, with a listener that counts bytes and answers nothing."""

import asyncio

import picows
import uvloop


class Counting(picows.WSListener):
    """One connection."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Take one frame as bytes, as a handler would need it."""
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.bytes += len(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())


async def _serve() -> None:
    server = await picows.ws_create_server(lambda _: Counting(), "127.0.0.1", 0, enable_auto_pong=False)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
