"""Rows on other people's tasks: gMission's arrival orders and the technician instances, where the files are at hand."""

from pathlib import Path

from bench.fleet import DATA
from bench.matcher import online_tasks, technicians
from bench.report import Row, more_is_better


def gmission_rows(folder: Path = DATA / "tasks" / "gmission") -> list[Row]:
    """Return utility against greedy for each arrival order; less than greedy fails the row."""
    rows = []
    for path in sorted(folder.glob("data_*.txt")):
        order = online_tasks.read_order(path)
        ours, theirs = online_tasks.window(order), online_tasks.greedy(order)
        name = f"gMission {path.stem}: utility"
        rows.append(
            more_is_better(name, ours, theirs, anchor_name="greedy", unit="", ratio_min=1.0, gate=ours >= theirs)
        )
    return rows


def technician_rows(folder: Path = DATA / "tasks" / "technicians") -> list[Row]:
    """Return the requests served against greedy for each instance; a broken rule or fewer served fails the row."""
    rows = []
    for path in sorted(folder.glob("*.xml.gz")):
        name = path.name.removesuffix(".xml.gz")
        solomon = folder.parent / "solomon" / f"{name}.txt"
        requests = technicians.read_requests(path, solomon if solomon.exists() else None)
        served, broken = {}, False
        for planner in (technicians.window, technicians.greedy):
            team = technicians.read_team(path)
            served[planner] = technicians.run_day(team, requests, planner)
            broken |= bool(technicians.violations(team))
        ours, theirs = served[technicians.window], served[technicians.greedy]
        right = ours >= theirs and not broken
        row = f"technicians {name}: served of {len(requests)}"
        rows.append(
            more_is_better(row, ours, theirs, anchor_name="greedy insertion", unit="", ratio_min=1.0, gate=right)
        )
    return rows
