"""`clenzy user add`: an account made from the machine itself, for instance the first admin."""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from clenzy import state
from clenzy.child import CannotStartError
from clenzy.installation import Installation, Plan
from clenzy.screen import Screen
from config.settings import Settings


@dataclass(frozen=True, slots=True)
class NewRegion:
    """Region of a new organisation."""

    name: str
    country_code: str
    tz: str
    center_lat: float
    center_lng: float


@dataclass(frozen=True, slots=True)
class NewUser:
    """What `engine.run_account` reads."""

    role: str
    email: str
    full_name: str
    password: str
    org: str
    region: NewRegion | None


def add_user(settings: Settings, user: NewUser, screen: Screen) -> str:
    """Create the account in the configured, the running, or else the embedded database; return the person's id.

    Raises:
        CannotStartError: with the reason.
    """
    given = json.dumps(asdict(user)).encode()
    return asyncio.run(on_database(of_running(settings), "engine.run_account", given, screen))


def of_running(settings: Settings) -> Settings:
    """Return `settings` with the stores and ports of the installation that runs in its state folder, if one does."""
    facts = state.running(settings.state_dir) if settings.state_dir.exists() else None
    if facts is None:
        return settings
    given = {name: SecretStr(str(facts[name])) for name in ("database_url", "redis_url")}
    numbers = {name: int(str(facts[name])) for name in ("api_port", "gateway_port", "safetap_port")}
    return settings.model_copy(update={**given, **numbers})


def ops_ports_of_running(settings: Settings) -> dict[str, int]:
    """Return where each process of the running installation answers for its health; empty where none runs."""
    facts = state.running(settings.state_dir) if settings.state_dir.exists() else None
    ports = {} if facts is None else facts["ops_ports"]
    assert isinstance(ports, dict)
    return ports


async def on_database(settings: Settings, module: str, given: bytes, screen: Screen) -> str:
    """Run a program of the engine on the configured database, or else on the embedded one; return what it printed.

    Raises:
        CannotStartError: with the reason.
    """
    if settings.database_url is not None:
        return await _run(Installation(Plan(settings), screen), module, given)
    with state.held(Path(settings.state_dir)):
        installation = Installation(Plan(settings), screen)
        try:
            await installation.start_stores()
            return await _run(installation, module, given)
        finally:
            await installation.stop()


async def _run(installation: Installation, module: str, given: bytes) -> str:
    try:
        return (await installation.run_once(module.rpartition("_")[2], module, given=given)).strip()
    except CannotStartError as error:
        raise CannotStartError(str(error).partition("\n")[2].strip() or str(error)) from error
