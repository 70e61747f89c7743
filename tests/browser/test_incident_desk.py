"""The incident desk: what stands first, what may be done and what must not, and what is told when a line is lost."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.browser.callers import Caller, Callers, a_trigger
from tests.browser.conftest import OpenPage
from tests.browser.demo_city import DemoCity
from tests.browser.watched_page import WatchedPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

DESK = {"width": 1440, "height": 900}
PLAIN_MAP = "/?map=canvas"
"""Where the map is not what is judged: WebGL in software takes seconds of a busy machine."""
SEVERAL = re.compile(r"^([2-9]|\d{2,})$")
CONTACT = {"name": "Rui", "phone": "+351910000001", "may_be_at_address": True}
ASK_NOBODY = """
    window.asked = 0;
    Notification.requestPermission = async () => { window.asked += 1; return 'denied'; };
"""
REGISTER = (
    "async () => { await navigator.serviceWorker.register('/desk-push.js'); await navigator.serviceWorker.ready; }"
)
IS_SHOWN = """async () => {
    const registration = await navigator.serviceWorker.getRegistration('/desk-push.js');
    const shown = await registration.getNotifications();
    return shown.some(({title, tag, data}) => title === 'Alarm' && tag === 't1' && data.incidentId === 'i1');
}"""
DECOY = {"contact_mode": "decoy", "decoy_text": "Your parcel is late", "contacts": [CONTACT]}


@pytest.fixture
def callers(city: DemoCity) -> Iterator[Callers]:
    callers = Callers(city)
    callers.close_all()
    yield callers
    callers.close_all()


def test_the_worst_that_nobody_has_taken_stands_first_and_keys_are_enough(
    city: DemoCity, open_page: OpenPage, callers: Callers
) -> None:
    ana, bea, eva, rita = callers.bring_in("Ana Button", "Bea Duress", "Eva Unvouched", "Rita Drill")
    button, unverified = ana.trigger("button"), eva.trigger_unverified()
    drill, duress = callers.drill(rita.person_id), bea.trigger("duress_pin")
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/incidents")

    rows = page.get_by_test_id("incident-row")
    # The city goes on meanwhile: an alarm of its own may stand among these.
    ours = {
        one: page.locator(f"[data-testid=incident-row][data-id='{one}']") for one in (duress, button, unverified, drill)
    }
    for row in ours.values():
        expect(row).to_be_visible()
    shown = [row.get_attribute("data-id") for row in rows.all()]
    assert [one for one in shown if one in ours] == [duress, button, unverified, drill]
    expect(ours[unverified].get_by_test_id("marks")).to_have_text("Unverified sender")
    expect(ours[drill].get_by_test_id("marks")).to_have_text("DRILL")
    expect(ours[duress].get_by_test_id("marks")).to_have_count(0)
    expect(page).to_have_title(re.compile(r"^\(([3-9]|\d\d)\) alarms - Clenzy desk$"))
    expect(page.get_by_test_id("armed-state")).to_contain_text("This desk is armed")
    assert desk.barriers() == []

    page.locator("body").press("j")
    page.locator("body").press("j")
    expect(rows.nth(1)).to_be_focused()
    page.locator("body").press("k")
    rows.nth(0).press("Enter")
    desk.expect_data("incident-panel", "id", duress)
    expect(page.get_by_test_id("contact-mode")).to_contain_text("Do not contact")
    expect(page.get_by_test_id("chat")).to_have_count(0)
    page.locator("body").press("a")
    desk.expect_data("incident-panel", "state", "acknowledged")
    expect(page).to_have_title(re.compile(r"^\(\d+\) alarms - Clenzy desk$"))
    page.locator("body").press("i")
    expect(rows.nth(0)).not_to_have_attribute("data-id", duress)
    expect(ours[duress]).to_have_attribute("data-state", "acknowledged")

    page.get_by_test_id("sound").click()
    expect(page.get_by_test_id("armed-state")).to_contain_text("NOT armed because its sound is muted")
    page.get_by_test_id("sound").click()
    expect(page.get_by_test_id("armed-state")).to_contain_text("This desk is armed")


def test_an_incident_is_worked_from_the_alarm_to_its_end(
    city: DemoCity, open_page: OpenPage, callers: Callers, tmp_path: Path
) -> None:
    (ana,) = callers.bring_in("Ana Decoy")
    ana.call("PUT", "/v1/me/safety", DECOY)
    trigger = a_trigger("hold")
    assert ana.call("POST", "/v1/safetap", trigger)["state"] == "committed"
    incident_id = ana.incident_id()
    desk = open_page(viewport=DESK, color_scheme="light")
    page = desk.page
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/incidents/{incident_id}")
    desk.expect_data("incident-panel", "state", "open")
    expect(page.get_by_test_id("contact-mode")).to_contain_text("Do not call. Decoy message only")
    expect(page.get_by_test_id("may-be-at-address")).to_contain_text("May be at the address")
    page.get_by_test_id("acknowledge").click()
    desk.expect_data("incident-panel", "state", "acknowledged")

    chat_both_ways(desk, ana)
    see_evidence(desk, ana, str(trigger["trigger_id"]), tmp_path)
    assert desk.barriers() == []

    # A colleague may have taken it at once: then the dispatcher's own panel says whose it is.
    page.locator("body").press("h")
    expect(page.get_by_test_id("hand-over-dialog")).to_be_visible()
    assert desk.barriers() == []
    page.get_by_label(re.compile("admin")).first.check()
    page.get_by_test_id("hand-over-note").fill("Her sister is on the way.")
    page.get_by_test_id("hand-over-confirm").click()
    expect(page.get_by_test_id("hand-over-dialog")).not_to_be_visible()
    expect(page.get_by_test_id("history")).to_contain_text("Handed over to")
    expect(page.get_by_test_id("history")).to_contain_text("Her sister is on the way.")

    page.get_by_test_id("close-reason").fill("Pressed by mistake.")
    page.get_by_test_id("false-alarm").check()
    expect(page.get_by_text("counts against nobody")).to_be_visible()
    page.get_by_test_id("reviewed").check()
    page.get_by_test_id("close-incident").click()
    desk.expect_data("incident-panel", "state", "closed")
    closed = city.call("dispatcher", "GET", f"/v1/incidents/{incident_id}")
    assert (closed["is_false_alarm"], closed["close_reason"]) == (True, "Reviewed: Pressed by mistake.")
    with page.expect_download() as saved:
        page.get_by_test_id("report-json").click()
    assert json.loads(saved.value.path().read_text())["chain"]["broken"] == []


def chat_both_ways(desk: WatchedPage, person: Caller) -> None:
    page = desk.page
    page.get_by_test_id("quick-reply").first.click()
    messages = page.get_by_test_id("chat-message")
    expect(messages).to_have_count(1)
    expect(messages.first).to_contain_text("not seen yet")
    [shown] = person.call("GET", "/v1/me/safety/chat")["items"]
    assert (shown["text"], shown["is_mine"]) == ("Your parcel is late", False)
    expect(messages.first).to_contain_text(re.compile(r"· seen \d"))
    person.call("POST", "/v1/me/safety/chat", {"text": "I can wait"})
    expect(messages).to_have_count(2)
    expect(messages.nth(1)).to_have_attribute("data-from", "person")
    expect(messages.nth(1)).to_contain_text("I can wait")


def see_evidence(desk: WatchedPage, person: Caller, trigger_id: str, tmp_path: Path) -> None:
    page = desk.page
    head = person.record(trigger_id, [b"one" * 1000, b"two" * 1000], "image/webp")
    piece = page.get_by_test_id("evidence-piece")
    expect(piece).to_have_count(1)
    expect(piece).to_contain_text(head)
    expect(piece).to_contain_text("2 chunks")
    desk.expect_data("evidence-piece", "complete", "true")
    page.get_by_test_id("evidence-open").click()
    desk.expect_data("evidence-piece", "chain", "whole")
    with page.expect_download() as saved:
        page.get_by_test_id("evidence-download").click()
    assert saved.value.path().read_bytes() == b"one" * 1000 + b"two" * 1000

    # A chunk that was changed on its way does not pass for the one that was hashed.
    own = tmp_path / "door.png"
    own.write_bytes(bytes(range(256)) * 700)
    page.get_by_test_id("evidence-file").set_input_files(own)
    expect(piece).to_have_count(2)
    expect(piece.nth(1)).to_have_attribute("data-complete", "true")
    page.route("**/evidence/*?n=1", lambda route: route.fulfill(status=200, body=b"something else"))
    page.get_by_test_id("evidence-open").click()
    expect(piece.nth(1)).to_have_attribute("data-chain", "broken")
    page.unroute("**/evidence/*?n=1")


@pytest.mark.parametrize("map_of", ["/", PLAIN_MAP])
def test_the_trail_of_who_called_is_a_line_on_the_map(
    city: DemoCity, open_page: OpenPage, callers: Callers, map_of: str
) -> None:
    workers = city.call("dispatcher", "GET", "/v1/workers?limit=200")["items"]
    moving = next(one for one in workers if one["duty"] == "on" and one["slot"] != 0)
    incident_id = callers.drill(moving["worker_id"])
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "dispatcher", f"{map_of}#/incidents/{incident_id}")
    desk.expect_data("incident-panel", "drill", "true")
    desk.expect_data("desk-map", "trail", SEVERAL, timeout_s=40)
    expect(page.get_by_test_id("trail")).to_contain_text("measured")
    expect(page.get_by_test_id("live-trail")).to_be_checked()


def test_a_lost_line_to_safetap_is_told_and_what_only_a_disk_has_is_shown(
    city: DemoCity, open_page: OpenPage, callers: Callers
) -> None:
    (ana,) = callers.bring_in("Ana Disk")
    desk = open_page(viewport=DESK)
    page = desk.page
    lines: list[WebSocketRoute] = []
    is_cut = False

    def between(line: WebSocketRoute) -> None:
        server = line.connect_to_server()
        server.on_message(lambda said: None if is_cut else line.send(said))
        lines.append(line)

    page.route_web_socket(re.compile("/v1/safetap/live"), between)
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/incidents")
    desk.expect_data("link-safetap", "health", "live", timeout_s=30)

    memory = spooled_row(ana)
    lines[-1].send(json.dumps({"type": "incident", "incident": memory}))
    row = page.locator(f"[data-id='{memory['incident_id']}']")
    expect(row).to_contain_text("On a door's disk only")
    row.click()
    expect(page.get_by_test_id("spooled-note")).to_be_visible()
    expect(page.get_by_test_id("acknowledge")).to_have_count(0)
    # The same row, raised: it has version 0 still.
    lines[-1].send(json.dumps({"type": "incident", "incident": memory | {"severity": 3}}))
    incident_id = ana.trigger("button")
    lines[-1].send(json.dumps({"type": "replaced", "incident_id": memory["incident_id"], "by": incident_id}))
    desk.expect_data("incident-panel", "id", incident_id)
    expect(page.get_by_test_id("acknowledge")).to_be_visible()

    page.evaluate("() => { window.before = true; }")
    is_cut = True
    expect(page.get_by_test_id("link-notice")).to_contain_text("SafeTap lost")
    city.call("admin", "POST", f"/v1/incidents/{incident_id}/acknowledge", {})
    is_cut = False
    desk.expect_data("link-safetap", "health", "live", timeout_s=20)
    desk.expect_data("incident-panel", "state", "acknowledged")
    assert page.evaluate("() => window.before") is True


def spooled_row(person: Caller) -> dict[str, Any]:
    """What a door shows from its memory while Postgres is away (`engine.safetap.spooled_alarms`)."""
    return {
        "incident_id": str(uuid4()),
        "person": {"person_id": person.person_id, "name": person.name, "role": "worker"},
        "booking_id": None,
        "kind": "button",
        "is_drill": False,
        "trust": "verified",
        "state": "open",
        "version": 0,
        "severity": 2,
        "step": 0,
        "next_step_at": None,
        "fix": None,
        "address": None,
        "opened_at": "2026-01-01T00:00:00.000Z",
        "acknowledged_at": None,
        "acknowledged_by": None,
        "closed_at": None,
        "close_reason": None,
        "spooled": True,
    }


@pytest.mark.usefixtures("callers")
def test_drills_figures_silence_and_the_end_of_a_shift(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/safety")
    expect(page.get_by_test_id("safety-figures")).to_contain_text("Acknowledged, p99")
    expect(page.get_by_test_id("armed-desks")).to_contain_text("Dario Desk")
    assert desk.barriers() == []
    page.get_by_test_id("start-drill").click()
    page.locator("body").press("i")
    drill = page.locator("[data-testid=incident-row][data-drill=true][data-state=open]")
    expect(drill.first.get_by_test_id("marks")).to_have_text("DRILL")
    drill.first.click()
    page.get_by_test_id("acknowledge").click()
    desk.expect_data("incident-panel", "state", "acknowledged")
    incident_id = page.get_by_test_id("incident-panel").get_attribute("data-id")

    page.locator("body").press("d")
    page.get_by_test_id("hand-desk-over").click()
    page.get_by_label(re.compile("admin")).first.check()
    page.get_by_test_id("hand-over-confirm").click()
    expect(page.get_by_test_id("desk-handed-over")).to_contain_text("Handed over with 1 incident")
    taken = city.call("admin", "GET", f"/v1/incidents/{incident_id}")
    assert "handed_over" in [event["kind"] for event in taken["events"]]

    page.locator("body").press("u")
    expect(page.get_by_role("heading", name="Not heard of")).to_be_visible()
    expect(page.get_by_test_id("silent-row").first).to_be_visible(timeout=30_000)
    assert desk.barriers() == []


def test_a_push_is_shown_and_permission_is_asked_by_a_button_only(city: DemoCity, open_page: OpenPage) -> None:
    desk = open_page(viewport=DESK, permissions=["notifications"])
    page = desk.page
    page.add_init_script(ASK_NOBODY)
    desk.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/safety")
    expect(page.get_by_test_id("push-on")).to_be_visible()
    assert page.evaluate("() => window.asked") == 0
    page.get_by_test_id("push-on").click()
    expect(page.get_by_test_id("push-setting")).to_contain_text("did not allow notifications")
    assert page.evaluate("() => window.asked") == 1

    browser = page.context.new_cdp_session(page)
    registrations: list[dict[str, Any]] = []
    browser.on("ServiceWorker.workerRegistrationUpdated", lambda told: registrations.extend(told["registrations"]))
    browser.send("ServiceWorker.enable")
    page.evaluate(REGISTER)
    alarm = {"type": "incident", "incident_id": "i1", "tag": "t1", "title": "Alarm", "body": "Open the desk"}
    registration_id = registrations[-1]["registrationId"]
    push = {"origin": city.url, "registrationId": registration_id, "data": json.dumps(alarm)}
    browser.send("ServiceWorker.deliverPushMessage", push)
    page.wait_for_function(IS_SHOWN)


@pytest.fixture
def planned(city: DemoCity) -> Iterator[None]:
    """Whatever a test plans ends with it."""
    yield
    city.call("admin", "PUT", "/v1/drills/plan", {})


@pytest.mark.usefixtures("planned")
def test_drills_are_planned_by_the_week_and_tell_how_they_went(
    city: DemoCity, open_page: OpenPage, callers: Callers
) -> None:
    (rita,) = callers.bring_in("Rita Drill")
    drill = callers.drill(rita.person_id)
    city.call("dispatcher", "POST", f"/v1/incidents/{drill}/acknowledge", {})
    desk = open_page(viewport=DESK)
    page = desk.page
    desk.sign_in(city, "admin", f"{PLAIN_MAP}#/safety")
    result = page.get_by_test_id("drill-results").locator(f"[data-id='{drill}']")
    expect(result).to_contain_text(re.compile(r"\d\.\d s"))

    plan = page.get_by_test_id("drill-plan")
    expect(plan).to_contain_text("None begins by itself.")
    page.get_by_test_id("plan-drills").click()
    for day in ("mon", "thu"):
        page.get_by_test_id(f"drill-{day}").check()
    page.get_by_test_id("drill-times").fill("25:00")
    page.get_by_test_id("save-drill-plan").click()
    expect(page.get_by_test_id("drill-plan-form").get_by_role("alert")).not_to_be_empty()
    page.get_by_test_id("drill-times").fill("10:30, 22:15")
    assert desk.barriers() == []
    desk.complaints.clear()  # the browser logs the refusal
    page.get_by_test_id("save-drill-plan").click()
    expect(plan).to_contain_text("One begins on Mon, Thu at 10:30, 22:15")
    weekly = city.call("admin", "GET", "/v1/drills/plan")
    assert (weekly["weekly"]["days"], weekly["weekly"]["at"]) == (["mon", "thu"], ["10:30", "22:15"])
    assert plan.get_attribute("data-next") == weekly["next_at"]

    theirs = open_page(viewport=DESK)
    theirs.sign_in(city, "dispatcher", f"{PLAIN_MAP}#/safety")
    expect(theirs.page.get_by_test_id("drill-plan")).to_contain_text("Mon, Thu")
    expect(theirs.page.get_by_test_id("plan-drills")).to_have_count(0)
