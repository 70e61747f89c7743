"""The command line. Each command gathers its settings here and hands them on."""

import asyncio
import resource
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import typer
from pydantic import ValidationError
from rich.console import Console

from clenzy import doctor, explain, pages, state, tls
from clenzy.account import NewRegion, NewUser, add_user, of_running, ops_ports_of_running
from clenzy.child import CannotStartError
from clenzy.demo import City, Demo
from clenzy.device import NewDevice, add_device
from clenzy.installation import Plan, without_password
from clenzy.load import Load, load_settings
from clenzy.migrations import migrate as apply_migrations
from clenzy.programs import ROOT, probe_host, run_once
from clenzy.replay import Replay, replay_settings
from clenzy.runner import run, run_alone, until_stopped
from clenzy.screen import Screen
from config.settings import Settings

OPEN_FILES_WANTED = 65_536
FOLDERS_TRIED_MAX = 9

app = typer.Typer(
    help="Real-time dispatch and safety engine.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
user_commands = typer.Typer(help="Accounts.", no_args_is_help=True)
app.add_typer(user_commands, name="user")
device_commands = typer.Typer(help="Stock phone trackers.", no_args_is_help=True)
app.add_typer(device_commands, name="device")
geo_commands = typer.Typer(help="Who is where.", no_args_is_help=True)
app.add_typer(geo_commands, name="geo")
safetap_commands = typer.Typer(help="The silent alarm and its record.", no_args_is_help=True)
app.add_typer(safetap_commands, name="safetap")
roads_commands = typer.Typer(help="The road graph that travel times come from.", no_args_is_help=True)
app.add_typer(roads_commands, name="roads")

StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Where stores, keys and logs live. Default: .clenzy")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every log line, not only warnings.")]
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def main() -> None:
    """Run the command line; what cannot start is told on standard error, with exit code 1."""
    try:
        app()
    except CannotStartError as error:
        Screen().fail(str(error))
        sys.exit(1)


