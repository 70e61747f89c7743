"""An event of Socket.IO as it goes out, encoded once however many clients of a namespace get it. Pure."""

from typing import Final

import orjson

from gateway_ws.engineio.packets import MESSAGE, Packet, websocket_frame

_EVENT: Final = "2"
_BINARY_EVENT: Final = "5"


class SocketIoEvent:
    """A name and its arguments; an argument of bytes travels as an attachment."""

    __slots__ = ("frames", "packets")

    def __init__(self, namespace: str, name: str, *arguments: object) -> None:
        self.packets = _packets(namespace, [name, *arguments])
        """The Engine.IO packets: the text, then the attachments."""
        self.frames = b"".join(map(websocket_frame, self.packets))
        """The same as websocket frames, one after the other."""


def _packets(namespace: str, data: list[object]) -> tuple[Packet, ...]:
    attachments: list[Packet] = [value for value in data if isinstance(value, bytes)]
    if not attachments:
        return (MESSAGE + _EVENT + _address(namespace) + _json(data),)
    numbers = iter(range(len(attachments)))
    named = [{"_placeholder": True, "num": next(numbers)} if isinstance(value, bytes) else value for value in data]
    text = f"{MESSAGE}{_BINARY_EVENT}{len(attachments)}-{_address(namespace)}{_json(named)}"
    return (text, *attachments)


def _address(namespace: str) -> str:
    return "" if namespace == "/" else namespace + ","


def _json(data: list[object]) -> str:
    return orjson.dumps(data, default=str).decode()
