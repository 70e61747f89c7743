"""`clenzy explain`: why a booking's workers were asked, as tables in the terminal."""

import asyncio
import json
from typing import Any, Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from clenzy.account import of_running, on_database
from clenzy.screen import Screen
from config.settings import Settings

Item = dict[str, Any]

QUIET: Final = 0.005
"""A term smaller than this, in minutes, says nothing."""
S_PER_MIN: Final = 60
M_PER_KM: Final = 1_000
US_PER_MS: Final = 1_000


def explain(settings: Settings, booking_id: str, *, must_replay: bool, screen: Screen) -> dict[str, Any]:
    """Return what `engine.run_explain` says of a booking in the configured, the running, or the embedded database.

    Raises:
        CannotStartError: there is no such booking, or no database.
    """
    given = json.dumps({"booking_id": booking_id, "replay": must_replay}).encode()
    said = asyncio.run(on_database(of_running(settings), "engine.run_explain", given, screen))
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


def is_same(found: dict[str, Any]) -> bool:
    """Whether every decision that could be made again came out as it was."""
    return not any(item["replay"]["differs"] for item in found["items"] if "replay" in item)


def show(found: dict[str, Any], console: Console) -> None:
    """Print every decision, the newest last, so that it stands above the prompt."""
    if not found["items"]:
        console.print("No decision has been taken yet.")
    for item in reversed(found["items"]):
        console.print(told(item))


def told(item: Item) -> RenderableType:
    """Return one decision."""
    parts: list[RenderableType] = [_head(item)]
    if item["ranked"]:
        parts.append(_ranked(item["ranked"]))
    if item["near_losers"]:
        parts.append(_losers(item["near_losers"]))
    parts += [Text(line, style="dim") for line in _notes(item)]
    if "replay" in item:
        parts.append(_replayed(item["replay"]))
    return Group(*parts, Text())


def _head(item: Item) -> Text:
    took_ms = item["took_us"] / US_PER_MS
    head = Text.assemble((f"{item['at']}  ", "bold"), (item["outcome"].replace("_", " "), "bold cyan"))
    head.append(f"  in {took_ms:.1f} ms, policy {item['policy']['label'] or 'unknown'}")
    if item["reason"]:
        head.append(f": {item['reason']}")
    return head


def _ranked(ranked: list[Item]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Who could go, costs in minutes", title_justify="left", pad_edge=False)
    for name in ("#", "worker", "away", "there in", "cost", "more"):
        table.add_column(name, justify="left" if name == "worker" else "right")
    table.add_column("made of")
    table.add_column("against the first")
    for each in ranked:
        answer = each["answer"]
        table.add_row(
            str(each["place"]),
            Text.assemble(_name(each), (f"  {answer.replace('_', ' ')}", "green") if answer else ""),
            _far(each["distance_m"]),
            f"{each['eta_s'] / S_PER_MIN:.1f} min",
            f"{each['cost_min']:.2f}",
            "" if each["place"] == 1 else f"+{each['more_min']:.2f}",
            _terms(each["terms"]),
            _terms(each["against_first"], "+"),
        )
    return table


def _losers(losers: list[Item]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Near losers: excluded by a rule", title_justify="left", pad_edge=False)
    for name in ("worker", "rule", "away", "cost without", "would be #", "would have needed"):
        table.add_column(name, justify="right" if name in ("away", "cost without", "would be #") else "left")
    for each in losers:
        cost, place = each["cost_min"], each["place_without_rules"]
        table.add_row(
            _name(each),
            Text(", ".join(each["rules"]).replace("_", " "), style="yellow"),
            _far(each["distance_m"]),
            "" if cost is None else f"{cost:.2f}",
            "" if place is None else str(place),
            each["needed"],
        )
    return table


def _notes(item: Item) -> list[str]:
    notes = []
    if item["looked_at"] is not None:
        out = ", ".join(f"{count} {rule.replace('_', ' ')}" for rule, count in item["ruled_out"].items())
        notes.append(f"{item['looked_at']} looked at" + (f"; ruled out: {out}" if out else ""))
    if item["also_listed"]:
        notes.append(f"{item['also_listed']} more could have gone and cost more than those shown")
    plan = item["plan"] or {}
    if plan.get("mode") == "window":
        notes.append(
            f"decided together with {plan.get('bookings', 1) - 1} other bookings: {plan.get('outcome')}, "
            f"solver {plan.get('solver_us', 0) / US_PER_MS:.1f} ms"
        )
    if item["record"] != "kept":
        notes.append({"none": "no record is kept of it", "damaged": "ITS RECORD IS DAMAGED"}[item["record"]])
    return notes


def _replayed(replay: Item) -> Text:
    if replay["differs"]:
        return Text(f"made again it DIFFERS in: {', '.join(replay['differs'])}", style="bold red")
    if replay["problem"]:
        return Text(f"not made again: {replay['problem']}", style="yellow")
    return Text("made again: the same to the bit", style="green")


def _name(each: Item) -> str:
    return each["name"] or f"worker {each['slot']}"


def _far(distance_m: int | None) -> str:
    return "?" if distance_m is None else f"{distance_m / M_PER_KM:.1f} km"


def _terms(terms: dict[str, float], sign: str = "") -> str:
    ordered = sorted(terms.items(), key=lambda term: -abs(term[1]))
    return ", ".join(f"{name.replace('_', ' ')} {sign}{value:.2f}" for name, value in ordered if abs(value) >= QUIET)
