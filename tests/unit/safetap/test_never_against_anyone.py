"""Calls for help, false alarms and PINs enter no score, offer or estimate: what decides on work cannot see them."""

import ast
import re
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[3] / "engine"
DECIDING = ("matcher", "risk", "eta", "booking")
RECORD = re.compile(
    r"\b(incident|incident_event|safetap_trigger|is_false_alarm|says_safe_at|safety_pin|safety_pin_attempt|evidence_chunk|silence_\w+)\b"
)
"""The tables and columns of the record. `safety_hold` is not among them: it protects, and is released by a human."""


def statements(path: Path) -> list[str]:
    """Return the SQL of a module."""
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return [
        text for text in texts if isinstance(text, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text)
    ]


@pytest.mark.parametrize("package", DECIDING)
def test_what_decides_on_work_does_not_read_the_record(package: str) -> None:
    files = sorted((ENGINE / package).rglob("*.py"))
    assert files
    seen = {path.name: RECORD.findall(" ".join(statements(path))) for path in files}
    assert {name: words for name, words in seen.items() if words} == {}


READ_BY_DECISIONS = {
    "address", "booking", "booking_event", "cost_policy", "crew", "customer_language", "customer_worker",
    "decision_record", "dispatch_log", "duty_period", "hand_back", "kit_item", "match_region", "matcher", "offer",
    "org", "person", "person_key", "region", "resource", "resource_use", "safety_hold", "service", "service_kit",
    "service_resource", "service_seat", "shift", "trail", "under_way", "window_record", "worker", "worker_kit",
    "worker_level", "working_time_rule",
}  # fmt: skip
"""Every table that what decides on work reads or writes. A table more is a decision: may what it holds count? Who has
handed a booking back is not asked for that one again; it enters no score. Of a trail the fix where a way to a customer
began is read, for what cells and hours are like: nobody's own trips count for or against them."""
WITHIN_STATEMENTS = {
    "added", "b", "claimed", "due", "eased", "logged", "made", "moved", "own", "place", "unnest", "way", "wished",
    "worker_id",
}  # fmt: skip
WRITERS_OF_WORKERS = {
    "booking/booking_store.py", "people/duty.py", "people/erasure.py", "people/founding.py", "people/people_store.py",
    "people/seed.py",
}  # fmt: skip
"""Rating, experience and jobs done are set by admins and by the life cycle of bookings, and by nothing else."""


def strings(path: Path) -> str:
    """Every piece of text of a module, SQL that is put together from pieces too."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_what_decides_on_work_knows_these_tables_and_no_other() -> None:
    files = [path for package in DECIDING for path in (ENGINE / package).rglob("*.py")]
    table = re.compile(r"\b(?:(?<!DISTINCT )FROM|JOIN|(?<!FOR )UPDATE|INTO|USING)\s+([a-z_]+)\b")
    named = {found for path in files for found in table.findall(strings(path))}
    assert named - WITHIN_STATEMENTS == READ_BY_DECISIONS


def test_nothing_of_safetap_writes_what_a_worker_is_judged_by() -> None:
    writes = re.compile(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+worker\b")
    found = {str(path.relative_to(ENGINE)) for path in ENGINE.rglob("*.py") if writes.search(strings(path))}
    assert found == WRITERS_OF_WORKERS


@pytest.mark.parametrize("package", DECIDING)
def test_what_decides_on_work_imports_nothing_that_knows_of_alarms_or_contests(package: str) -> None:
    forbidden = ("engine.safetap", "engine.people.contests", "engine.people.reasons", "engine.people.legal_holds")
    for path in (ENGINE / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith(forbidden)], path
