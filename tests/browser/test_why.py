"""Why this worker, at the desk: read without a mouse, and by everybody."""

import time
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.demo_city import DemoCity

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

DESK = {"width": 1440, "height": 900}
LONG_S = 60


def decided(city: DemoCity) -> dict[str, Any]:
    """A booking of the city for which somebody was asked while a rule excluded somebody near."""
    until = time.monotonic() + LONG_S
    while time.monotonic() < until:
        for booking in city.call("dispatcher", "GET", "/v1/bookings?limit=20")["items"]:
            path = f"/v1/bookings/{booking['booking_id']}/why"
            found = city.call("dispatcher", "GET", path)["items"]
            if found and found[0]["ranked"] and found[0]["near_losers"]:
                return {"booking_id": booking["booking_id"], "why": found[0]}
        time.sleep(1)
    raise AssertionError("nobody was asked while somebody near was excluded")


def test_why_this_worker_is_read_with_the_keyboard(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "dispatcher", "/")
    found = decided(city)
    page.goto(f"{city.url}/#/bookings/{found['booking_id']}")
    desk.expect_data("booking-panel", "id", found["booking_id"])
    decision = page.get_by_test_id("decision").first
    expect(decision.get_by_test_id("candidate").first).to_be_visible()
    losers = decision.get_by_test_id("near-losers")
    expect(losers.get_by_test_id("near-loser").first).not_to_be_visible()
    losers.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(losers.get_by_test_id("near-loser").first).to_be_visible()
    assert desk.barriers() == []
    losers.locator("summary").press("Enter")
    expect(losers.get_by_test_id("near-loser").first).not_to_be_visible()
