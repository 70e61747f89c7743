"""Sound during one's own alarm: agreed to before, never asked for then, never seen, whole through a lost network."""

import hashlib
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.callers import Callers
from tests.browser.conftest import OpenPage
from tests.browser.demo_city import ANSWER_TIMEOUT_S, CONSENT_BASIS, OUT_AT_SEA, DemoCity
from tests.browser.test_phones import PHONE
from tests.browser.test_privacy import STORAGE, TELLING, hold_unseen, live_incident, part, review
from tests.browser.watched_page import WatchedPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

EVIDENCE = "**/v1/safetap/evidence"
DEADLINE_S = 40
LOST = "net::ERR_INTERNET_DISCONNECTED"
"""What the browser itself writes down for developers; no page can keep it from that."""
WEBM = bytes.fromhex("1a45dfa3")
OPENED = """
  window.opened = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    window.opened.push(...stream.getTracks());
    return stream;
  };
"""
HEARING = "() => window.opened.map(({kind, readyState}) => `${kind} ${readyState}`)"


@pytest.fixture(autouse=True)
def nobody_agreed(city: DemoCity) -> Iterator[None]:
    yield
    Callers(city).close_all()
    for who in ("worker", "customer"):
        city.call(who, "PUT", "/v1/me/safety", {})


def test_a_worker_who_agreed_is_recorded_unseen_until_the_time_is_over(city: DemoCity, open_page: OpenPage) -> None:
    phone = opened(city, open_page, "worker", permissions=[*PHONE["permissions"], "microphone"])
    page = phone.page

    call_unseen(phone)
    assert page.evaluate(HEARING) == []
    review(city, "worker", kind="hold")

    with agreeing(phone) as sound:
        expect(sound.get_by_test_id("sound-rule")).to_contain_text(
            f"in Portugal; this service relies on: {CONSENT_BASIS}"
        )
        sound.get_by_test_id("records-sound").press("Space")
        expect(sound.get_by_test_id("outcome")).to_have_text("Saved.")
        expect(sound.get_by_test_id("records-sound")).to_be_checked()
        assert phone.barriers() == []
    assert city.call("worker", "GET", "/v1/me/safety")["records_sound"] is True
    # The question to the browser came with the tick, and nothing has been heard since.
    assert page.evaluate(HEARING) == ["audio ended"]

    call_unseen(phone)
    before = chunks_of_first(city, at_least=1)
    lose_the_network(phone)
    chunks_of_first(city, at_least=before + 1)
    page.clock.fast_forward(61_000)
    pieces = evidence(city, lambda found: found[0]["is_complete"] and len(found) > 1)
    page.clock.fast_forward(15 * 60_000)
    pieces = evidence(city, lambda found: all(piece["is_complete"] for piece in found))
    for piece in pieces:
        check_whole(city, piece)
    assert set(page.evaluate(HEARING)) == {"audio ended"}
    assert [name for name in page.evaluate(STORAGE) if TELLING.search(name)] == []
    review(city, "worker", kind="hold", events=frozenset({"evidence", "evidence_complete"}))


def test_a_customer_agrees_where_the_browser_does_and_ends_it_by_taking_the_tick_away(
    city: DemoCity, open_page: OpenPage
) -> None:
    phone = opened(city, open_page, "customer", permissions=[])
    page = phone.page
    with agreeing(phone) as sound:
        sound.get_by_test_id("records-sound").press("Space")
        expect(sound.get_by_role("alert")).to_contain_text("does not let the page use the microphone")
        expect(sound.get_by_test_id("records-sound")).not_to_be_checked()
        assert phone.barriers() == []
        assert city.call("customer", "GET", "/v1/me/safety")["records_sound"] is False
        page.context.grant_permissions(["microphone"])
        sound.get_by_test_id("records-sound").press("Space")
        expect(sound.get_by_test_id("outcome")).to_have_text("Saved.")

    call_unseen(phone)
    chunks_of_first(city, at_least=1, who="customer")
    assert page.evaluate(HEARING) == ["audio ended", "audio live"]
    with agreeing(phone) as sound:
        sound.get_by_test_id("records-sound").press("Space")
        expect(sound.get_by_test_id("outcome")).to_have_text("Saved.")
        expect(sound.get_by_test_id("records-sound")).not_to_be_checked()
    assert page.evaluate(HEARING) == ["audio ended", "audio ended"]
    call_unseen(phone)
    assert len(page.evaluate(HEARING)) == 2
    review(city, "customer", kind="hold", events=frozenset({"evidence", "retriggered"}))


