"""The simulator's commands: `city`, `replay`, `streets`, `verify`."""

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import orjson
import redis.exceptions
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sim.agents.city_life import CityOptions, live
from sim.agents.metrics import Tally
from sim.city.plan import draw_city
from sim.client.errors import ClientFailure
from sim.logs import configure_logs
from sim.replay.cells import CellCheck, check_consistent, read_present
from sim.replay.dealing import dealt
from sim.replay.readers import read_recording
from sim.replay.recording import Recording
from sim.replay.report import print_report
from sim.replay.run import ReplayOptions, replay

OPEN_FILES: Final = 8_192
VERIFY_READS: Final = 5
VERIFY_PAUSE_S: Final = 0.5

T = TypeVar("T")

app = typer.Typer(help="People who use Clenzy through its public protocol.", no_args_is_help=True, add_completion=False)
console = Console(stderr=True)

ApiUrl = Annotated[str, typer.Option(help="Where the API answers.")]
AdminEmail = Annotated[str, typer.Option(help="An admin's e-mail: creates the simulated people.")]
PasswordFile = Annotated[Path, typer.Option(help="File that holds the admin's password.")]


def main() -> None:
    """Run the command line."""
    configure_logs()
    app()


@app.command()
def city(  # noqa: PLR0913, PLR0917 - the options of a command
    admin_email: AdminEmail,
    password_file: PasswordFile,
    api_url: ApiUrl = "http://127.0.0.1:8080",
    workers: Annotated[int, typer.Option(min=1, help="Workers on duty.")] = 2_000,
    customers: Annotated[int, typer.Option(min=0, help="People who book, each one booking at a time.")] = 160,
    bookings_per_min: Annotated[float, typer.Option(min=0)] = 20.0,
    profile: Annotated[str, typer.Option(help="`day`: the rate follows the local hour; `flat`: it does not.")] = "day",
    alarms_per_hour: Annotated[float, typer.Option(min=0, help="Silent triggers by either side.")] = 4.0,
    seed: int = 7,
    cache: Annotated[Path | None, typer.Option(help="Remembers sign-ins here: the next start is fast.")] = None,
) -> None:
    """Fill a synthetic city with workers and customers until SIGTERM or SIGINT."""
    options = CityOptions(
        api_url=api_url,
        admin_email=admin_email,
        admin_password=_password(password_file),
        workers=workers,
        customers=customers,
        bookings_per_min=bookings_per_min,
        profile=profile,
        alarms_per_hour=alarms_per_hour,
        seed=seed,
        cache_file=cache,
    )

    async def run(stop: asyncio.Event) -> Tally:
        return await live(options, stop)

    _run(run)


@app.command("replay")
def replay_command(  # noqa: PLR0913, PLR0917 - the options of a command
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Porto's taxi CSV, a CSV of fixes, or GPX.")
    ],
    admin_email: AdminEmail,
    password_file: PasswordFile,
    api_url: ApiUrl = "http://127.0.0.1:8080",
    speed: Annotated[float | None, typer.Option(help="Must be the server's; default: whatever it runs at.")] = None,
    hours: Annotated[float | None, typer.Option(min=0, help="Only the first recorded hours.")] = None,
    as_is: Annotated[bool, typer.Option("--as-is", help="Send a CSV's fixes in the order of the file.")] = False,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="Send everything in the reverse order of its time.")
    ] = False,
    phones: Annotated[
        int | None,
        typer.Option(min=1, max=5_000, help="Deal what was recorded to this many phones that start at once."),
    ] = None,
    accept: Annotated[float, typer.Option(min=0, max=1, help="Share of offers that workers accept.")] = 0.9,
    redis_url: Annotated[
        str | None, typer.Option(envvar="REDIS_URL", help="Check every worker's cell in Redis against H3.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    seed: int = 7,
) -> None:
    """Drive recorded traces through the gateway; exits 1 when a check of the report fails."""
    try:
        recording = read_recording(file, as_is=as_is)
    except (OSError, ValueError) as error:
        _fail(str(error))
    if phones is not None and (as_is or newest_first):
        _fail("--phones deals fixes in the order of their time: leave out --as-is and --newest-first")
    if hours is not None:
        recording = recording.first_hours(hours)
    if phones is not None:
        recording = dealt(recording, phones)
    if newest_first:
        recording = recording.newest_first()
    options = ReplayOptions(
        api_url=api_url,
        admin_email=admin_email,
        admin_password=_password(password_file),
        speed=speed,
        accept_share=accept,
        seed=seed,
        redis_url=redis_url,
    )
    result = _run(lambda stop: _replay_with_progress(recording, options, stop))
    print_report(result, Console())
    if report is not None:
        report.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    if not result["ok"]:
        raise typer.Exit(1)


@app.command()
def streets(
    lat: float = 41.15,
    lng: float = -8.61,
    seed: int = 7,
    output: Annotated[Path | None, typer.Option(help="Default: standard output.")] = None,
) -> None:
    """Write the synthetic city's streets as GeoJSON."""
    data = orjson.dumps(draw_city(lat, lng, seed=seed).geojson())
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        output.write_bytes(data)


@app.command()
def verify(
    redis_url: Annotated[str, typer.Option(envvar="REDIS_URL", help="The Redis of the running stack.")],
) -> None:
    """Check that every worker in Redis is in exactly the cell that H3 says; exits 1 where one is not."""

    async def run(_stop: asyncio.Event) -> CellCheck:
        return await _verify(redis_url)

    check = _run(run)
    Console().print_json(data=check.as_dict())
    if not check.holds:
        raise typer.Exit(1)


async def _verify(redis_url: str) -> CellCheck:
    """Read several times: a worker who moves between the reading of the records and of the sets looks wrong once.

    What is wrong in every reading is wrong.
    """
    check = check_consistent(await read_present(redis_url))
    for _ in range(VERIFY_READS - 1):
        if check.holds:
            break
        await asyncio.sleep(VERIFY_PAUSE_S)
        before = check.wrong
        check = check_consistent(await read_present(redis_url))
        check.wrong = {slot: what for slot, what in check.wrong.items() if slot in before}
    return check


async def _replay_with_progress(recording: Recording, options: ReplayOptions, stop: asyncio.Event) -> dict[str, Any]:
    columns = (TextColumn("fixes"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("fixes", total=len(recording.rows))
        return await replay(
            recording, options, stop, progress=lambda sent, total: bar.update(task, completed=sent, total=total)
        )


def _run(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with an event that SIGTERM and SIGINT set; end with the reason where it fails."""
    _raise_open_files()

    async def with_signals() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Explicit handlers: a background job inherits an ignored SIGINT.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    try:
        return uvloop.run(with_signals())
    except* (ClientFailure, redis.exceptions.RedisError) as group:
        _fail("; ".join(str(error) for error in group.exceptions))
    raise AssertionError("unreachable")


def _raise_open_files() -> None:
    """Ask for enough open files: every worker is a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _password(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        _fail(f"the admin's password: {error}")


def _fail(reason: str) -> NoReturn:
    console.print(f"sim: {reason}", style="red", markup=False)
    raise typer.Exit(1)
