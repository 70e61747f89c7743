"""A city, a browser, and pages of it that must behave."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chromium import FLAGS, needed_chromium
from tests.browser.demo_city import DemoCity, start_city
from tests.browser.watched_page import WatchedPage

WORKERS, BOOKINGS_PER_MIN = (1500, 240) if os.environ.get("CLENZY_SCREENSHOT") else (150, 30)

HERE = Path(__file__).parent

PATIENCE_MS = 20_000
"""How long a page may take to show what it must: the machine may be busy with other tests."""

OpenPage = Callable[..., WatchedPage]


@pytest.fixture(scope="session")
def chromium() -> str:
    expect.set_options(timeout=PATIENCE_MS)
    return needed_chromium()


@dataclass
class OneCity:
    """The demo of all browser tests: starting it is what takes long.

    It ends with the last of them, and does not keep the machine busy beside what comes then.
    """

    folder: Path
    _running: DemoCity | None = None

    def running(self) -> DemoCity:
        if self._running is None:
            started = f"state-{len(list(self.folder.iterdir()))}"
            self._running = start_city(self.folder / started, workers=WORKERS, bookings_per_min=BOOKINGS_PER_MIN)
            self._running.wait_ready()
        return self._running

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
        self._running = None


CITY = pytest.StashKey[OneCity]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the city when something else comes next."""
    if nextitem is None or not nextitem.path.is_relative_to(HERE):
        one = item.session.stash.get(CITY, None)
        if one is not None:
            one.stop()


@pytest.fixture(scope="session")
def one_city(
    chromium: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OneCity]:
    assert chromium, "no city is started where there is no browser"
    one = request.session.stash[CITY] = OneCity(tmp_path_factory.mktemp("city"))
    yield one
    one.stop()


@pytest.fixture
def city(one_city: OneCity) -> DemoCity:
    return one_city.running()


@pytest.fixture
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages in contexts of their own. At the end none may have logged an error or asked another host."""
    opened: list[WatchedPage] = []

    def open_one(**options: Any) -> WatchedPage:
        watched = WatchedPage(browser.new_context(**options).new_page())
        opened.append(watched)
        return watched

    yield open_one
    assert [complaint for watched in opened for complaint in watched.complaints] == []
    assert [url for watched in opened for url in watched.foreign] == []
