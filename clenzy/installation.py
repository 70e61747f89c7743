"""One running installation: stores, schema, processes. What `clenzy demo`, `up` and `replay` have in common."""

import asyncio
import hashlib
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psycopg
from pydantic import SecretStr

from clenzy import pages, ports, state
from clenzy.child import CannotStartError, store_account
from clenzy.log_stream import LogStream
from clenzy.migrations import migrate
from clenzy.programs import (
    GATEWAY,
    MATCHER,
    ROLES,
    ROOT,
    Role,
    environment,
    gateway_programs,
    module_program,
    role_program,
    side_by_side,
)
from clenzy.screen import Screen
from clenzy.stores.home import StoreHome, store_home
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis
from clenzy.supervisor import Program, Supervisor
from clenzy.temporary import own_temporary_folder
from config.settings import Settings

POSTGRES_PORT: Final = 25432
REDIS_PORT: Final = 26379
SMTP_PORT: Final = 8025
OPS_PORT: Final = 8090
"""First port tried for those that people do not type; below the range of outgoing connections' ports."""
STORE_PORTS_MAX: Final = 3
"""Ports that a store tries to get."""
PUBLIC_PORTS: Final = ("api_port", "gateway_port", "safetap_port")
PORT_RACES_MAX: Final = 5
"""Starts that may fail because somebody else took a port between our choice and its use, before we give up."""
SOCKET_PATH_BYTES_MAX: Final = 100
"""Linux takes 107 bytes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `settings` are as a person gave them."""

    settings: Settings
    shifts_ports: bool = False
    """Take the next free port where one is taken, instead of refusing to start."""
    has_mailbox: bool = False
    has_pages: bool = True
    public_host: str | None = None
    """Name or address that phones and browsers are told, where it is not `settings.host`."""
    roles: tuple[Role, ...] = ROLES
    """The process table."""
    authority: Path | None = None
    """Certificate of a self-made authority, which the simulator must be told to trust."""


