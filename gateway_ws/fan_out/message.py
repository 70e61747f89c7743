"""One message of the fan-out as all of its listeners share it: decoded once, encoded once for each form of client."""

from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

import orjson

Frame = TypeVar("Frame")
Asked = ParamSpec("Asked")


class Encodings:
    """What one body looks like on the wire, made when the first client needs it and shared by all that get it."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames: dict[Hashable, object] = {}

    def frame(self, form: Hashable, encode: Callable[Asked, Frame], *args: Asked.args, **kwargs: Asked.kwargs) -> Frame:
        """Return the frame of this form, made once; a form names everything, besides the body, that decides it."""
        frame = self._frames.get(form)
        if frame is None:
            frame = self._frames[form] = encode(*args, **kwargs)
        return cast("Frame", frame)


class Message:
    """What a listener hears: the topic it came by and the payload as it was published."""

    __slots__ = ("_json", "encodings", "payload", "topic")

    def __init__(self, topic: str, payload: bytes) -> None:
        self.topic = topic
        self.payload = payload
        self.encodings = Encodings()
        self._json: dict[str, Any] | None = None

    def json(self) -> dict[str, Any]:
        """Return the payload as JSON. Listeners share the object: nobody may change it."""
        if self._json is None:
            self._json = orjson.loads(self.payload)
        return self._json
