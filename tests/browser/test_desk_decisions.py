"""What a human at the desk decides: that an alarm is real, that the decoy goes out, that two people close; and when not
to wait for a ladder."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, WebSocketRoute, expect

from tests.browser.callers import Callers
from tests.browser.conftest import OpenPage
from tests.browser.demo_city import DemoCity
from tests.browser.test_incident_desk import DECOY, DESK, PLAIN_MAP, callers
from tests.browser.watched_page import WatchedPage

__all__ = ["callers"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

STRICT = {
    "steps": [{"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]}],
    "repeat_s": 600,
    "follow_up_s": 600,
    "two_person_close": True,
}


@pytest.fixture
def two_people(city: DemoCity) -> Iterator[None]:
    """Closing takes two; afterwards the policies are as they were."""
    found = city.call("admin", "GET", "/v1/policies")["items"]
    before = next((one for one in found if one["region_id"] is None), None)
    version = {} if before is None else {"version": before["version"]}
    kept = city.call("admin", "PUT", "/v1/policies", {"region_id": None, "name": "Two", "policy": STRICT, **version})
    yield
    if before is None:
        city.call("admin", "DELETE", f"/v1/policies/{kept['policy_id']}")
    else:
        again = {"region_id": None, "name": before["name"], "policy": before["policy"], "version": kept["version"]}
        city.call("admin", "PUT", "/v1/policies", again)


def test_an_unverified_alarm_is_vouched_for_and_the_decoy_goes_out(
    city: DemoCity, open_page: OpenPage, callers: Callers
) -> None:
    (eva,) = callers.bring_in("Eva Decoy", phone="+351910000077")
    eva.call("PUT", "/v1/me/safety", DECOY)
    incident_id = eva.trigger_unverified()
    desk = at_the_desk(city, open_page, incident_id)
    page = desk.page
    expect(page.get_by_test_id("trust")).to_contain_text("not verified")
    assert desk.barriers() == []
    page.get_by_test_id("vouch").press("Enter")
    expect(page.get_by_test_id("trust")).to_have_text("verified")
    expect(page.get_by_test_id("vouch")).to_have_count(0)
    expect(page.get_by_test_id("history")).to_contain_text("Vouched for: the alarm is real")
    expect(page.get_by_test_id("history")).to_contain_text("by Dario Desk")

    page.get_by_test_id("send-decoy").press("Enter")
    expect(page.get_by_test_id("decoy-sent")).to_contain_text("Handed to the sender at")
    expect(page.get_by_test_id("send-decoy")).to_contain_text("again")
    expect(page.get_by_test_id("ladder")).to_contain_text("sms to self")
    page.get_by_test_id("call-card-button").press("Enter")
    contact = page.get_by_test_id("card-contact")
    expect(contact).to_contain_text("Do not call. Decoy message only")
    expect(contact).to_have_attribute("data-mode", "decoy")
    expect(page.get_by_test_id("card-at-address")).to_contain_text("The address may be watched")
    expect(page.get_by_test_id("card-at-address")).to_contain_text("Rui may be there")
    assert desk.barriers() == []


@pytest.mark.usefixtures("two_people")
def test_a_close_that_wants_a_second_person_is_a_state(city: DemoCity, open_page: OpenPage, callers: Callers) -> None:
    (ana,) = callers.bring_in("Ana Careful")
    incident_id = ana.trigger("button")
    desk = at_the_desk(city, open_page, incident_id)
    page = desk.page
    page.get_by_test_id("acknowledge").click()
    desk.expect_data("incident-panel", "state", "acknowledged")
    expect(page.get_by_test_id("send-decoy")).to_have_count(0)
    asked(page.get_by_test_id("incident-panel"), "She is well.")
    desk.expect_data("incident-panel", "close", "asked")
    desk.expect_data("incident-panel", "state", "acknowledged")
    expect(page.get_by_test_id("close-asked")).to_contain_text("Dario Desk asked to close")
    expect(page.get_by_test_id("close-asked")).to_contain_text("She is well.")
    expect(page.get_by_test_id("close-incident")).to_have_text("Ask again: somebody else has to close it too")
    assert desk.barriers() == []

    colleague = open_page(viewport=DESK)
    colleague.sign_in(city, "admin", f"{PLAIN_MAP}#/incidents/{incident_id}")
    expect(colleague.page.get_by_test_id("close-incident")).to_have_text("Close it too, as the second person")

    # She calls again: what was asked is void, and the alarm is open once more.
    ana.trigger("button")
    desk.expect_data("incident-panel", "close", "not asked")
    desk.expect_data("incident-panel", "state", "open")
    page.get_by_test_id("acknowledge").click()
    asked(page.get_by_test_id("incident-panel"), "Now she is.")
    desk.expect_data("incident-panel", "close", "asked")
    colleague.expect_data("incident-panel", "close", "asked")
    colleague.page.get_by_test_id("reviewed").check()
    asked(colleague.page.get_by_test_id("incident-panel"), "We both think so.")
    desk.expect_data("incident-panel", "state", "closed")
    desk.expect_data("incident-panel", "close", "not asked")


def test_a_part_that_fell_silent_is_told_until_it_is_back(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK)
    page = desk.page
    lines: list[WebSocketRoute] = []

    def between(line: WebSocketRoute) -> None:
        line.connect_to_server()
        lines.append(line)

    page.route_web_socket(re.compile("/v1/safetap/live"), between)
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/incidents")
    desk.expect_data("link-safetap", "health", "live", timeout_s=30)
    desk.expect_data("watch-notice", "missing", "")
    missing = [{"part": part, "since": "2026-01-01T00:00:00Z"} for part in ("escalator", "sender")]
    lines[-1].send(json.dumps({"type": "watch", "missing": missing}))
    desk.expect_data("watch-notice", "missing", "escalator sender")
    expect(page.get_by_test_id("watch-notice")).to_contain_text("Do not wait for them")
    assert desk.barriers() == []
    lines[-1].send(json.dumps({"type": "watch", "missing": []}))
    desk.expect_data("watch-notice", "missing", "")


def at_the_desk(city: DemoCity, open_page: OpenPage, incident_id: str) -> WatchedPage:
    desk = open_page(viewport=DESK)
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/incidents/{incident_id}")
    desk.expect_data("incident-panel", "id", incident_id)
    return desk


def asked(panel: Locator, reason: str) -> None:
    """Close in the panel's own form."""
    panel.get_by_test_id("close-reason").fill(reason)
    panel.get_by_test_id("close-incident").press("Enter")
