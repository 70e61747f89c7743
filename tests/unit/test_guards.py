"""The guards of `tests/conftest.py` really guard."""

import socket
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError

from engine.core import clock


async def test_a_sleep_on_the_loop_is_caught() -> None:
    ours: dict[str, object] = {"time": time}
    exec(compile("def nap():\n    time.sleep(0.001)\n", str(Path(clock.__file__)), "exec"), ours)
    nap = ours["nap"]
    assert callable(nap)
    with pytest.raises(BlockingError):
        nap()


def test_a_call_to_another_machine_is_caught() -> None:
    with socket.socket() as client, pytest.raises(AssertionError, match="a unit test calls"):
        client.connect(("192.0.2.1", 9))
