"""Pages of the product in a real Chromium: what they show, and what their sockets got."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from playwright.async_api import Browser, Locator, Page, WebSocket, async_playwright, expect

from tests.browser.chromium import FLAGS

SHOWN_TIMEOUT_MS: Final = 30_000
DESK: Final = {"width": 1440, "height": 900}
PHONE: Final = {"width": 390, "height": 844}
_EVENT: Final = re.compile(r"42/customer,(\[.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Heard:
    """One event as the page's socket got it."""

    name: str
    body: dict[str, Any]

    @property
    def shape(self) -> tuple[object, ...]:
        """What is left when names, places and times are taken away: the same for two jobs that went the same way."""
        if self.name == "booking":
            return (self.name, self.body["state"], self.body["eta_s"] is None, *sorted(self.body))
        return (self.name, *sorted(self.body))


@dataclass
class ShownPage:
    """A page and the events of its socket; at the end it may have logged no error."""

    page: Page
    heard: list[Heard] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("websocket", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    async def sign_in(self, url: str, email: str, password: str) -> None:
        await self.page.goto(url)
        await self.page.get_by_test_id("email").fill(email)
        await self.page.get_by_test_id("password").fill(password)
        await self.page.get_by_test_id("sign-in").click()

    def part(self, test_id: str) -> Locator:
        return self.page.get_by_test_id(test_id)

    async def shows(self, test_id: str, **data: str | re.Pattern[str]) -> None:
        """Wait until an element is there with these `data-` attributes."""
        await expect(self.part(test_id)).to_be_visible(timeout=SHOWN_TIMEOUT_MS)
        for name, value in data.items():
            attribute = f"data-{name.replace('_', '-')}"
            await expect(self.part(test_id)).to_have_attribute(attribute, value, timeout=SHOWN_TIMEOUT_MS)

    def heard_after(self, cut_ms: int) -> list[Heard]:
        """Return what came of the time after `cut_ms` (Unix ms): positions by their fix, bookings by their change."""
        return [each for each in self.heard if _at_ms(each) > cut_ms]

    def _listen(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._take)

    def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, str) and (found := _EVENT.fullmatch(frame)):
            name, body, *_ = json.loads(found[1])
            self.heard.append(Heard(name, body))


def _at_ms(heard: Heard) -> float:
    if "ts_ms" in heard.body:
        return float(heard.body["ts_ms"])
    if "updated_at" in heard.body:
        return datetime.fromisoformat(heard.body["updated_at"]).timestamp() * 1000
    return float("inf") if heard.name != "welcome" else 0


@asynccontextmanager
async def browsing(executable: str) -> AsyncIterator[Browser]:
    """A browser of the test's own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
