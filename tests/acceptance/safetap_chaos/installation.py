"""The whole product as processes to be killed: two doors with a disk each, two senders, the rest, and the stores."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import psycopg

from clenzy.child import store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.postgres import Postgres
from clenzy.stores.redis import Redis
from engine.people.keyring import ensure_keyring
from tests.acceptance.safetap_chaos.history import Kill
from tests.acceptance.safetap_chaos.victims import ProcessVictim, StoreVictim, Victim
from tests.conftest import TokenKeys

DURABLE_POSTGRES = True
OTHERS: Mapping[str, tuple[str, str]] = {
    "api": ("api_rest", "CLENZY_API_PORT"),
    "gateway": ("gateway_ws", "CLENZY_GATEWAY_PORT"),
    "matcher": ("engine.run_matcher", "CLENZY_OPS_PORT"),
    "zones": ("engine.run_zones", "CLENZY_OPS_PORT"),
    "keeper": ("engine.run_keeper", "CLENZY_OPS_PORT"),
}
"""Module and the variable of its port."""
PORTS = 6 + len(OTHERS)
"""Of two stores, two doors, two senders and the others."""

# Written by Postgres itself, so that no process of ours is asked how late it was.
TIMER_LOG = """
CREATE TABLE chaos_timer_change (
  number bigserial PRIMARY KEY, incident_id uuid, at timestamptz, due_at timestamptz, step integer, loop integer);
CREATE FUNCTION chaos_note_timer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos_timer_change (incident_id, at, due_at, step, loop)
  VALUES (NEW.incident_id, clock_timestamp(), NEW.due_at, NEW.step, NEW."loop");
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_timer_noted AFTER INSERT OR UPDATE OF due_at, step, loop ON incident_timer
  FOR EACH ROW EXECUTE FUNCTION chaos_note_timer();
"""


class Installation:
    """Everything that is killed. `providers`: settings that name the receivers of notices."""

    def __init__(self, folder: Path, keys: TokenKeys, providers: Mapping[str, str], *, is_whole: bool) -> None:
        self.kills: list[Kill] = []
        self.log = folder / "processes.log"
        self._folder = folder
        home = store_home(folder, store_account())
        # In a row: one by one, two of them might be the same free port.
        ports = count(any_free(together=PORTS))
        server = Postgres(home, password=secrets.token_urlsafe(16), port=next(ports), durable=DURABLE_POSTGRES)
        cache = Redis(home, password=secrets.token_urlsafe(16), port=next(ports))
        self.database_url = server.url
        self.postgres = StoreVictim(server, name="postgres", log=self.log, kills=self.kills)
        self.redis = StoreVictim(cache, name="redis", log=self.log, kills=self.kills)
        (folder / "public.pem").write_bytes(keys.public_pem)
        (folder / "private.pem").write_bytes(keys.private_pem)
        (folder / "private.pem").chmod(0o600)
        door_ports = [next(ports), next(ports)]
        self._common = {
            **providers,
            "DATABASE_URL": server.url,
            "REDIS_URL": cache.url,
            "CLENZY_JWT_PUBLIC_KEY_FILE": str(folder / "public.pem"),
            "CLENZY_SAFETAP_PORT": str(door_ports[0]),
            "CLENZY_SAFETAP_SOCKET": str(self.disk(0) / "safetap.sock"),
            "CLENZY_SAFETAP_PUBLIC_URL": f"http://127.0.0.1:{door_ports[0]}",
            "CLENZY_STATE_DIR": str(folder),
            "CLENZY_PERSON_KEYS_FILE": str(ensure_keyring(folder / "person-keys.json")),
            "CLENZY_LOG_LEVEL": "WARNING",
        }
        self.doors = [self._door(number, port) for number, port in enumerate(door_ports)]
        self.senders = [
            self._process(f"notify-{n}", "notify", "engine.run_notify", "CLENZY_OPS_PORT", next(ports)) for n in (0, 1)
        ]
        chosen = OTHERS if is_whole else {}
        self.others = {name: self._process(name, name, *how, next(ports)) for name, how in chosen.items()}

    @property
    def processes(self) -> list[Victim]:
        return [*self.doors, *self.senders, *self.others.values()]

    def disk(self, number: int) -> Path:
        """Return the state folder of a door: a node's own disk."""
        return self._folder / f"node-{number}"

    def spooled_bytes(self, number: int) -> int:
        """Return how much lies in a door's spool."""
        return sum(path.stat().st_size for path in (self.disk(number) / "spool").glob("*.spool"))

    def lose_disk(self, number: int) -> None:
        """Take a node's disk away; it gets an empty one."""
        shutil.rmtree(self.disk(number))
        self.disk(number).mkdir()

    @asynccontextmanager
    async def stores(self) -> AsyncIterator[None]:
        """Run Postgres with the schema, and Redis."""
        await asyncio.gather(self.postgres.start(), self.redis.start())
        try:
            await asyncio.to_thread(self._prepare)
            yield
        finally:
            self.postgres.stop()
            self.redis.stop()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all processes."""
        for number, _ in enumerate(self.doors):
            self.disk(number).mkdir()
        try:
            await asyncio.gather(*(process.start() for process in self.processes))
            yield
        finally:
            for process in self.processes:
                process.stop()

    def _prepare(self) -> None:
        migrate(self.database_url)
        with psycopg.connect(self.database_url) as connection:
            connection.execute(TIMER_LOG)

    def _door(self, number: int, port: int) -> ProcessVictim:
        own = {
            "CLENZY_SAFETAP_PORT": str(port),
            "CLENZY_STATE_DIR": str(self.disk(number)),
            "CLENZY_SAFETAP_SOCKET": str(self.disk(number) / "safetap.sock"),
        }
        return ProcessVictim(
            "safetap_door", port, self._common | own, name=f"door-{number}", kind="door", log=self.log, kills=self.kills
        )

    def _process(self, name: str, kind: str, module: str, port_variable: str, port: int) -> ProcessVictim:
        own = {port_variable: str(port)}
        if name == "api":
            own["CLENZY_JWT_PRIVATE_KEY_FILE"] = str(self._folder / "private.pem")
        return ProcessVictim(module, port, self._common | own, name=name, kind=kind, log=self.log, kills=self.kills)
