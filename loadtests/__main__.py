"""`python -m loadtests`: a short load run against a running installation, judged by `targets.toml`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

# Before anything imports locust: the crowd's event loop needs the standard library as it is.
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

import orjson
import typer
from rich.console import Console
from rich.table import Table

from loadtests.crowd import CrowdOptions
from loadtests.run import run_load
from loadtests.verdict import Targets, Verdict, judge
from sim.client.errors import ClientFailure

console = Console()


def main(  # noqa: PLR0913, PLR0917 - the options of a command
    admin_email: Annotated[str, typer.Option(help="An admin's e-mail: creates the people of the run.")],
    password_file: Annotated[Path, typer.Option(help="File that holds the admin's password.")],
    api_url: Annotated[str, typer.Option(help="Where the API answers.")] = "http://127.0.0.1:8080",
    workers: Annotated[int, typer.Option(min=1)] = 50,
    customers: Annotated[int, typer.Option(min=1)] = 10,
    seconds: Annotated[float, typer.Option(min=1)] = 30.0,
    report: Annotated[Path | None, typer.Option(help="Write the rows here, as JSON.")] = None,
    seed: int = 7,
) -> None:
    """Load an installation for a while; exits 1 on any error, never for a missed target."""
    try:
        options = CrowdOptions(api_url, admin_email, password_file.read_text().strip(), workers, customers, seed)
        rows, failures = run_load(options, seconds=seconds)
    except (ClientFailure, OSError) as error:
        console.print(f"loadtests: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    verdict = judge(rows, Targets.read())
    _show(verdict, failures)
    if report is not None:
        report.write_bytes(orjson.dumps(asdict(verdict), option=orjson.OPT_INDENT_2))
    if not verdict.passes:
        raise typer.Exit(1)


def _show(verdict: Verdict, failures: list[str]) -> None:
    table = Table(title="Load run", title_justify="left")
    for heading in ("what", "count", "errors", "p50 ms", "p99 ms", "target", "met"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in verdict.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for failure in failures:
        console.print(failure, style="red", markup=False)
    for name in verdict.unexercised:
        console.print(f"nothing was measured of: {name}", style="red", markup=False)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    target = row["target_p99_ms"]
    return (
        str(row["row"]),
        f"{row['count']:,}",
        f"{row['failures']:,}",
        f"{row['p50_ms']:.0f}",
        f"{row['p99_ms']:.0f}",
        "-" if target is None else f"{target:.0f}",
        "-" if row["met"] is None else ("yes" if row["met"] else "no"),
    )


if __name__ == "__main__":
    typer.run(main)
