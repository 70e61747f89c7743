"""Where worker and customer prepare for the worst, and what they then do with it, on the real processes."""

import json
import re
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.demo_city import ANSWER_TIMEOUT_S, OUT_AT_SEA, DemoCity
from tests.browser.test_phones import PHONE
from tests.browser.watched_page import WatchedPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

CANCEL = "/v1/safetap/cancel"
SAFE_PIN, DURESS_PIN = "1357", "8642"
STORAGE = """async () => [
  ...Object.keys(localStorage), ...Object.keys(sessionStorage), ...(await indexedDB.databases()).map((one) => one.name)
]"""
TELLING = re.compile("safe|alarm|trigger|duress|sos|help|incident", re.IGNORECASE)


@pytest.fixture(autouse=True)
def plain_setup(city: DemoCity) -> Iterator[None]:
    """What a test chooses for these two is not what the next test's page starts with."""
    yield
    for who in ("worker", "customer"):
        city.call(who, "PUT", "/v1/me/safety", {})


def test_a_worker_prepares_and_calls_from_a_locked_phone(city: DemoCity, open_page: OpenPage) -> None:
    phone = opened(city, open_page, "worker")
    page = phone.page
    set_pins(page)
    with part(page, "part-contacts") as contacts:
        contacts.get_by_test_id("mode-code_word").press("Space")
        contacts.get_by_test_id("code-word").fill("bluebird")
        contacts.get_by_test_id("add-contact").press("Enter")
        contacts.get_by_test_id("contact-name").fill("Rita")
        contacts.get_by_test_id("contact-phone").fill("+351 910 000 001")
        contacts.get_by_test_id("contact-at-address").press("Space")
        assert phone.barriers() == []
        contacts.get_by_test_id("save-setup").press("Enter")
        expect(contacts.get_by_test_id("outcome")).to_have_text("Saved.")
    setup = city.call("worker", "GET", "/v1/me/safety")
    assert (setup["contact_mode"], setup["code_word"]) == ("code_word", "bluebird")
    rita = {"name": "Rita", "phone": "+351910000001", "email": None, "may_be_at_address": True}
    assert setup["contacts"] == [rita]

    with part(page, "part-check-in") as question:
        question.get_by_test_id("check-in").press("Enter")
        expect(question.get_by_test_id("outcome")).to_have_text("Thank you. All is in order.")
    with part(page, "part-tracker") as trackers:
        trackers.get_by_test_id("tracker-traccar").press("Enter")
        expect(trackers.get_by_role("img")).to_be_visible()
        assert "/ingest/traccar?id=" in trackers.get_by_test_id("tracker-url").input_value()
        assert phone.barriers() == []
    with part(page, "part-keys") as keys:
        keys.get_by_test_id("add-key").press("Enter")
        url = keys.get_by_test_id("shortcut-url").input_value()
        key = keys.get_by_test_id("shortcut-header").input_value()
        assert phone.barriers() == []
    assert press_shortcut(url, key)["state"] == "committed"
    review(city, "worker", kind="button")


def test_a_customer_calls_unseen_and_either_pin_looks_alike(city: DemoCity, open_page: OpenPage) -> None:
    phone = opened(city, open_page, "customer")
    page = phone.page
    set_pins(page)
    with part(page, "part-contacts") as contacts:
        contacts.get_by_test_id("mode-decoy").check()
        contacts.get_by_test_id("decoy-text").fill("Your parcel comes tomorrow.")
        contacts.get_by_test_id("save-setup").click()
        expect(contacts.get_by_test_id("outcome")).to_have_text("Saved.")
    with part(page, "part-mark") as mark:
        mark.get_by_test_id("cue-none").press("Space")
        expect(mark.get_by_test_id("outcome")).to_have_text("Saved.")
        expect(mark.get_by_test_id("cue-none")).to_be_checked()
        assert phone.barriers() == []

    assert city.call("customer", "GET", "/v1/me/safety")["cue"] == "none"

    before = page.locator("body").inner_text()
    with page.expect_response("**/v1/safetap") as answered:
        hold_unseen(page)
    assert answered.value.json()["state"] == "committed"
    assert page.locator("body").inner_text() == before
    phone.expect_data("brand", "progress", "idle")
    assert [name for name in page.evaluate(STORAGE) if TELLING.search(name)] == []

    incident = live_incident(city, "customer")
    city.call("dispatcher", "POST", f"/v1/incidents/{incident['incident_id']}/chat", {"text": "Are you well?"})
    with part(page, "part-messages") as messages:
        expect(messages).to_contain_text("Are you well?")
        assert phone.barriers() == []

    ports: list[int | None] = []
    page.on("request", lambda asked: ports.append(urlsplit(asked.url).port) if CANCEL in asked.url else None)
    shown = [give_pin(page, pin) for pin in (SAFE_PIN, DURESS_PIN)]
    assert shown[0] == shown[1] == "Thank you. All is in order."
    config = city.call("customer", "GET", "/v1/config")
    [safetap, api] = [urlsplit(config[name]).port for name in ("safetap_url", "api_url")]
    assert ports == [safetap, safetap]

    page.route(f"{config['safetap_url']}{CANCEL}", lambda route: route.abort("connectionrefused"))
    assert give_pin(page, SAFE_PIN) == shown[0]
    assert ports == [safetap, safetap, safetap, api]
    phone.complaints[:] = [said for said in phone.complaints if "ERR_CONNECTION_REFUSED" not in said]
    review(city, "customer", kind="duress_pin", events=frozenset({"safe_pin", "duress"}))


