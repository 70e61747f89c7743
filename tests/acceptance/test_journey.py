"""A worker's silent call for help from the first touch to the review, in real processes and a browser.

Two jobs run side by side. In one the worker calls for help and her phone goes on telling where she is; in the other the
phone merely loses its GPS. Whoever holds the first customer's phone must not be able to tell them apart.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from sim.client.clock import wall_ms
from sim.client.rest import Account, Rest, sign_in
from tests.acceptance import stack as stacks
from tests.acceptance.journey.pages import DESK, PHONE, SHOWN_TIMEOUT_MS, ShownPage, browsing
from tests.acceptance.journey.people import PASSWORD, Who, book, set_ladder, settle, until
from tests.acceptance.journey.phones import JobPhone
from tests.browser.chromium import needed_chromium
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, open_twilio

ADMIN: Final = "admin@demo.clenzy.test"
OLGAS_PHONE: Final = "+351910000077"
EVERYBODY: Final = [
    Who("Vera", "worker"),
    Who("Carlos", "worker"),
    Who("Helena", "worker"),
    Who("Ana", "customer"),
    Who("Bruno", "customer"),
    Who("Dora", "customer"),
    Who("Desk", "dispatcher"),
    Who("Olga", "dispatcher", OLGAS_PHONE),
]
STEP_S: Final = 5
FOLLOW_UP_S: Final = 12
TRAIL_FIXES: Final = 3
STALE_MS: Final = 45_000
"""The customer's page calls a position old after 30 s."""

