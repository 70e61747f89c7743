"""How much JavaScript a page needs before it shows anything; the map comes after that, by itself."""

import gzip
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

DIST = Path(__file__).parents[2] / "console" / "dist"
STATIC_IMPORT = re.compile(r"""(?:^|[;}\s])(?:import|export)\s*(?:[\w$*{}\s,]+?from)?\s*["']\./([\w.-]+\.js)["']""")
SCRIPT = re.compile(r"""(?:src|href)="/assets/([\w.-]+\.js)\"""")
CONSOLE_BYTES_MAX = 180_000
PHONE_BYTES_MAX = 120_000


@pytest.mark.parametrize(
    ("page", "bytes_max"),
    [("", CONSOLE_BYTES_MAX), *((page, PHONE_BYTES_MAX) for page in ("worker/", "customer/", "trip/"))],
)
def test_a_page_is_light_before_its_map(page: str, bytes_max: int) -> None:
    needed = scripts_of(DIST / page / "index.html")
    assert needed, "the page names no script"
    assert not [name for name in needed if name.startswith(("glMap", "h3-js"))]
    weights = {name: len(gzip.compress((DIST / "assets" / name).read_bytes())) for name in needed}
    assert sum(weights.values()) <= bytes_max, weights


def scripts_of(page: Path) -> set[str]:
    """Every script that the page loads at once: those it names, and what these import statically."""
    found: set[str] = set()
    waiting = SCRIPT.findall(page.read_text())
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += STATIC_IMPORT.findall((DIST / "assets" / name).read_text())
    return found
