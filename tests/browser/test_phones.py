"""Worker's and customer's pages, one against the other, on the real processes."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, WebSocket, expect

from tests.browser.callers import Callers
from tests.browser.conftest import OpenPage
from tests.browser.demo_city import OUT_AT_SEA, DemoCity
from tests.browser.watched_page import WatchedPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

PING, ALARM = b"\xc1", b"\xc0"
FRAME_HEAD_BYTES, FIX_BYTES = 9, 24
"""docs/protocol.md, section 3: ping frames and the trigger frame."""
FRAME_DEADLINE_S = 40

PHONE = {"viewport": {"width": 390, "height": 844}, "permissions": ["geolocation"]}


@pytest.fixture(autouse=True)
def no_alarm_stays(city: DemoCity) -> Iterator[None]:
    yield
    Callers(city).close_all()


def test_customer_books_and_the_worker_page_does_the_job(city: DemoCity, open_page: OpenPage) -> None:
    worker = open_page(**PHONE, geolocation=OUT_AT_SEA)
    worker.sign_in(city, "worker", "/worker/")
    worker.go_on_duty()
    assert worker.barriers() == []

    customer = open_page(**PHONE, geolocation=OUT_AT_SEA, color_scheme="light")
    customer.sign_in(city, "customer", "/customer/")
    book_a_cleaning(customer.page)
    assert customer.barriers() == []

    expect(worker.page.get_by_test_id("offer")).to_be_visible(timeout=60_000)
    assert worker.barriers() == []
    worker.page.get_by_test_id("accept").click()
    for state in ("en_route", "arrived", "in_progress", "completed"):
        expect(worker.page.get_by_test_id("next-step")).to_have_attribute("data-to", state)
        worker.page.get_by_test_id("next-step").click()
        customer.expect_data("live-booking", "state", state)
        if state == "en_route":
            expect(customer.page.get_by_test_id("eta")).to_be_visible(timeout=30_000)
            assert customer.barriers() == []
            follower = follow_by_a_link(customer, open_page(**PHONE))
    follower.page.reload()
    follower.expect_data("trip-app", "phase", "over")
    # The browser logs the refusal.
    follower.complaints[:] = [said for said in follower.complaints if "404 (Not Found)" not in said]
    customer.page.get_by_test_id("confirm").click()
    customer.expect_data("live-booking", "state", "confirmed")
    worker.expect_data("worker-app", "job", "none")
    worker.page.get_by_test_id("duty").click()
    worker.expect_data("worker-app", "duty", "off")


def follow_by_a_link(customer: WatchedPage, somebody: WatchedPage) -> WatchedPage:
    """Let somebody without an account look at the trip; return what they look at."""
    links = customer.page.get_by_test_id("trip-links")
    links.locator("summary").click()
    customer.page.get_by_test_id("make-trip-link").click()
    somebody.page.goto(customer.page.get_by_test_id("trip-link").input_value())
    somebody.expect_data("shared-trip", "state", "en_route")
    expect(somebody.page.get_by_test_id("worker-mark")).to_have_attribute(
        "data-lat", re.compile(rf"^{OUT_AT_SEA['latitude']:.2f}"), timeout=60_000
    )
    expect(somebody.page.locator("[data-map=webgl], [data-map=canvas]")).to_be_visible()
    assert somebody.barriers() == []
    assert customer.barriers() == []
    return somebody


def test_a_place_chosen_while_the_map_still_loads_stays_chosen(city: DemoCity, open_page: OpenPage) -> None:
    customer = open_page(**PHONE, geolocation=OUT_AT_SEA)
    page = customer.page
    held: list[Route] = []
    page.route("**/assets/glMap-*.js", lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no built-ins
    customer.sign_in(city, "customer", "/customer/")
    page.get_by_test_id("service-cleaning").check()
    page.get_by_test_id("next").click()
    page.get_by_test_id("use-position").click()
    expect(page.get_by_test_id("lat")).to_have_value(f"{OUT_AT_SEA['latitude']:.5f}")
    until(page, lambda: [route.request.url for route in held])
    assert len(held) == 1
    held[0].continue_()
    expect(page.locator("[data-map=webgl]")).to_be_visible(timeout=20_000)
    expect(page.get_by_test_id("lat")).to_have_value(f"{OUT_AT_SEA['latitude']:.5f}")
    expect(page.get_by_test_id("lng")).to_have_value(f"{OUT_AT_SEA['longitude']:.5f}")


@pytest.mark.parametrize("who", ["worker", "customer"])
def test_silent_trigger_is_committed_and_shows_nothing(city: DemoCity, open_page: OpenPage, who: str) -> None:
    phone = open_page(**PHONE, geolocation=OUT_AT_SEA)
    phone.sign_in(city, who, f"/{who}/")
    expect(phone.page.get_by_test_id("link")).to_have_attribute("data-link", "live")
    heading = phone.page.get_by_role("heading", level=2)
    expect(heading).to_be_visible()
    before = heading.inner_text()
    with phone.page.expect_request("**/v1/safetap") as by_port:
        hold(phone.page)
    phone.expect_data("brand", "progress", "committed")
    assert heading.inner_text() == before
    sent = by_port.value.post_data_json
    me = city.call(who, "GET", "/v1/me")["person_id"]
    incidents = city.call("dispatcher", "GET", "/v1/incidents?state=open")["items"]
    [incident] = [each for each in incidents if each["person"]["person_id"] == me]
    assert sent is not None
    assert (sent["kind"], incident["kind"]) == ("hold", "hold")
    path = f"/v1/incidents/{incident['incident_id']}"
    city.call("dispatcher", "POST", f"{path}/acknowledge", {})
    city.call("dispatcher", "POST", f"{path}/close", {"reason": "Reviewed: a test."})


def test_on_its_line_a_workers_alarm_is_a_ping_of_two_fixes_and_answered_as_one(
    city: DemoCity, open_page: OpenPage
) -> None:
    phone = open_page(**PHONE, geolocation=OUT_AT_SEA)
    sent: list[str | bytes] = []
    heard: list[str | bytes] = []

    def listen(line: WebSocket) -> None:
        line.on("framesent", lambda frame: sent.append(frame))  # noqa: PLW0108 - playwright takes no built-ins
        line.on("framereceived", lambda frame: heard.append(frame))  # noqa: PLW0108 - playwright takes no built-ins

    phone.page.on("websocket", listen)
    phone.sign_in(city, "worker", "/worker/")
    phone.go_on_duty()
    [ack_of_ping] = until(phone.page, lambda: acks(heard, state=0))[:1]
    pings = [frame for frame in sent if isinstance(frame, bytes)]
    assert {frame[:1] for frame in pings} == {PING}
    assert {(len(frame) - FRAME_HEAD_BYTES) % FIX_BYTES for frame in pings} == {0}

    already = len(sent)
    hold(phone.page)
    [ack_of_alarm] = until(phone.page, lambda: acks(heard, state=2))
    phone.expect_data("brand", "progress", "committed")
    [alarm] = [frame for frame in sent[already:] if isinstance(frame, bytes) and frame[:1] == ALARM]
    assert len(alarm) == FRAME_HEAD_BYTES + 2 * FIX_BYTES
    assert not [frame for frame in sent if isinstance(frame, str) and "safetap" in frame]
    assert len(ack_of_alarm) == len(ack_of_ping)

    me = city.call("worker", "GET", "/v1/me")["person_id"]
    incidents = city.call("dispatcher", "GET", "/v1/incidents?state=open")["items"]
    [incident] = [one for one in incidents if one["person"]["person_id"] == me]
    path = f"/v1/incidents/{incident['incident_id']}"
    city.call("dispatcher", "POST", f"{path}/acknowledge", {})
    city.call("dispatcher", "POST", f"{path}/close", {"reason": "Reviewed: a test."})
    phone.page.get_by_test_id("duty").click()
    phone.expect_data("worker-app", "duty", "off")


def acks(heard: list[str | bytes], *, state: int) -> list[str]:
    """The answers to frames that came so far, without their number, which grows by itself."""
    found = (re.search(r'\["ack",\{"seq":\d+,"state":(\d)\}', said) for said in heard if isinstance(said, str))
    return [re.sub(r"\d+", "0", one[0]) for one in found if one is not None and int(one[1]) == state]


def until(page: Page, found: Callable[[], list[str]]) -> list[str]:
    deadline = time.monotonic() + FRAME_DEADLINE_S
    while not (frames := found()):
        assert time.monotonic() < deadline, "no such frame"
        page.wait_for_timeout(100)
    return frames


def book_a_cleaning(page: Page) -> None:
    page.get_by_test_id("service-cleaning").check()
    page.get_by_test_id("next").click()
    page.get_by_test_id("use-position").click()
    expect(page.get_by_test_id("lat")).to_have_value(f"{OUT_AT_SEA['latitude']:.5f}")
    page.get_by_test_id("next").click()
    page.get_by_test_id("address-line").fill("Cais do Norte 1")
    page.get_by_test_id("floor").fill("0")
    page.get_by_test_id("book").click()
    expect(page.get_by_test_id("live-booking")).to_be_visible()


def hold(page: Page) -> None:
    """A long press on the page's mark."""
    box = page.get_by_test_id("brand").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2)
    page.mouse.down()
    expect(page.get_by_test_id("brand")).not_to_have_attribute("data-progress", "idle")
    page.mouse.up()
