"""Consoles of the real gateway, and events for them as the relay publishes them."""

import json
import socket
from collections.abc import Callable, Mapping

import redis

from bench.stream.audience import connected
from bench.stream.product import ORG, Product


def consoles(under_test: Product, count: int, *, read_bytes: int | None = None) -> list[socket.socket]:
    """Open `count` consoles of one organisation; `read_bytes`: how much their kernel takes before they read."""
    hello = [f'40/console,{{"token":"{under_test.desk_token}"}}'] * count
    return connected(under_test.port, hello, b'["welcome"', read_bytes=read_bytes)


def publisher(under_test: Product, body: Mapping[str, object], topic: str = f"desk:{ORG}") -> Callable[[], None]:
    """Return what publishes one event."""
    client = redis.Redis.from_url(under_test.redis_url)
    message = json.dumps({"event_id": 1, "kind": "booking", "body": body})

    def publish() -> None:
        client.publish(f"fan:{topic}", message)

    return publish