class Installation:
    """Starts and stops everything. Between the two, `settings` are those that the processes run with."""

    def __init__(self, plan: Plan, screen: Screen) -> None:
        """`plan.settings.state_dir` must be ours: `state.held`."""
        self.settings = plan.settings.model_copy(update={"state_dir": plan.settings.state_dir.resolve()})
        self.screen = screen
        self.log = LogStream(self.settings.state_dir / "logs", screen.line)
        self._plan = plan
        self._supervisor = Supervisor(self.log, changed=screen.changed)
        self._ports = ports.Claims(self.settings.host)
        self._ops_ports: dict[str, int] = {}
        """By process: where each answers that serves nothing else, or not alone."""

    @property
    def mail_folder(self) -> Path:
        """Where the demo's mail lands."""
        return self.settings.state_dir / "mail"

    @property
    def passwords_file(self) -> Path:
        """The demo's passwords."""
        return state.demo_passwords(self.settings.state_dir)

    async def start(self) -> None:
        """Return when every process is ready.

        A port that somebody else takes between our choice and its use costs a second start with other ports.

        Raises:
            CannotStartError: with the reason. Call `stop` then, too.
        """
        chosen = self.settings
        for _ in range(PORT_RACES_MAX):
            try:
                return await self._start_once()
            except CannotStartError as error:
                await self._supervisor.stop()
                lost = self._ports.lost()
                if not lost:
                    raise
                self.log.say("installation.ports_lost", level="warning", ports=lost, reason=str(error))
                self.screen.say(f"Somebody else took port {', '.join(map(str, lost))}; starting again with others.")
                self._ports.release()
                self.settings = chosen
        raise CannotStartError(f"ports were taken by others at each of {PORT_RACES_MAX} tries: start again")

    async def _start_once(self) -> None:
        building = asyncio.create_task(self._build_pages())
        try:
            self._choose_ports()
            self._choose_files()
            await self._start_stores()
            await self._migrate()
            if self.settings.mode == "demo":
                await self.run_once("seed", "engine.run_seed", given=self.passwords_file.read_bytes())
            await building
            await self._supervisor.start(self._processes())
            self._note_running()
        finally:
            building.cancel()

    async def start_stores(self) -> None:
        """Start the stores only, with the schema of this build: for a command that needs them for a moment."""
        await self._start_stores()
        await self._migrate()

    async def add(self, name: str, *argv: str) -> None:
        """Run `python -m argv` beside the rest until `stop`."""
        trusted = {"SSL_CERT_FILE": str(self._plan.authority)} if self._plan.authority else {}
        await self._supervisor.start([module_program(name, self.settings, *argv, env=trusted)])

    async def stop(self) -> None:
        """Stop everything, the stores last."""
        self.screen.is_quiet = True
        await self._supervisor.stop()
        self._ports.release()

    def kill(self) -> None:
        """End everything at once."""
        self._supervisor.kill_all()

    async def run_once(self, name: str, *argv: str, given: bytes = b"") -> str:
        """Run `python -m argv` to its end, with `given` on its standard input; return what it printed.

        Raises:
            CannotStartError: it failed, with what it said.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *argv),
            cwd=ROOT,
            env=environment(self.settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate(given)
        finally:
            if process.returncode is None:
                process.kill()
        for line in errors.splitlines():
            self.log.take(name, line)
        if process.returncode != 0:
            raise CannotStartError(f"{name} failed ({process.returncode}):\n{errors.decode(errors='replace')[-2000:]}")
        return output.decode()

    async def _build_pages(self) -> None:
        if self._plan.has_pages:
            await pages.ensure_built(pages.console_folder(), self.screen.say)

    async def _start_stores(self) -> None:
        needs_postgres, needs_redis = self.settings.database_url is None, self.settings.redis_url is None
        if not (needs_postgres or needs_redis):
            return
        home = store_home(self.settings.state_dir, store_account())
        if home.moved_because:
            self.screen.say(f"Stores are kept in {home.folder}: {home.moved_because}.")
        starts = []
        if needs_postgres:
            starts.append(self._start_store("postgres", Postgres, POSTGRES_PORT, home))
        if needs_redis:
            starts.append(self._start_store("redis", Redis, REDIS_PORT, home))
        await asyncio.gather(*starts)

    async def _start_store(self, name: str, kind: type[Postgres] | type[Redis], wanted: int, home: StoreHome) -> None:
        """Start one store; take another port when a stranger was faster to take the one we chose."""
        password = state.secret(self.settings.state_dir, name)
        for attempt in range(STORE_PORTS_MAX):
            server = kind(home, password=password, port=self._port(name, wanted + attempt))
            try:
                await self._supervisor.start([await asyncio.to_thread(_store_program, name, server)])
            except CannotStartError:
                if attempt == STORE_PORTS_MAX - 1 or ports.is_free(server.port):
                    raise
                continue
            setting = {"postgres": "database_url", "redis": "redis_url"}[name]
            self.settings = self.settings.model_copy(update={setting: SecretStr(server.url)})
            return

    async def _migrate(self) -> None:
        assert self.settings.database_url is not None
        url = self.settings.database_url.get_secret_value()
        try:
            applied = await asyncio.to_thread(migrate, url)
        except psycopg.Error as error:
            raise CannotStartError(
                f"the database cannot be brought to this schema: {without_password(str(error))}"
            ) from error
        for name in applied:
            self.log.say("migration.applied", migration=name)

    def _choose_ports(self) -> None:
        chosen: dict[str, object] = {}
        for name in PUBLIC_PORTS:
            wanted = getattr(self.settings, name)
            chosen[name] = self._port(name.removesuffix("_port"), wanted, strict=not self._plan.shifts_ports)
            if chosen[name] != wanted:
                self.screen.say(f"Port {wanted} is taken; {name.removesuffix('_port')} uses {chosen[name]}.")
        self.settings = self.settings.model_copy(update=chosen)
        if self._plan.public_host is not None:
            self._tell_public_urls(self._plan.public_host)
        if self._plan.has_mailbox and self.settings.smtp_url is None:
            smtp = SecretStr(f"smtp://127.0.0.1:{self._port('mailbox', SMTP_PORT)}")
            self.settings = self.settings.model_copy(update={"smtp_url": smtp})

    def _tell_public_urls(self, host: str) -> None:
        names = ("api_public_url", "gateway_public_url", "safetap_public_url")
        told = {
            name: f"{self.settings.scheme}://{host}:{getattr(self.settings, port)}"
            for name, port in zip(names, PUBLIC_PORTS, strict=True)
            if getattr(self.settings, name) is None
        }
        self.settings = self.settings.model_copy(update=told)

    def _choose_files(self) -> None:
        chosen: dict[str, object] = {}
        if self.settings.jwt_public_key_file is None:
            private, public = state.ensure_keys(self.settings.state_dir)
            chosen |= {"jwt_private_key_file": private, "jwt_public_key_file": public}
        if self.settings.vapid_key_file is None:
            chosen["vapid_key_file"] = state.ensure_vapid_key(self.settings.state_dir)
        socket = self.settings.safetap_socket_path
        if len(bytes(socket)) > SOCKET_PATH_BYTES_MAX:
            name = hashlib.sha256(bytes(socket)).hexdigest()[:12]
            chosen["safetap_socket"] = own_temporary_folder(f"clenzy-run-{name}") / "safetap.sock"
        # A page may also be opened by the machine's other names.
        here = [f"{self.settings.scheme}://{host}:{self.settings.api_port}" for host in ("localhost", "127.0.0.1")]
        chosen["allowed_origins"] = list(dict.fromkeys([*self.settings.allowed_origins, *here]))
        self.settings = self.settings.model_copy(update=chosen)

    def _processes(self) -> list[Program]:
        public = {"api_rest": self.settings.api_port, "safetap_door": self.settings.safetap_port}
        numbers = {GATEWAY: self.settings.gateway_processes, MATCHER: self.settings.matcher_processes}
        programs: list[Program] = []
        for role in self._plan.roles:
            if role.name in public:
                programs.append(role_program(role, self.settings, public[role.name]))
                continue
            own = [self._port(role.name, OPS_PORT) for _ in range(numbers.get(role.name, 1))]
            several = gateway_programs if role.name == GATEWAY else side_by_side
            started = several(role, self.settings, own)
            self._ops_ports |= {program.name: port for program, port in zip(started, own, strict=True)}
            programs += started
        if self._plan.has_mailbox:
            programs.append(self._mailbox())
        return programs

    def _mailbox(self) -> Program:
        assert self.settings.smtp_url is not None
        port = int(self.settings.smtp_url.get_secret_value().rpartition(":")[2])
        program = module_program("mailbox", self.settings, "clenzy.mailbox", str(port), str(self.mail_folder))

        async def is_ready() -> bool:
            return await asyncio.to_thread(ports.answers, port)

        return replace(program, is_ready=is_ready)

    def _note_running(self) -> None:
        facts = {name: str(value) for name, value in self.settings.model_dump(include=set(PUBLIC_PORTS)).items()}
        for name in ("database_url", "redis_url"):
            facts[name] = getattr(self.settings, name).get_secret_value()
        ops_ports = dict(self._ops_ports)
        state.note_running(self.settings.state_dir, {**facts, "api_url": self.settings.api_url, "ops_ports": ops_ports})
        self.log.say("installation.processes", ops_ports=ops_ports)

    def _port(self, what: str, wanted: int, *, strict: bool = False) -> int:
        if not strict:
            return self._ports.next_free(wanted)
        if not self._ports.take(wanted):
            raise CannotStartError(f"port {wanted} for {what} is taken: set CLENZY_{what.upper()}_PORT to another")
        return wanted


def without_password(text: str) -> str:
    """Return `text` with the passwords of URLs blotted out."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]+@", r"\1:***@", text)


def _store_program(name: str, server: Postgres | Redis) -> Program:
    async def is_ready() -> bool:
        return await asyncio.to_thread(server.answers)

    async def prepare() -> None:
        await asyncio.to_thread(server.prepare)

    return Program(name, server.command(), is_ready, prepare=prepare)
