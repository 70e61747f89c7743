"""The console against the real processes and a simulated city."""

import os
import re
import time
import uuid
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenPage
from tests.browser.demo_city import OUT_AT_SEA, DemoCity
from tests.browser.watched_page import WatchedPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

DESK = {"width": 1440, "height": 900}
LIFE = ["searching", "offered", "assigned", "en_route", "arrived", "in_progress", "completed", "confirmed"]
CENTRE = {"lat": 41.15, "lng": -8.61}
MORE_THAN_100 = re.compile(r"^(10[1-9]|1[1-9]\d|[2-9]\d\d|\d{4,})$")
STEPS = ("en_route", "arrived", "in_progress", "completed")
PIN = {"lat": OUT_AT_SEA["latitude"], "lng": OUT_AT_SEA["longitude"]}
IMAGE = Path(__file__).parents[2] / "docs" / "images" / "console.png"


def test_dispatcher_sees_moving_workers_a_whole_booking_and_an_alarm(
    city: DemoCity, open_page: OpenPage, tmp_path: Path
) -> None:
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "dispatcher", "/")

    desk.expect_data("desk-map", "workers", MORE_THAN_100, timeout_s=60)
    moved = desk.number("desk-map", "moved")
    expect(page.get_by_test_id("desk-map")).not_to_have_attribute("data-moved", str(moved), timeout=30_000)

    booking_id = see_a_booking_through(city, desk, go_on_duty(city, open_page))
    assert desk.barriers() == []

    trigger = {"trigger_id": str(uuid.uuid4()), "kind": "hold", "booking_id": booking_id, "fix": a_fix()}
    assert city.call("customer", "POST", "/v1/safetap", trigger)["state"] == "committed"
    expect(page.get_by_test_id("alarm-banner")).to_be_visible()
    page.locator("body").press("a")
    desk.expect_data("incident-panel", "state", "open")
    assert desk.barriers() == []
    picture(desk, tmp_path)
    page.get_by_test_id("acknowledge").click()
    desk.expect_data("incident-panel", "state", "acknowledged")
    expect(page.get_by_test_id("alarm-banner")).not_to_be_visible()
    page.get_by_test_id("close-reason").fill("Spoke to the customer: all well.")
    page.get_by_test_id("reviewed").check()
    page.get_by_test_id("close-incident").click()
    desk.expect_data("incident-panel", "state", "closed")
    incidents = city.call("dispatcher", "GET", "/v1/incidents?limit=200")["items"]
    [reason] = [each["close_reason"] for each in incidents if each["booking_id"] == booking_id]
    assert reason == "Reviewed: Spoke to the customer: all well."


def test_table_twin_and_palette_need_no_mouse(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK, color_scheme="light")
    page = desk.page
    desk.sign_in(city, "dispatcher", "/")
    desk.expect_data("desk-map", "workers", MORE_THAN_100, timeout_s=60)

    page.locator("body").press("w")
    expect(page.get_by_test_id("worker-row").first).to_be_visible()
    assert desk.barriers() == []
    name = page.get_by_test_id("worker-row").first.get_by_role("link").inner_text()
    page.locator("body").press("Control+k")
    page.get_by_test_id("palette-input").fill(name)
    assert desk.barriers() == []
    page.get_by_test_id("palette-input").press("Enter")
    # The palette finds the worker, or what the city has just made of them: a job, an alarm.
    panels = (page.get_by_test_id(f"{kind}-panel") for kind in ("worker", "booking", "incident"))
    expect(reduce(Locator.or_, panels)).to_be_visible()

    page.locator("body").press("Control+k")
    page.get_by_test_id("palette-input").fill("zoom out to cells")
    page.get_by_test_id("palette-input").press("Enter")
    desk.expect_data("desk-map", "mode", "cells", timeout_s=30)
    desk.expect_data("desk-map", "cells", re.compile(r"^[1-9]\d*$"))


def test_a_lost_connection_is_told_and_healed_without_a_reload(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "dispatcher", "/")
    desk.expect_data("link-gateway", "health", "live", timeout_s=30)
    desk.expect_data("link-safetap", "health", "live")
    page.evaluate("() => { window.before = true; }")

    page.context.set_offline(True)
    expect(page.get_by_test_id("link-notice")).to_be_visible()
    assert desk.barriers() == []
    page.context.set_offline(False)
    desk.expect_data("link-gateway", "health", "live", timeout_s=30)
    desk.expect_data("link-safetap", "health", "live", timeout_s=30)
    expect(page.get_by_test_id("link-notice")).not_to_be_visible()
    moved = desk.number("desk-map", "moved")
    expect(page.get_by_test_id("desk-map")).not_to_have_attribute("data-moved", str(moved), timeout=30_000)
    assert page.evaluate("() => window.before") is True
    # What a browser logs about its own lost connections is not the page's fault.
    desk.complaints[:] = [text for text in desk.complaints if "ERR_INTERNET_DISCONNECTED" not in text]