ANAS_DOOR: Final = (41.150, -8.610)
BESIDE_ANA: Final = (41.15008, -8.610)
DOWN_THE_ROAD: Final = (41.153, -8.610)
BRUNOS_DOOR: Final = (41.180, -8.610)
VERA_STARTS: Final = (41.1495, -8.610)
CARLOS_STARTS: Final = (41.1795, -8.610)
HELENA_STARTS: Final = (41.163, -8.610)
ANAS_LINE: Final = "Rua das Flores 12"

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(420)]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that stands before anything happens."""

    rest: Rest
    config: dict[str, Any]
    who: dict[str, Account]
    phones: dict[str, JobPhone]
    twilio: FakeTwilio
    browser: Browser

    async def read(self, path: str) -> dict[str, Any]:
        """Ask as the desk does."""
        answer: dict[str, Any] = await self.rest.get(path, account=self.who["Desk"])
        return answer

    async def open(self, name: str, path: str, viewport: dict[str, int]) -> ShownPage:
        """Open a page of the product, signed in as somebody."""
        context = await self.browser.new_context(viewport=viewport)  # type: ignore[arg-type]
        page = ShownPage(await context.new_page())
        await page.sign_in(self.config["api_url"] + path, f"{name.lower()}@journey.test", PASSWORD)
        return page


@pytest.fixture
def chromium() -> str:
    """The looking for it asks Playwright, which will not be asked from within an event loop."""
    return needed_chromium()


@pytest.fixture
async def scene(chromium: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async with open_twilio() as twilio, browsing(chromium) as browser, aiohttp.ClientSession() as http:
        monkeypatch.setenv("CLENZY_PHONE_API_URL", twilio.url)
        monkeypatch.setenv("CLENZY_PHONE_ACCOUNT", ACCOUNT)
        monkeypatch.setenv("CLENZY_PHONE_SECRET", SECRET)
        monkeypatch.setenv("CLENZY_PHONE_SENDER", NUMBER)
        with stacks.state_folder() as folder:
            stack = stacks.start(folder)
            try:
                await stacks.wait_ready(stack)
                async with _settled(stack, http, twilio, browser) as scene:
                    yield scene
            finally:
                stack.stop()


@asynccontextmanager
async def _settled(
    stack: stacks.Stack, http: aiohttp.ClientSession, twilio: FakeTwilio, browser: Browser
) -> AsyncIterator[Scene]:
    rest = Rest(http, stack.api_url)
    admin = await sign_in(rest, ADMIN, stack.password(ADMIN))
    who = await settle(rest, admin, EVERYBODY)
    await set_ladder(rest, admin, who["Olga"], step_s=STEP_S, follow_up_s=FOLLOW_UP_S)
    config = await rest.get("/v1/config")
    twilio.door_url = config["safetap_url"]
    starts = {"Vera": VERA_STARTS, "Carlos": CARLOS_STARTS, "Helena": HELENA_STARTS}
    phones = {name: JobPhone(http, config["gateway_url"], who[name], place) for name, place in starts.items()}
    tasks = [asyncio.create_task(phone.live()) for phone in phones.values()]
    try:
        await asyncio.gather(*(phone.go_on_duty() for phone in phones.values()))
        yield Scene(rest, config, who, phones, twilio, browser)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_silent_call_for_help_from_the_touch_to_the_review(scene: Scene) -> None:
    vera, carlos, helena = scene.phones["Vera"], scene.phones["Carlos"], scene.phones["Helena"]
    desk, anas, brunos = await asyncio.gather(
        scene.open("Desk", "/", DESK), scene.open("Ana", "/customer/", PHONE), scene.open("Bruno", "/customer/", PHONE)
    )
    await desk.part("sound").or_(desk.page.locator("body")).first.click()
    await until(lambda: scene.read("/v1/desks"), lambda desks: desks["is_armed"], what="an armed desk")

    job, control = await _at_both_doors(scene)
    await asyncio.gather(anas.shows("live-booking", state="arrived"), brunos.shows("live-booking", state="arrived"))
    await asyncio.gather(anas.shows("worker-mark"), brunos.shows("worker-mark"))

    carlos.has_gps, dark_ms = False, wall_ms()
    _trigger_id, alarm_ms = await vera.call_for_help()
    incident = await _the_desk_sees(scene, desk, job)
    await _the_trail_grows(scene, desk, incident["incident_id"], since_ms=alarm_ms)
    await _both_pages_look_alike(anas, brunos, alarm_ms=alarm_ms, dark_ms=dark_ms)

    await asyncio.gather(vera.move(job, "in_progress", "completed"), carlos.move(control, "in_progress", "completed"))
    await asyncio.gather(anas.shows("live-booking", state="completed"), brunos.shows("live-booking", state="completed"))
    told_ana = [each.shape for each in anas.heard_after(alarm_ms)]
    assert told_ana == [each.shape for each in brunos.heard_after(dark_ms)]
    assert [shape[:2] for shape in told_ana] == [("booking", "in_progress"), ("booking", "completed")]

    at_the_door = await book(scene.rest, scene.who["Ana"], ANAS_DOOR, ANAS_LINE)
    beside_it = await book(scene.rest, scene.who["Dora"], BESIDE_ANA, "Somewhere else 3")
    down_the_road = await book(scene.rest, scene.who["Dora"], DOWN_THE_ROAD, "Rua Nova 1")
    await helena.take(down_the_road)
    for held in (at_the_door, beside_it):
        await until(
            lambda held=held: scene.read(f"/v1/bookings/{held}/dispatch"),
            lambda found: bool(found["items"]),
            what="a decision on a booking at the held door",
        )

    await _a_text_is_answered(scene, desk, incident["incident_id"])
    await _the_follow_up_asks_again(scene, desk, incident["incident_id"])
    for held in (at_the_door, beside_it):
        found = await scene.read(f"/v1/bookings/{held}/dispatch")
        assert {each["outcome"] for each in found["items"]} == {"safety_hold"}
    assert vera.rang_for() == [job]
    assert set(carlos.rang_for()) | set(helena.rang_for()) == {control, down_the_road}

    await _closed_and_reviewed(scene, desk, incident["incident_id"])
    # What was held back until then rings now: the silence was the hold's.
    await vera.rings(at_the_door, beside_it)
    assert [*desk.complaints, *anas.complaints, *brunos.complaints] == []


async def _at_both_doors(scene: Scene) -> tuple[str, str]:
    """Vera is at Ana's door, Carlos at Bruno's; return the bookings."""
    job = await book(scene.rest, scene.who["Ana"], ANAS_DOOR, ANAS_LINE)
    await scene.phones["Vera"].take(job)
    control = await book(scene.rest, scene.who["Bruno"], BRUNOS_DOOR, "Rua do Norte 5")
    await scene.phones["Carlos"].take(control)
    for name, booking_id in (("Vera", job), ("Carlos", control)):
        await scene.phones[name].move(booking_id, "en_route", "arrived")
    return job, control


async def _the_desk_sees(scene: Scene, desk: ShownPage, job: str) -> dict[str, Any]:
    """The banner, then the alarm itself with the place of the work; return the incident."""
    await expect(desk.part("alarm-banner")).to_contain_text("Vera", timeout=SHOWN_TIMEOUT_MS)
    await desk.page.locator("body").press("a")
    await desk.shows("incident-panel", state="open")
    await expect(desk.part("incident-panel")).to_contain_text(ANAS_LINE)
    [incident] = (await scene.read("/v1/incidents?state=open"))["items"]
    assert (incident["person"]["name"], incident["booking_id"], incident["kind"]) == ("Vera", job, "hold")
    return dict(incident)


async def _the_trail_grows(scene: Scene, desk: ShownPage, incident_id: str, *, since_ms: int) -> None:
    """Her phone goes on telling the desk where she is, and the desk's page draws it."""
    await desk.shows("trail", fixes=re.compile(r"^[1-9]"))
    drawn = await desk.part("trail").get_attribute("data-fixes")
    await until(
        lambda: scene.read(f"/v1/incidents/{incident_id}/trail?after_ms={since_ms}"),
        lambda trail: len(trail["fixes"]) >= TRAIL_FIXES,
        what="fixes after the alarm",
    )
    await expect(desk.part("trail")).not_to_have_attribute("data-fixes", str(drawn), timeout=SHOWN_TIMEOUT_MS)