def opened(city: DemoCity, open_page: OpenPage, who: str) -> WatchedPage:
    """The screen itself, reached and left by the keyboard."""
    phone = open_page(**PHONE, geolocation=OUT_AT_SEA)
    phone.sign_in(city, who, f"/{who}/")
    phone.expect_data("link", "link", "live")
    phone.page.get_by_test_id("privacy-link").press("Enter")
    expect(phone.page.get_by_role("heading", name="Privacy and safety")).to_be_focused()
    phone.page.get_by_test_id("privacy-back").press("Enter")
    expect(phone.page.get_by_test_id("privacy")).not_to_be_visible()
    phone.page.get_by_test_id("privacy-link").press("Enter")
    assert phone.barriers() == []
    return phone


class part:  # noqa: N801 - reads as what it is: `with part(page, ...)`
    """One part of the screen, open while the block runs."""

    def __init__(self, page: Page, test_id: str) -> None:
        self._part = page.get_by_test_id(test_id)

    def __enter__(self) -> Locator:
        self._part.locator("summary").press("Enter")
        expect(self._part).to_have_attribute("open", "")
        return self._part

    def __exit__(self, *_error: object) -> None:
        self._part.locator("summary").press("Enter")


def set_pins(page: Page) -> None:
    with part(page, "part-pins") as pins:
        pins.get_by_test_id("safe-pin").fill(SAFE_PIN)
        pins.get_by_test_id("duress-pin").fill(SAFE_PIN)
        pins.get_by_test_id("set-pins").press("Enter")
        expect(pins.get_by_role("alert")).to_contain_text("differ")
        pins.get_by_test_id("duress-pin").fill(DURESS_PIN)
        pins.get_by_test_id("set-pins").press("Enter")
        expect(pins.get_by_test_id("outcome")).to_have_text("Both PINs are set.")


def give_pin(page: Page, pin: str) -> str:
    with part(page, "part-give-pin") as given:
        given.get_by_test_id("give-pin").fill(pin)
        given.get_by_test_id("give-pin-send").press("Enter")
        expect(given.get_by_test_id("outcome")).not_to_be_empty()
        return given.get_by_test_id("outcome").inner_text()


def hold_unseen(page: Page) -> None:
    """A long press on the page's mark, by the time that a browser's own clock tells."""
    brand = page.get_by_test_id("brand")
    with page.expect_request("**/v1/safetap"):
        box = brand.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 30, box["y"] + box["height"] / 2)
        page.mouse.down()
    page.mouse.up()


def press_shortcut(url: str, key: str) -> dict[str, str]:
    request = urllib.request.Request(url, method="POST", headers={"Authorization": key}, data=b"")
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
        answer: dict[str, str] = json.load(response)
        return answer


def live_incident(city: DemoCity, who: str) -> dict[str, str]:
    incidents = city.call("dispatcher", "GET", "/v1/incidents?limit=200")["items"]
    name = city.call(who, "GET", "/v1/me")["person_id"]
    [incident] = [one for one in incidents if one["person"]["person_id"] == name and one["state"] != "closed"]
    return dict(incident)


def review(city: DemoCity, who: str, *, kind: str, events: frozenset[str] = frozenset()) -> None:
    """The desk looks at what came, and ends it."""
    incident = live_incident(city, who)
    path = f"/v1/incidents/{incident['incident_id']}"
    assert incident["kind"] == kind
    assert events <= {event["kind"] for event in city.call("dispatcher", "GET", path)["events"]}
    city.call("dispatcher", "POST", f"{path}/acknowledge", {})
    city.call("dispatcher", "POST", f"{path}/close", {"reason": "Reviewed: a test."})
