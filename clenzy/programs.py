"""The process table: which programs an installation runs, in which environment, and how to ask if they are ready."""

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp

from clenzy.child import Command
from clenzy.supervisor import Program
from config.limits import STOP_TIMEOUT_MS
from config.settings import Settings

PROBE_TIMEOUT_S: Final = 2.0
ROOT: Final = Path(__file__).resolve().parent.parent
"""The folder that holds the packages: a checkout's, or an installation's site-packages."""


EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Role:
    """One row of the process table."""

    name: str
    module: str
    port_setting: str
    """The environment variable that tells it the port of its health routes."""


OPS_PORT_VARIABLE: Final = "CLENZY_OPS_PORT"
GATEWAY: Final = "gateway_ws"
MATCHER: Final = "matcher"

ROLES: Final = (
    Role("api_rest", "api_rest", "CLENZY_API_PORT"),
    Role(GATEWAY, "gateway_ws", "CLENZY_GATEWAY_PORT"),
    Role("safetap_door", "safetap_door", "CLENZY_SAFETAP_PORT"),
    Role(MATCHER, "engine.run_matcher", OPS_PORT_VARIABLE),
    Role("notify", "engine.run_notify", OPS_PORT_VARIABLE),
    Role("zones", "engine.run_zones", OPS_PORT_VARIABLE),
    Role("keeper", "engine.run_keeper", OPS_PORT_VARIABLE),
)

SIGNING_KEY_VARIABLE: Final = "CLENZY_JWT_PRIVATE_KEY_FILE"
SIGNER: Final = "api_rest"
"""The one process that gets the private key."""


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a child: ours, with every setting of the installation by name."""
    given = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    given |= {name: _text(value) for name, value in _by_variable(settings).items() if value is not None}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**given, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", "CLENZY_LOG_FORMAT": "json"}


def gateway_programs(role: Role, settings: Settings, ports: Sequence[int]) -> list[Program]:
    """Return the gateways, one for each of `ports`: where each alone answers for its health.

    The port that they share answers for any of them, and for none that is sending its clients away.
    """
    stop_timeout_ms = STOP_TIMEOUT_MS + settings.drain_within_ms
    programs = side_by_side(replace(role, port_setting=OPS_PORT_VARIABLE), settings, ports)
    return [replace(program, stop_timeout_ms=stop_timeout_ms) for program in programs]


def side_by_side(role: Role, settings: Settings, ports: Sequence[int]) -> list[Program]:
    """Return several programs of one row, one for each of `ports`; where there is one it has the row's plain name."""
    names = [role.name] if len(ports) == 1 else [f"{role.name}#{number}" for number in range(1, len(ports) + 1)]
    return [replace(role_program(role, settings, port), name=name) for name, port in zip(names, ports, strict=True)]


def role_program(role: Role, settings: Settings, port: int) -> Program:
    """Return the program of one row, whose health routes are on `port`."""
    child = environment(settings)
    if role.name != SIGNER:
        child.pop(SIGNING_KEY_VARIABLE, None)
    child[role.port_setting] = str(port)
    scheme = "http" if role.port_setting == OPS_PORT_VARIABLE else settings.scheme
    base = f"{scheme}://{probe_host(settings.host)}:{port}"
    return Program(
        name=role.name,
        command=Command((sys.executable, "-m", role.module), env=child, cwd=ROOT),
        is_ready=probe(f"{base}/readyz"),
        is_alive=probe(f"{base}/healthz"),
    )


def module_program(name: str, settings: Settings, *argv: str, env: Mapping[str, str] = EMPTY) -> Program:
    """Return a program without health routes, `python -m ...`; it is ready as soon as it runs."""
    command = Command(
        (sys.executable, "-m", *argv),
        env={**environment(settings), **env},
        cwd=ROOT,
        stop_signal=signal.SIGTERM,
        orphan_signal=signal.SIGTERM,  # it may have children of its own to end
    )
    return Program(name, command, is_ready=_at_once)


def run_once(module: str, settings: Settings, *argv: str) -> int:
    """Run `python -m module` to its end, with our terminal; return its exit code."""
    command = (sys.executable, "-m", module, *argv)
    return subprocess.run(command, env=environment(settings), cwd=ROOT, check=False).returncode


def probe(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a question: does `url` answer 200?"""
    # Only ever asked of this machine; a certificate names the addresses that phones use.
    context: ssl.SSLContext | bool = True
    if url.startswith("https"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

    async def ask() -> bool:
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, ssl=context) as answer:
                return answer.status == 200  # noqa: PLR2004 - HTTP's OK
        return False

    return ask


def probe_host(host: str) -> str:
    """Return where to reach on this machine what binds to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


async def _at_once() -> bool:
    return True


def _is_setting(variable: str) -> bool:
    return variable.startswith("CLENZY_") or variable in {"DATABASE_URL", "REDIS_URL"}


def _by_variable(settings: Settings) -> Mapping[str, object]:
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    plain = {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in values.items()
    }
    return {variable_of(name): value for name, value in plain.items()}


def variable_of(field: str) -> str:
    """Return the environment variable of a field of `Settings`."""
    return field.upper() if field in {"database_url", "redis_url"} else f"CLENZY_{field.upper()}"


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)