def test_where_the_law_forbids_it_nobody_is_asked(city: DemoCity, open_page: OpenPage) -> None:
    phone = opened(city, open_page, "customer", permissions=["microphone"])

    def forbidden(route: Route) -> None:
        answer = route.fetch()
        setup = answer.json()
        route.fulfill(response=answer, json={**setup, "sound": {**setup["sound"], "is_allowed": False}})

    phone.page.route("**/v1/me/safety", forbidden)
    with agreeing(phone) as sound:
        expect(sound.get_by_test_id("sound-rule")).to_contain_text("Sound is not recorded in Portugal")
        expect(sound.get_by_test_id("records-sound")).to_have_count(0)
    phone.page.unroute("**/v1/me/safety")


def opened(city: DemoCity, open_page: OpenPage, who: str, *, permissions: list[str]) -> WatchedPage:
    phone = open_page(**{**PHONE, "permissions": permissions}, geolocation=OUT_AT_SEA)
    phone.page.clock.install()
    phone.page.add_init_script(OPENED)
    phone.sign_in(city, who, f"/{who}/")
    phone.expect_data("link", "link", "live")
    return phone


class agreeing(part):  # noqa: N801 - reads as what it is, as its base
    """The part of the screen about sound, in sight while the block runs."""

    def __init__(self, phone: WatchedPage) -> None:
        self._page = phone.page
        self._page.get_by_test_id("privacy-link").press("Enter")
        super().__init__(self._page, "part-sound")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._page.get_by_test_id("privacy-back").press("Enter")


def call_unseen(phone: WatchedPage) -> None:
    """Call for help; nothing on the page tells, but the dot that its owner chose."""
    page = phone.page
    expect(page.get_by_role("heading", level=2).first).to_be_visible()
    before, title = page.locator("body").inner_text(), page.title()
    hold_unseen(page)
    phone.expect_data("brand", "progress", "committed")
    assert (page.locator("body").inner_text(), page.title()) == (before, title)


def lose_the_network(phone: WatchedPage) -> None:
    """Let no evidence reach the server until it was tried twice."""
    page = phone.page
    tries: list[str] = []

    def lose(route: Route) -> None:
        tries.append(route.request.post_data_json["data"])
        route.abort("internetdisconnected")

    page.route(EVIDENCE, lose)
    deadline = time.monotonic() + DEADLINE_S
    while len(tries) < 2:
        assert time.monotonic() < deadline, "the phone gave up"
        page.wait_for_timeout(100)
    page.unroute(EVIDENCE)
    assert len(set(tries)) == 1, "the same chunk goes again until it is taken"
    phone.complaints[:] = [said for said in phone.complaints if LOST not in said]


def chunks_of_first(city: DemoCity, *, at_least: int, who: str = "worker") -> int:
    pieces = evidence(city, lambda found: bool(found) and found[0]["chunks"] >= at_least, who)
    return int(pieces[0]["chunks"])


def evidence(city: DemoCity, is_enough: Any, who: str = "worker") -> list[dict[str, Any]]:
    """Wait for what the desk must have of this person's alarm."""
    incident_id = live_incident(city, who)["incident_id"]
    deadline = time.monotonic() + DEADLINE_S
    while True:
        pieces: list[dict[str, Any]] = city.call("dispatcher", "GET", f"/v1/incidents/{incident_id}/evidence")["items"]
        if pieces and is_enough(pieces):
            return pieces
        assert time.monotonic() < deadline, pieces
        time.sleep(0.2)


def check_whole(city: DemoCity, piece: dict[str, Any]) -> None:
    """What the desk reads is the chain that the phone hashed, and plays by itself."""
    incident_id = live_incident(city, "worker")["incident_id"]
    head, data = bytes(32), b""
    for n in range(piece["chunks"]):
        url = f"{city.url}/v1/incidents/{incident_id}/evidence/{piece['evidence_id']}?n={n}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {city.token('dispatcher')}"})
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:
            chunk = response.read()
        head, data = hashlib.sha256(head + chunk).digest(), data + chunk
    assert (head.hex(), piece["media_type"]) == (piece["sha256"], "audio/webm")
    assert data.startswith(WEBM)
    assert re.search(rb"OpusHead", data)