@app.command()
def demo(  # noqa: PLR0913, PLR0917 - the options of a command
    workers: Annotated[int, typer.Option(min=0, help="Simulated workers.")] = 2_000,
    bookings_per_min: Annotated[float, typer.Option(min=0, help="Simulated bookings a minute.")] = 20,
    alarms_per_hour: Annotated[float, typer.Option(min=0, help="Simulated calls for help an hour.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed makes the same city.")] = 7,
    port: Annotated[int | None, typer.Option(help="Port of the web pages and the API. Default: 8080")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1")] = None,
    use_tls: Annotated[
        bool, typer.Option("--tls", help="HTTPS for phones in this network, with a self-made authority.")
    ] = False,
    no_sim: Annotated[bool, typer.Option("--no-sim", help="Start without the simulated city.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    state_dir: StateDir = None,
    verbose: Verbose = False,
) -> None:
    """Start everything with demo accounts and a simulated city. Ctrl-C stops it."""
    screen = Screen(is_verbose=verbose)
    given: dict[str, Any] = {"mode": "demo"}
    given |= {name: value for name, value in (("api_port", port), ("host", host)) if value is not None}
    settings = _settings(state_dir, **given)
    city = None if no_sim else City(workers, bookings_per_min, alarms_per_hour, seed)
    with _demo_folder(settings, screen, is_fixed=state_dir is not None) as own:
        _raise_open_files()
        plan = Plan(own, shifts_ports=True, has_mailbox=True)
        if use_tls:
            plan = _with_tls(plan)
        _end(run(plan, screen, Demo(city, opens_browser=not no_open)))


@app.command()
def up(state_dir: StateDir = None) -> None:
    """Start everything without demo data; every log line goes to standard output as JSON."""
    settings = _settings(state_dir)
    with state.held(settings.state_dir):
        _raise_open_files()
        _end(run(Plan(settings), Screen(is_stream=True), until_stopped))


@app.command()
def migrate(state_dir: StateDir = None) -> None:
    """Bring the database of DATABASE_URL (or of the running installation) to this build's schema."""
    settings = of_running(_settings(state_dir))
    if settings.database_url is None:
        raise CannotStartError("set DATABASE_URL: the embedded database is migrated with every start")
    try:
        applied = apply_migrations(settings.database_url.get_secret_value())
    except psycopg.Error as error:
        raise CannotStartError(without_password(str(error))) from error
    print("\n".join(f"applied {name}" for name in applied) or "nothing to do")


@app.command("doctor")
def doctor_command(state_dir: StateDir = None) -> None:
    """Look at this machine and installation; say what to do. Exit code 1 when something fails."""
    settings = _settings(state_dir)
    present = of_running(settings)
    findings = doctor.examine(present, is_running=present is not settings)
    findings += doctor.check_processes(probe_host(present.host), ops_ports_of_running(settings))
    Screen().table(doctor.report(findings))
    raise typer.Exit(doctor.exit_code(findings))


@user_commands.command("add")
def user_add(
    email: str,
    role: Annotated[str, typer.Option(help="admin, dispatcher, worker or customer.")] = "admin",
    name: Annotated[str, typer.Option(help="Full name.")] = "",
    org: Annotated[str, typer.Option(help="Organisation; may be left out when there is only one.")] = "",
    new_region: Annotated[
        str, typer.Option(help="Also create the organisation, with this region: 'Porto,PT,Europe/Lisbon,41.15,-8.61'.")
    ] = "",
    state_dir: StateDir = None,
) -> None:
    """Create an account. The password is asked for, or read from standard input."""
    password = typer.prompt("Password", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    user = NewUser(role, email, name or email.partition("@")[0], password, org, _region(new_region))
    print(add_user(_settings(state_dir), user, Screen()))


@geo_commands.command("verify")
def geo_verify(
    state_dir: StateDir = None,
    repair: Annotated[bool, typer.Option("--repair", help="First mend what a crash or a lost node has left.")] = False,
) -> None:
    """Compare every worker's cell with H3, at REDIS_URL or in the running installation. Exit code 1: one is wrong."""
    settings = of_running(_settings(state_dir))
    if settings.redis_url is None:
        raise CannotStartError("set REDIS_URL: nothing runs here, and the embedded Redis keeps nothing")
    raise typer.Exit(run_once("engine.run_geo_verify", settings, *(["--repair"] if repair else [])))


@roads_commands.command("build")
def roads_build(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="OpenStreetMap extract (.osm.pbf), streets as GeoJSON, or CITY_nodes.csv beside CITY_edges.csv.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Default: NAME.roads, here.")] = None,
) -> None:
    """Make a road file; CLENZY_ROADS_FILE then names it."""
    from clenzy import roads  # noqa: PLC0415 - it brings a compiler along, which no other command needs

    built = roads.build(source, out, Console(stderr=True))
    print(f"{built.path}: {built.index.graph.nodes:,} junctions, {built.path.stat().st_size / 1e6:.1f} MB")


@roads_commands.command("info")
def roads_info(file: Path) -> None:
    """Check a road file and say what it holds."""
    from clenzy import roads  # noqa: PLC0415 - it brings a compiler along, which no other command needs

    print("\n".join(f"{name:>11}  {text}" for name, text in roads.told(file)))


@roads_commands.command("learn")
def roads_learn(
    file: Annotated[Path, typer.Argument(help="Road file.")],
    trips: Annotated[
        Path | None,
        typer.Argument(
            help="CSV: begin_ms,from_lat,from_lng,to_lat,to_lng,seconds. Default: the trips of our own workers."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="CLENZY_ETA_LEARNED_FILE then names it.")] = Path("learned.json"),
    days: Annotated[int, typer.Option(min=1, help="How old our own trips may be; trails are kept no longer.")] = 30,
    state_dir: StateDir = None,
) -> None:
    """Learn from real trips how long roads take, by place and hour (of CLENZY_ETA_TIME_ZONE)."""
    settings = _settings(state_dir)
    if trips is None:
        wanted = (str(file.resolve()), str(out.resolve()), str(days))
        raise typer.Exit(run_once("engine.run_learn", of_running(settings), *wanted))
    from clenzy import roads  # noqa: PLC0415 - it brings a compiler along, which no other command needs

    print(roads.learn(file, trips, out, ZoneInfo(settings.eta_time_zone), Console(stderr=True)))


@app.command()
def drill(
    org: Annotated[str, typer.Option(help="Organisation; may be left out when there is only one.")] = "",
    state_dir: StateDir = None,
) -> None:
    """Begin a drill of the running installation: an alarm through the whole real path, marked as practice."""
    settings = of_running(_settings(state_dir))
    if settings.database_url is None:
        raise CannotStartError("set DATABASE_URL, or start the installation that is to practise")
    raise typer.Exit(run_once("engine.run_drill", settings, *([org] if org else [])))


@app.command("explain")
def explain_command(
    booking: Annotated[UUID, typer.Argument(help="The booking's id.")],
    replay: Annotated[
        bool, typer.Option("--replay", help="Make each decision once more from its record. Exit code 1: one differs.")
    ] = False,
    state_dir: StateDir = None,
) -> None:
    """Tell why a booking's workers were asked: who was weighed, what each cost, which rule excluded whom."""
    found = explain.explain(_settings(state_dir), str(booking), must_replay=replay, screen=Screen())
    explain.show(found, Console())
    raise typer.Exit(0 if explain.is_same(found) else 1)


@safetap_commands.command("verify")
def safetap_verify(
    incident: Annotated[UUID | None, typer.Option(help="Only this incident. Default: all, and the audit log.")] = None,
    audit_head: Annotated[
        str | None, typer.Option(help="As an earlier run printed it: shows that the audit log was not cut since.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Hold the records of incidents and the audit log against their chains of hashes. Exit code 1: one is broken."""
    settings = of_running(_settings(state_dir))
    if settings.database_url is None:
        raise CannotStartError("set DATABASE_URL, or start the installation whose records are to be looked at")
    options = {"--incident": incident, "--audit-head": audit_head}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    raise typer.Exit(run_once("engine.run_safetap_verify", settings, *given))


@app.command("rotate-person-keys")
def rotate_person_keys(state_dir: StateDir = None) -> None:
    """Wrap people's keys with a new key and destroy the old one: earlier copies of the database open nothing more."""
    settings = of_running(_settings(state_dir))
    if settings.database_url is None:
        raise CannotStartError("set DATABASE_URL, or start the installation whose keys are to be rotated")
    raise typer.Exit(run_once("engine.run_person_keys", settings))


@device_commands.command("add")
def device_add(
    email: Annotated[str, typer.Argument(help="E-mail of the worker whose phone it is.")],
    kind: Annotated[
        str, typer.Option("--app", help="owntracks, osmand, traccar, overland or gpslogger.")
    ] = "owntracks",
    label: Annotated[str, typer.Option(help="What the phone is called in lists.")] = "",
    gateway_url: Annotated[
        str | None, typer.Option(help="Where the phone reaches the gateway. Default: CLENZY_GATEWAY_PUBLIC_URL")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Let a stock tracker speak for a worker: prints the URL, the link and a QR code. The token is shown only now."""
    given = {} if gateway_url is None else {"gateway_public_url": gateway_url}
    print(add_device(_settings(state_dir, **given), NewDevice(email, kind, label), Screen()))


@app.command()
def keys(state_dir: StateDir = None) -> None:
    """Make the key pair that signs access tokens (Ed25519), unless it is there."""
    private, public = state.ensure_keys(_settings(state_dir).state_dir.resolve())
    print(f"CLENZY_JWT_PRIVATE_KEY_FILE={private}\nCLENZY_JWT_PUBLIC_KEY_FILE={public}")


@app.command("tls")
def tls_command(
    names: Annotated[list[str] | None, typer.Argument(help="More host names or addresses of this machine.")] = None,
    state_dir: StateDir = None,
) -> None:
    """Make a certificate authority for a local network, and a certificate by it: phones need HTTPS."""
    settings = _settings(state_dir)
    every = [*(names or []), *tls.local_names()]
    files = tls.ensure_tls(settings.state_dir.resolve(), every)
    print(tls.phone_steps(files, f"https://{every[0]}:{settings.api_port}/worker/"))


@app.command(context_settings=PASS_ON)
def replay(  # noqa: PLR0913, PLR0917 - the options of a command
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Porto's taxi CSV, a CSV of fixes, or GPX.")
    ],
    speed: Annotated[float, typer.Option(min=1, help="How many times faster than it was.")] = 60,
    report: Annotated[Path, typer.Option(help="Where the report goes, as JSON.")] = Path("out/replay.json"),
    api_url: Annotated[str | None, typer.Option(help="Use this running installation instead of starting one.")] = None,
    admin_email: Annotated[str, typer.Option(help="With --api-url: an admin there.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="With --api-url: file with the admin's password.")] = None,
    state_dir: StateDir = None,
    verbose: Verbose = False,
) -> None:
    """Drive a recorded trace through the system. Other options go to the simulator (see: clenzy sim replay --help)."""
    report.parent.mkdir(parents=True, exist_ok=True)
    job = Replay(file.resolve(), speed, report.resolve(), tuple(context.args))
    _raise_open_files()
    if api_url is not None:
        _end(run_alone(job.arguments(api_url, admin_email, _needed(password_file))))
    settings = replay_settings(_settings(state_dir), job)
    with state.held(settings.state_dir):
        _end(run(Plan(settings, shifts_ports=True, has_mailbox=True, has_pages=False), Screen(is_verbose=verbose), job))


@app.command(context_settings=PASS_ON)
def load(
    context: typer.Context,
    report: Annotated[Path, typer.Option(help="Where the report goes, as JSON.")] = Path("out/load.json"),
    api_url: Annotated[str | None, typer.Option(help="Use this running installation instead of starting one.")] = None,
    admin_email: Annotated[str, typer.Option(help="With --api-url: an admin there.")] = "",
    password_file: Annotated[Path | None, typer.Option(help="With --api-url: file with the admin's password.")] = None,
    state_dir: StateDir = None,
    verbose: Verbose = False,
) -> None:
    """Load the system for a short while (needs a checkout). Other options: see `python -m loadtests --help`."""
    report.parent.mkdir(parents=True, exist_ok=True)
    job = Load(report.resolve(), tuple(context.args))
    _raise_open_files()
    if api_url is not None:
        _end(run_alone(job.arguments(api_url, admin_email, _needed(password_file))))
    settings = load_settings(_settings(state_dir))
    with state.held(settings.state_dir):
        _end(run(Plan(settings, shifts_ports=True, has_mailbox=True, has_pages=False), Screen(is_verbose=verbose), job))


@app.command(context_settings={**PASS_ON, "help_option_names": []})
def sim(context: typer.Context) -> None:
    """Run the simulator against a running installation (see: clenzy sim --help)."""
    _end(run_alone(("sim", *context.args)))


@app.command("pages")
def pages_command() -> None:
    """Build the web pages if their sources have changed."""
    asyncio.run(pages.ensure_built(pages.console_folder(), lambda text: print(text, flush=True)))


@app.command("version")
def version_command() -> None:
    """Print the version."""
    try:
        print(version("clenzy"))
    except PackageNotFoundError:  # a checkout that is only on the path
        line = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
        print(line.partition("=")[2].strip().strip('"'))


def _needed(password_file: Path | None) -> Path:
    if password_file is None:
        raise typer.BadParameter("--api-url needs --admin-email and --password-file")
    return password_file


def _settings(state_dir: Path | None, **given: object) -> Settings:
    if state_dir is not None:
        given["state_dir"] = state_dir
    try:
        return Settings.model_validate({**Settings().model_dump(exclude_unset=True), **given})
    except ValidationError as error:
        raise CannotStartError(f"settings: {error}") from error


@contextmanager
def _demo_folder(settings: Settings, screen: Screen, *, is_fixed: bool) -> Iterator[Settings]:
    """Hold the state folder. A second demo takes the next one, unless a person named the folder."""
    folder = settings.state_dir
    with ExitStack() as stack:
        for number in range(2, FOLDERS_TRIED_MAX + 1):
            try:
                stack.enter_context(state.held(folder))
                break
            except state.StateInUseError as error:
                if is_fixed or number == FOLDERS_TRIED_MAX:
                    raise
                following = settings.state_dir.with_name(f"{settings.state_dir.name}-{number}")
                screen.say(f"{error}.\nThis one takes {following}.")
                folder = following
        yield settings.model_copy(update={"state_dir": folder})


def _with_tls(plan: Plan) -> Plan:
    names = tls.local_names()
    files = tls.ensure_tls(plan.settings.state_dir.resolve(), names)
    own = {
        "tls_cert_file": files.certificate,
        "tls_key_file": files.key,
        "host": "0.0.0.0",  # noqa: S104 - phones must reach it
    }
    print(tls.phone_steps(files, f"https://{names[0]}:{plan.settings.api_port}/worker/"))
    return replace(plan, settings=plan.settings.model_copy(update=own), public_host=names[0], authority=files.authority)


def _region(text: str) -> NewRegion | None:
    if not text:
        return None
    try:
        name, country, tz, lat, lng = (part.strip() for part in text.split(","))
        return NewRegion(name, country, tz, float(lat), float(lng))
    except ValueError as error:
        raise typer.BadParameter("a region is written NAME,COUNTRY,TIME ZONE,LATITUDE,LONGITUDE") from error


def _raise_open_files() -> None:
    """Ask for as many open files as we may have: children inherit it, and each phone is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _end(work: Coroutine[Any, Any, int]) -> NoReturn:
    raise typer.Exit(asyncio.run(work))
