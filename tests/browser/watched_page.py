"""A browser page that is watched: everything it logs, fails at and asks other hosts for counts against it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, expect

from tests.browser.demo_city import DemoCity, email_of

AXE = Path(__file__).parents[2] / "console" / "node_modules" / "axe-core" / "axe.min.js"
OWN_HOST = "127.0.0.1"
SEVERE = ("serious", "critical")


@dataclass
class WatchedPage:
    """A page of the product and what it did wrong so far."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda socket: self._note(socket.url))

    def sign_in(self, city: DemoCity, who: str, path: str) -> None:
        self.page.goto(city.url + path)
        self.page.get_by_test_id("email").fill(email_of(who))
        self.page.get_by_test_id("password").fill(city.password(who))
        self.page.get_by_test_id("sign-in").click()

    def go_on_duty(self) -> None:
        """On the worker's page. A failed test may have left the worker on duty."""
        self.expect_data("worker-app", "duty", re.compile("^(on|off)$"))
        if self.page.get_by_test_id("worker-app").get_attribute("data-duty") == "off":
            self.page.get_by_test_id("duty").click()
        self.expect_data("worker-app", "duty", "on")
        self.expect_data("tracking", "phase", "tracking")

    def expect_data(self, test_id: str, name: str, value: str | re.Pattern[str], *, timeout_s: float = 20) -> None:
        """Wait until `data-<name>` of an element is `value`."""
        expect(self.page.get_by_test_id(test_id)).to_have_attribute(f"data-{name}", value, timeout=timeout_s * 1000)

    def number(self, test_id: str, name: str) -> int:
        return int(self.page.get_by_test_id(test_id).get_attribute(f"data-{name}") or 0)

    def barriers(self) -> list[str]:
        """What axe-core finds serious on the page as it is now."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {violation['help']} at {[node['target'] for node in violation['nodes']][:5]}"
            for violation in found["violations"]
            if violation["impact"] in SEVERE
        ]

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)

    def _note(self, url: str) -> None:
        host = urlsplit(url).hostname
        if host is not None and host != OWN_HOST:
            self.foreign.append(url)
