"""The desk gives a booking to a worker from its panel, pins one, is refused by a rule's name, takes the job back."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.demo_city import DemoCity
from tests.browser.test_console import DESK, booking_request

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]


@pytest.fixture
def booking_id(city: DemoCity) -> Iterator[str]:
    """A booking where nobody is near; its worker, off duty at first, is so again afterwards."""
    city.call("worker", "PUT", "/v1/me/duty", {"duty": "off"})
    made = city.call("customer", "POST", "/v1/bookings", booking_request())["booking_id"]
    yield made
    if city.call("customer", "GET", f"/v1/bookings/{made}")["state"] != "cancelled":
        city.call("customer", "POST", f"/v1/bookings/{made}/transitions", {"to": "cancelled"})
    city.call("worker", "PUT", "/v1/me/duty", {"duty": "off"})


def test_the_desk_gives_a_job_and_takes_it_back(city: DemoCity, open_page: OpenPage, booking_id: str) -> None:
    worker_id = city.call("worker", "GET", "/v1/me")["person_id"]
    desk = open_page(viewport=DESK)
    desk.sign_in(city, "dispatcher", "/")
    page = desk.page
    page.goto(f"{city.url}/#/bookings/{booking_id}")
    desk.expect_data("booking-panel", "state", "searching")
    form = page.get_by_test_id("give-to-worker")
    form.get_by_label("Give to").select_option(worker_id, timeout=30_000)
    form.get_by_role("button", name="Assign").click()
    expect(page.get_by_role("alert").filter(has_text="off_duty")).to_be_visible(timeout=15_000)
    assert desk.barriers() == []
    desk.complaints[:] = [text for text in desk.complaints if "409" not in text]

    city.call("worker", "PUT", "/v1/me/duty", {"duty": "on"})
    form.get_by_role("button", name="Assign").click()
    desk.expect_data("booking-panel", "state", "assigned")
    expect(page.get_by_test_id("assign-warnings")).to_contain_text("their phone is silent")
    assert city.call("worker", "GET", "/v1/me")["booking"]["booking_id"] == booking_id

    page.get_by_test_id("hand-back-booking").click()
    page.get_by_label("Reason").fill("ill")
    page.get_by_role("button", name="Take the job back").click()
    desk.expect_data("booking-panel", "state", "searching")
    assert city.call("worker", "GET", "/v1/me")["booking"] is None
    assert city.call("dispatcher", "GET", f"/v1/bookings/{booking_id}/offers")["hand_backs"] == 1
    assert desk.barriers() == []


def test_the_desk_pins_a_booking_and_lets_go(city: DemoCity, open_page: OpenPage, booking_id: str) -> None:
    worker_id = city.call("worker", "GET", "/v1/me")["person_id"]
    desk = open_page(viewport=DESK)
    desk.sign_in(city, "dispatcher", "/")
    page = desk.page

    def pinned_to() -> str | None:
        return city.call("dispatcher", "GET", f"/v1/bookings/{booking_id}/offers")["pinned_worker_id"]

    page.goto(f"{city.url}/#/bookings/{booking_id}")
    desk.expect_data("booking-panel", "state", "searching")
    form = page.get_by_test_id("give-to-worker")
    form.get_by_label("Give to").select_option(worker_id, timeout=90_000)
    form.get_by_role("button", name="Ask only them").click()
    desk.expect_data("pinned", "worker", worker_id)
    expect(page.get_by_test_id("assign-warnings")).to_contain_text("off duty, the search waits")
    assert pinned_to() == worker_id
    assert desk.barriers() == []

    # Somebody who opens the booking anew sees it, too.
    page.reload()
    desk.expect_data("pinned", "worker", worker_id)
    page.get_by_test_id("pinned").get_by_role("button", name="Unpin").click()
    expect(page.get_by_test_id("pinned")).to_have_count(0)
    assert pinned_to() is None

    city.call("worker", "PUT", "/v1/me/duty", {"duty": "on"})
    form.get_by_label("Give to").select_option(worker_id, timeout=90_000)
    form.get_by_role("button", name="Assign").click()
    desk.expect_data("booking-panel", "state", "assigned")
    desk.expect_data("pinned", "worker", worker_id)
    page.get_by_test_id("pinned").get_by_role("button", name="Unpin").click()
    page.get_by_test_id("pin-booking").click()
    desk.expect_data("pinned", "worker", worker_id)
    assert pinned_to() == worker_id
    assert desk.barriers() == []
