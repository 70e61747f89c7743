"""Rules that only a program remembers."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from config import limits
from config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api_rest", "bench", "clenzy", "config", "engine", "gateway_ws", "loadtests", "ops", "safetap_door", "sim")
SHIPPED = {"api_rest", "config", "engine", "gateway_ws", "ops", "safetap_door"}
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
CLOCK_IN_SQL = re.compile(
    r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp)\s*\(\s*\)|\bcurrent_timestamp\b", re.IGNORECASE
)
CLOCK_READERS = {
    "engine/safetap/incident_store.py": 1,  # the one clock that escalations go by
    "engine/safetap/trigger_store.py": 1,  # the same clock, as the bound of a door's own
    "clenzy/doctor.py": 1,  # compares that clock with ours
}
"""Files that may read the database's clock, and in how many statements."""
LOCK_FILES = ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock", "console/package-lock.json")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE)\b", re.IGNORECASE)


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def written() -> Iterator[Path]:
    """Every text file that people wrote."""
    yield from sources()
    for pattern in ("*.md", "docs/**/*.md", "tests/**/*.py", "migrations/*.sql", "deploy/**/*", ".ci/*"):
        yield from (path for path in sorted(ROOT.glob(pattern)) if path.is_file() and path.suffix != ".png")
    yield from sorted((ROOT / "console" / "src").rglob("*.ts*"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def strings(path: Path) -> Iterator[str]:
    """Every string of a module that is not a docstring."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def words(paths: Iterable[Path]) -> Counter[str]:
    """How often each word stands in these files."""
    return Counter(word for path in paths for word in re.findall(r"\w+", path.read_text()))


def test_sql_takes_its_time_as_a_parameter() -> None:
    found = {}
    for path in sources():
        count = sum(bool(SQL.match(text) and CLOCK_IN_SQL.search(text)) for text in strings(path))
        if count:
            found[name(path)] = count
    assert all(CLOCK_READERS.get(file, 0) >= count for file, count in found.items()), found


def test_migrations_leave_the_time_to_the_caller() -> None:
    for path in (ROOT / "migrations").glob("*.sql"):
        assert not CLOCK_IN_SQL.search(path.read_text()), path.name


def test_every_migration_has_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (ROOT / "migrations").glob("*.sql"))
    assert names
    numbers = []
    for file in names:
        match = re.fullmatch(r"(\d{4})\.[a-z0-9_]+\.sql", file)
        assert match, f"{file}: NNNN.words_of_it.sql"
        numbers.append(int(match[1]))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_limit_is_used() -> None:
    every = {key for key in vars(limits) if key.isupper()}
    used = words(path for path in sources() if not name(path).startswith("config/limits/"))
    assert sorted(every - used.keys()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "limits").glob("*.py")), ids=lambda path: path.stem)
def test_every_limit_says_what_happens_there(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    silent = [
        ast.unparse(limit.target)
        for limit, following in pairwise(body)
        if isinstance(limit, ast.AnnAssign)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert silent == []


def test_every_setting_is_used_and_written_down() -> None:
    used = words(sources())
    page = (ROOT / "docs" / "operations.md").read_text()
    for field in Settings.model_fields:
        variable = field.upper() if field in {"database_url", "redis_url"} else f"CLENZY_{field.upper()}"
        assert f"`{variable}`" in page, f"docs/operations.md does not tell of {variable}"
        assert used[field] > 1, f"nothing reads the setting {field}"


def test_every_package_stands_in_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    parts = {f"engine/{path.name}" for path in (ROOT / "engine").iterdir() if (path / "__init__.py").exists()}
    assert [part for part in sorted({*PACKAGES, *parts} - {"engine"}) if f"`{part}`" not in page] == []


def test_what_calls_itself_pure_is_held_to_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (core,) = [contract for contract in contracts if contract["name"].startswith("Functional core")]
    held = {module.replace(".", "/") + ".py" for module in core["source_modules"]}
    shipped = (path for path in sources() if path.relative_to(ROOT).parts[0] in SHIPPED)
    pure = {name(path) for path in shipped if "Pure" in (ast.get_docstring(ast.parse(path.read_text())) or "")}
    assert pure - held == set()


@pytest.mark.parametrize("file", LOCK_FILES)
def test_locks_name_no_host(file: str) -> None:
    text = (ROOT / file).read_text()
    assert '"resolved"' not in text
    assert "index-url" not in text
    if not file.endswith(".json"):  # npm's also holds the addresses of authors' funding pages
        assert "://" not in text


def test_npm_writes_no_host_into_its_lock() -> None:
    assert "omit-lockfile-registry-resolved=true" in (ROOT / "console" / ".npmrc").read_text().splitlines()


def test_the_lock_that_names_hosts_stays_outside() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("path", list(sources()), ids=name)
def test_files_and_functions_fit_in_the_head(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES_MAX, "the file is too long"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < FUNCTION_LINES_MAX, f"{node.name} is too long"


def test_names_say_what_is_inside() -> None:
    vague = [name(path) for path in sources() if VAGUE_NAMES & {*path.relative_to(ROOT).with_suffix("").parts}]
    assert vague == []


def test_nothing_points_into_somebodys_machine() -> None:
    home = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/[a-z]\w*/", re.IGNORECASE)
    assert [name(path) for path in written() if path != Path(__file__) and home.search(path.read_text())] == []


def test_nothing_unfinished_is_left() -> None:
    marks = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
    assert [name(path) for path in written() if path != Path(__file__) and marks.search(path.read_text())] == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("engine/safetap/trigger.py", "import redis", "SafeTap intake needs Postgres only"),
        ("engine/matcher/__init__.py", "import engine.safetap", "matcher and safetap never meet"),
        ("sim/__init__.py", "import engine.core.units", "speak the public protocol only"),
    ],
)
def test_a_wrong_import_is_caught(tmp_path: Path, file: str, line: str, contract: str) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    wrong = tmp_path / file
    wrong.write_text(f"{wrong.read_text()}\n{line}\n")
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    broken = [report for report in done.stdout.splitlines() if report.endswith("BROKEN")]
    assert any(contract in report for report in broken), done.stdout
