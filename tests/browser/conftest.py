"""A city, a browser, and pages of it that must behave."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chromium import FLAGS, needed_chromium
from tests.browser.demo_city import DemoCity, start_city
from tests.browser.watched_page import WatchedPage

WORKERS, BOOKINGS_PER_MIN = (1500, 240) if os.environ.get("CLENZY_SCREENSHOT") else (150, 30)

PATIENCE_MS = 20_000
"""How long a page may take to show what it must: the machine may be busy with other tests."""

OpenPage = Callable[..., WatchedPage]


@pytest.fixture(scope="session")
def chromium() -> str:
    expect.set_options(timeout=PATIENCE_MS)
    return needed_chromium()


@pytest.fixture(scope="session")
def city(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoCity]:
    """One demo for all browser tests: starting it is what takes long. Not started where there is no browser."""
    assert chromium
    city = start_city(tmp_path_factory.mktemp("city") / "state", workers=WORKERS, bookings_per_min=BOOKINGS_PER_MIN)
    try:
        city.wait_ready()
        yield city
    finally:
        city.stop()


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