async def _both_pages_look_alike(anas: ShownPage, brunos: ShownPage, *, alarm_ms: int, dark_ms: int) -> None:
    """Later, by the pages' own clocks: both say how long nothing was heard, and the mark stands where it was."""
    seen = []
    for page, cut_ms in ((anas, alarm_ms), (brunos, dark_ms)):
        last = [each for each in page.heard if each.name == "position" and each.body["ts_ms"] <= cut_ms][-1]
        assert [each for each in page.heard_after(cut_ms) if each.name == "position"] == []
        await page.shows("worker-mark", lat=str(last.body["lat"]), lng=str(last.body["lng"]))
        await page.page.clock.set_system_time(datetime.fromtimestamp((wall_ms() + STALE_MS) / 1000).astimezone())
        await expect(page.part("eta")).to_contain_text("Not heard of", timeout=SHOWN_TIMEOUT_MS)
        seen.append(re.sub(r"\d+", "0", await page.part("eta").inner_text()))
    assert seen[0] == seen[1]


async def _a_text_is_answered(scene: Scene, desk: ShownPage, incident_id: str) -> None:
    """Nobody acknowledged: the second step's text reaches Olga, and her reply takes the alarm."""
    await scene.twilio.has(1)
    [sent] = scene.twilio.messages
    assert sent.to == OLGAS_PHONE
    assert await scene.twilio.tell(sent, "delivered") == 204
    assert (await scene.twilio.text_in(OLGAS_PHONE, f"ACK {sent.code}"))[0] == 200
    await desk.shows("incident-panel", state="acknowledged")
    await expect(desk.part("incident-panel")).to_contain_text("Olga")
    incident = await scene.read(f"/v1/incidents/{incident_id}")
    assert incident["acknowledged_by"] == "Olga"
    kinds = [event["kind"] for event in incident["events"]]
    assert kinds.index("triggered") < kinds.index("notified") < kinds.index("acknowledged")
    [_first, second] = [_at(event) for event in incident["events"] if event["kind"] == "step"]
    assert second - _at(incident["events"][kinds.index("triggered")]) >= STEP_S
    assert "notice_delivered" in kinds


async def _the_follow_up_asks_again(scene: Scene, desk: ShownPage, incident_id: str) -> None:
    """An acknowledgement that nothing follows lapses: the alarm is open again, and the desk takes it."""
    await desk.shows("incident-panel", state="open")
    incident = await scene.read(f"/v1/incidents/{incident_id}")
    by_kind = {event["kind"]: _at(event) for event in incident["events"]}
    assert by_kind["lapsed"] - by_kind["acknowledged"] >= FOLLOW_UP_S
    await desk.part("acknowledge").click()
    await desk.shows("incident-panel", state="acknowledged")


async def _closed_and_reviewed(scene: Scene, desk: ShownPage, incident_id: str) -> None:
    await desk.part("close-reason").fill("Vera is safe.")
    await desk.part("reviewed").check()
    await desk.part("close-incident").click()
    await desk.shows("incident-panel", state="closed")
    incident = await scene.read(f"/v1/incidents/{incident_id}")
    assert incident["state"] == "closed"
    assert incident["close_reason"] == "Reviewed: Vera is safe."


def _at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()
