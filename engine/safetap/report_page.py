"""The report on an incident as one HTML page that needs nothing else: to print, to hand over, to keep. Pure.

Every value is escaped. The page has no script and loads nothing, which its own policy says as well.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final

import orjson

STYLE: Final = """
body{font:11pt/1.4 system-ui,sans-serif;color:#111;background:#fff;margin:2rem auto;max-width:52rem;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.6rem 0 .4rem;border-bottom:1px solid #999}
table{border-collapse:collapse;width:100%;font-size:9.5pt}
td,th{border:1px solid #bbb;padding:.2rem .4rem;text-align:left;
vertical-align:top;overflow-wrap:anywhere}th{background:#eee}
.drill{border:4px double #111;padding:.6rem;font-size:1.3rem;font-weight:700;text-align:center}
code{font-size:8.5pt}@media print{body{margin:0;max-width:none}tr{break-inside:avoid}}
"""
POLICY: Final = f"default-src 'none'; style-src 'sha256-{base64.b64encode(sha256(STYLE.encode()).digest()).decode()}'"
"""This very style and nothing else, not even one that a value smuggles in."""


def report_page(report: Mapping[str, Any]) -> str:
    """Return the page of a report as `incident_report.read_report` makes it."""
    incident, card = report["incident"], report["call_card"]
    title = f"{'DRILL - ' if incident['is_drill'] else ''}Incident {incident['incident_id']}"
    warning = f'<p class="drill">{escape(card["warning"])}</p>' if card["warning"] else ""
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            warning,
            f"<h1>{escape(title)}</h1>",
            _section("What happened", _pairs(_summary(report))),
            _section("Where and who", _pairs(_card_rows(card))),
            _section("Timeline", _table(("", "When", "What", "Who", "Details"), map(_event_row, report["timeline"]))),
            _section("Ladder", _pairs([("Policy", _text(report["ladder"]))])),
            _section("Deliveries", _table(("Step", "To", "By", "State", "Made", "Sent", "Tries", "Error"),
                                          map(_notice_row, report["deliveries"]))),
            _section(f"Trail ({report['trail']['fixes']} fixes)",
                     _table(("When", "Latitude", "Longitude", "Accuracy"), map(_fix_row, report["trail"]["excerpt"]))),
            _section("Evidence", _table(("Id", "Type", "By", "When", "Chunks", "Bytes", "Whole", "SHA-256 chain head"),
                                        map(_evidence_row, report["evidence"]))),
            _section("Chain of hashes", _pairs(_chain_rows(report["chain"]))),
            "</body></html>",
        ]
    )  # fmt: skip


def _summary(report: Mapping[str, Any]) -> list[tuple[str, object]]:
    incident = report["incident"]
    names = (
        "kind",
        "severity",
        "state",
        "opened_at",
        "acknowledged_at",
        "acknowledged_by",
        "closed_at",
        "close_reason",
    )
    return [*((name.replace("_", " "), incident[name]) for name in names), ("report made at", report["made_at"])]


def _card_rows(card: Mapping[str, Any]) -> list[tuple[str, object]]:
    place, fix, numbers = card["place"] or {}, card["last_fix"], card["numbers"]
    people = [f"{one['name']} ({one['role']}, {one['phone'] or 'no phone'})" for one in card["people"]]
    rows: list[tuple[str, object]] = [("organisation", card["organisation"]), ("people", "; ".join(people))]
    rows += [(name.replace("_", " "), place[name]) for name in ("line", "floor", "entry_notes") if place]
    if fix is not None:
        rows.append(("last fix", f"{fix['lat']}, {fix['lng']}, {fix['accuracy_m']} m, {fix['at']} ({fix['age_s']} s)"))
    if numbers is not None:
        rows.append(("numbers", f"{numbers['emergency']} (police {numbers['police']}), {numbers['country_code']}"))
    return [*rows, ("police reference", card["police_reference"])]


def _event_row(event: Mapping[str, Any]) -> Sequence[object]:
    return event["version"], event["at"], event["kind"], event["actor"], _text(event["body"])


def _notice_row(notice: Mapping[str, Any]) -> Sequence[object]:
    names = ("target", "channel", "state", "created_at", "sent_at", "attempts", "last_error")
    return f"{notice['step']} / {notice['loop']}", *(notice[name] for name in names)


def _fix_row(fix: Mapping[str, Any]) -> Sequence[object]:
    return fix["at"], fix["lat"], fix["lng"], fix["accuracy_m"]


def _evidence_row(piece: Mapping[str, Any]) -> Sequence[object]:
    names = ("evidence_id", "media_type", "uploaded_by", "created_at", "chunks", "bytes", "is_complete", "sha256")
    return tuple(piece[name] for name in names)


def _chain_rows(chain: Mapping[str, Any]) -> list[tuple[str, object]]:
    state = "; ".join(chain["broken"]) or "every link holds"
    return [("entries", chain["entries"]), ("head (SHA-256)", chain["head"]), ("verified", state)]


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}"


def _pairs(rows: Iterable[tuple[str, object]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{_shown(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{_shown(value)}</td>' for value in row)}</tr>" for row in rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else "<p>None.</p>"


def _shown(value: object) -> str:
    return "" if value is None else escape(str(value))


def _text(value: object) -> str:
    return "" if value == {} else orjson.dumps(value).decode()
