"""docs/security.md names a test for each of the twenty lines; here is held that every one of them is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
MEASURED = {4}
"""Held by a benchmark with a gate, not by a test."""


def lines() -> dict[int, list[str]]:
    return {int(number): re.findall(r"`([^`]+)`", names) for number, names in ROW.findall(PAGE)}


@cache
def found_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_"))


def test_the_page_has_all_twenty() -> None:
    assert list(lines()) == list(range(1, 21))
    assert [number for number, names in lines().items() if not names] == []


@pytest.mark.parametrize("number", range(1, 21))
def test_every_test_that_a_line_names_is_there(number: int) -> None:
    for name in lines()[number]:
        if number in MEASURED:
            assert name.startswith("make ")
            assert re.search(
                rf"^{name.removeprefix('make ')}:|^bench-%:", (ROOT / "Makefile").read_text(), re.MULTILINE
            )
        else:
            file, _, test = name.partition("::")
            assert test in found_in(file), name


def test_every_test_that_carries_a_line_in_its_name_belongs_to_one_of_the_twenty() -> None:
    named = {
        int(found)
        for file in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"def test_line_(\d+)_", file.read_text())
    }
    assert named <= set(range(1, 21))
    assert named >= {1, 2, 3, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}


def test_the_readme_leads_here() -> None:
    assert "docs/security.md" in (ROOT / "README.md").read_text()
