"""What a replay found, as one dictionary (the JSON report) and as tables for people. Pure but for printing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from sim.replay.cells import CellCheck
from sim.replay.desk import Desk
from sim.replay.eta import eta_error
from sim.replay.recording import Recording
from sim.replay.taxi import Taxi

REASONS: Final = (
    "off_duty",
    "invalid",
    "zero",
    "future",
    "past",
    "duplicate",
    "inaccurate",
    "too_soon",
    "jump",
    "near",
)

REAL: Final = (
    "fixes: places and times as recorded, moved so that the first is now, at the recorded pace times the speed",
    "bookings: made at the place and time where a recorded trip begins",
    "latencies: wall time, both ends measured in this process",
    "ETA: the server's promise back to the pin where the trip began, against the recorded duration from there",
)
NOT_REAL: Final = (
    "workers accept by chance and at once; nobody recorded an answer",
    "a worker keeps to its recorded way: it does not drive to the pin, and arrives when its recorded trip ends",
    "arrived, in_progress and completed follow one another without work in between",
    "between recorded trips there are no fixes, so a worker is silent then and gets no offer",
)


@dataclass(frozen=True, slots=True)
class Run:
    """What ran, and for how long."""

    recording: Recording
    speed: float
    wall_s: float
    is_complete: bool
    """False: it was stopped before the last fix."""


def build_report(run: Run, taxis: Sequence[Taxi], desk: Desk, cells: CellCheck | None) -> dict[str, Any]:
    """Return the report. `checks` holds named conditions; `ok` says whether all of them hold."""
    fixes = account_for_fixes(taxis)
    from_request, from_answer = desk.offer_latencies()
    offers: Counter[str] = sum((taxi.offers for taxi in taxis), Counter())
    checks = {
        "every fix was acknowledged": fixes["acknowledged"] == fixes["posted"],
        "accepted + refused = sent": fixes["accepted"] + fixes["refused_total"] == fixes["sent"],
        "refused as the rules of the protocol say": _differences(fixes) <= 2 * fixes["borderline"],
        "no fix was dropped or resent": not (fixes["dropped"] or fixes["resent"]),
    }
    if cells is not None:
        checks["every newest accepted fix is in exactly the right cell"] = cells.holds
    return {
        "source": run.recording.source,
        "speed": run.speed,
        "recorded_s": run.recording.span_ms / 1000,
        "wall_s": round(run.wall_s, 1),
        "is_complete": run.is_complete,
        "workers": len(taxis),
        "skipped_in_file": run.recording.skipped,
        "fixes": fixes,
        "redis": None if cells is None else cells.as_dict(),
        "ping_to_cell": desk.acks.summary(),
        "bookings": {
            "trips": len(run.recording.trips),
            "asked": desk.counts.asked,
            "made": desk.counts.made,
            "refused": dict(desk.counts.refused),
            "offered": desk.counts.offered,
            "taken_by_the_trips_own_worker": desk.counts.own_worker,
            "states": desk.states(),
            "offers": dict(offers),
            "positions": desk.counts.positions,
        },
        "booking_to_offer_from_request": from_request.summary(),
        "booking_to_offer_from_answer": from_answer.summary(),
        "eta": eta_error(desk.eta_samples()),
        "worker_faults": dict(sum((taxi.faults for taxi in taxis), Counter())),
        "real": list(REAL),
        "not_real": list(NOT_REAL),
        "checks": checks,
        "ok": all(checks.values()),
    }


def account_for_fixes(taxis: Sequence[Taxi]) -> dict[str, Any]:
    """Return the fixes by what became of them, told by the server, beside what the oracle expects.

    `accepted` is what the server acknowledged less what it said that it refused; a fix sent twice (after a lost
    connection) counts twice in `sent`, and its second copy is refused as a duplicate.
    """
    refused = _by_reason(taxi.fixes_refused for taxi in taxis)
    expected = _by_reason(taxi.oracle.refused for taxi in taxis)
    counts = [taxi.socket.counts for taxi in taxis]
    acknowledged = sum(count.fixes_acknowledged for count in counts)
    resent = sum(count.fixes_resent for count in counts)
    return {
        "posted": sum(count.fixes_posted for count in counts),
        "sent": sum(count.fixes_sent for count in counts),
        "acknowledged": acknowledged,
        "accepted": acknowledged + resent - sum(refused.values()),
        "refused": refused,
        "refused_total": sum(refused.values()),
        "expected_accepted": sum(taxi.oracle.accepted for taxi in taxis),
        "expected_static": sum(taxi.oracle.static for taxi in taxis),
        "expected_late": sum(taxi.oracle.late for taxi in taxis),
        "expected_refused": expected,
        "expected_refused_total": sum(expected.values()),
        "borderline": sum(taxi.oracle.borderline for taxi in taxis),
        "dropped": sum(count.fixes_dropped for count in counts),
        "resent": resent,
        "in_refused_frames": sum(count.fixes_in_refused_frames for count in counts),
    }


def _differences(fixes: dict[str, Any]) -> int:
    """Return by how many fixes the reasons differ; one that was judged otherwise counts at both of its reasons."""
    told, expected = fixes["refused"], fixes["expected_refused"]
    return sum(abs(told.get(reason, 0) - expected.get(reason, 0)) for reason in told.keys() | expected.keys())


def print_report(report: dict[str, Any], console: Console) -> None:
    """Print the report as tables."""
    fixes = report["fixes"]
    table = Table(title=f"{report['source']} at {report['speed']:g}x in {report['wall_s']:.0f} s", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_row("workers", f"{report['workers']:,}")
    table.add_row("fixes sent", f"{fixes['sent']:,}")
    table.add_row("  accepted", f"{fixes['accepted']:,} (the rules say {fixes['expected_accepted']:,})")
    table.add_row("    of these standing / late", f"({fixes['expected_static']:,} / {fixes['expected_late']:,})")
    for reason in REASONS:
        table.add_row(f"  refused: {reason}", f"{fixes['refused'][reason]:,} ({fixes['expected_refused'][reason]:,})")
    if report["redis"] is not None:
        table.add_row("present in Redis", f"{report['redis']['present']:,} of {report['redis']['expected']:,}")
        table.add_row("  in exactly the right cell", f"{report['redis']['in_exactly_one_cell']:,}")
    table.add_row("ping to cell p50 / p99", _pair(report["ping_to_cell"]))
    table.add_row("bookings made", f"{report['bookings']['made']:,} of {report['bookings']['trips']:,} trips")
    table.add_row("  offered to a worker", f"{report['bookings']['offered']:,}")
    table.add_row("booking sent to offer p50 / p99", _pair(report["booking_to_offer_from_request"]))
    table.add_row("booking answered to offer p50 / p99", _pair(report["booking_to_offer_from_answer"]))
    _add_eta(table, report["eta"])
    for check, holds in report["checks"].items():
        table.add_row(check, "[green]yes[/]" if holds else "[red]NO[/]")
    console.print(table)


def _add_eta(table: Table, eta: dict[str, Any]) -> None:
    if promise := eta.get("promise"):
        table.add_row("ETA against the real trip", f"{promise['trips']:,} trips")
        table.add_row("  mean error / median share", f"{promise['mean_abs_s']:.0f} s / {promise['median_share']:.0%}")
        table.add_row("  real time inside the interval", f"{eta['inside_interval_share']:.0%}")
    if judged := eta.get("judged_half"):
        line = judged["fitted_line"]
        table.add_row("  a fitted line on the same trips", f"{line['mean_abs_s']:.0f} s / {line['median_share']:.0%}")


def _pair(summary: dict[str, Any]) -> str:
    if not summary["count"]:
        return "-"
    return f"{summary['p50_ms']:.1f} / {summary['p99_ms']:.1f} ms"


def _by_reason(counters: Any) -> dict[str, int]:  # noqa: ANN401 - an iterable of counters
    total: Counter[str] = sum(counters, Counter())
    return {reason: total.pop(reason, 0) for reason in REASONS} | dict(total)