def test_without_webgl_the_map_is_drawn_on_a_canvas(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK)
    desk.sign_in(city, "dispatcher", "/?map=canvas")
    desk.expect_data("desk-map", "map", "canvas", timeout_s=30)
    desk.expect_data("desk-map", "workers", MORE_THAN_100, timeout_s=60)


def test_a_wrong_password_is_said_in_words(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK)
    desk.page.goto(city.url)
    desk.page.get_by_test_id("email").fill("dispatcher@demo.clenzy.test")
    desk.page.get_by_test_id("password").fill("not the password")
    desk.page.get_by_test_id("sign-in").click()
    expect(desk.page.get_by_test_id("sign-in-problem")).not_to_be_empty()
    assert desk.barriers() == []
    # The refusal itself is logged by the browser.
    desk.complaints[:] = [text for text in desk.complaints if "401" not in text]


def booking_request() -> dict[str, object]:
    return {
        "service_code": "cleaning",
        "pin": PIN,
        "address": {"line": "Rua das Flores 12", "floor": "2", "entry_notes": "Bell 4"},
        "notes": "The key is with the neighbour.",
    }


def a_fix() -> dict[str, float | int]:
    return {**CENTRE, "accuracy_m": 8, "ts_ms": time.time_ns() // 1_000_000}


def go_on_duty(city: DemoCity, open_page: OpenPage) -> WatchedPage:
    worker = open_page(viewport={"width": 390, "height": 844}, geolocation=OUT_AT_SEA, permissions=["geolocation"])
    worker.sign_in(city, "worker", "/worker/")
    worker.go_on_duty()
    return worker


def see_a_booking_through(city: DemoCity, desk: WatchedPage, worker: WatchedPage) -> str:
    """Book, do the job on the worker's page, confirm; watch each state on the booking's panel. Return its id."""
    page = desk.page
    booking_id: str = city.call("customer", "POST", "/v1/bookings", booking_request())["booking_id"]
    page.goto(f"{city.url}/#/bookings/{booking_id}")
    desk.expect_data("booking-panel", "id", booking_id)
    worker.page.get_by_test_id("accept").click(timeout=60_000)
    desk.expect_data("booking-panel", "state", "assigned")
    for state in STEPS:
        worker.page.locator(f"[data-testid=next-step][data-to={state}]").click()
        desk.expect_data("booking-panel", "state", state)
    city.call("customer", "POST", f"/v1/bookings/{booking_id}/transitions", {"to": "confirmed"})
    desk.expect_data("booking-panel", "state", "confirmed")
    worker.page.get_by_test_id("duty").click()
    expect(page.locator("[data-testid=candidate][data-chosen=true]").first).to_be_visible()
    rows = page.get_by_test_id("timeline").get_by_role("listitem")
    expect(rows).to_have_count(len(LIFE))
    assert [row.get_attribute("data-state") for row in rows.all()] == LIFE
    return booking_id


def picture(desk: WatchedPage, tmp_path: Path) -> None:
    """Take the picture of the README where it is asked for, else one to throw away: the city and an open alarm."""
    page = desk.page
    page.locator("body").press("Control+k")
    page.get_by_test_id("palette-input").fill("show all")
    page.get_by_test_id("palette-input").press("Enter")
    desk.expect_data("desk-map", "workers", MORE_THAN_100)
    is_wanted = bool(os.environ.get("CLENZY_SCREENSHOT"))
    if is_wanted:
        # A city in full swing: the paths that workers have driven draw its streets.
        desk.expect_data("desk-map", "moved", re.compile(r"^([5-9]\d{4}|\d{6,})$"), timeout_s=240)
    path = IMAGE if is_wanted else tmp_path / IMAGE.name
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, timeout=60_000)
    assert path.stat().st_size > 20_000


@pytest.fixture
def old_town(city: DemoCity) -> Iterator[str]:
    """A service area in the middle of the city. While it stands, nobody is sent out to sea."""
    west, south, east, north = CENTRE["lng"] - 0.02, CENTRE["lat"] - 0.015, CENTRE["lng"] + 0.02, CENTRE["lat"] + 0.015
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    plan = {"kind": "service_area", "name": "Old town", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    zone_id: str = city.call("admin", "POST", "/v1/zones", plan)["zone_id"]
    yield zone_id
    city.call("admin", "DELETE", f"/v1/zones/{zone_id}")


def test_zones_are_drawn_and_tell_who_comes_and_goes(city: DemoCity, open_page: OpenPage, old_town: str) -> None:
    for map_of in ("/", "/?map=canvas"):
        desk = open_page(viewport=DESK)
        page = desk.page
        desk.sign_in(city, "dispatcher", map_of)
        desk.expect_data("desk-map", "zones", "1", timeout_s=30)
        expect(page.get_by_test_id("zone-line")).to_contain_text("Old town", timeout=60_000)
        assert desk.barriers() == []
        page.get_by_test_id("zones-toggle").click()
        desk.expect_data("desk-map", "zones", "0")
        expect(page.get_by_test_id("zones-toggle")).to_have_attribute("aria-pressed", "false")
    events = city.call("dispatcher", "GET", f"/v1/zones/{old_town}/events?limit=200")["items"]
    assert {"enter"} <= {each["kind"] for each in events}
