"""Who takes part in a journey: people with passwords, made by an admin over REST, and what they do there."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from sim.client.rest import Account, Rest, sign_in

PASSWORD: Final = "a long enough password"
ANSWER_TIMEOUT_S: Final = 30
ASK_EVERY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who shall exist; `phone` only for whom messages reach."""

    name: str
    role: str
    phone: str | None = None

    @property
    def email(self) -> str:
        return f"{self.name.lower()}@journey.test"

    def body(self) -> dict[str, Any]:
        body = {"role": self.role, "full_name": self.name, "email": self.email, "password": PASSWORD}
        if self.phone is not None:
            body["phone"] = self.phone
        return body | ({"skills": ["cleaning"], "rating": 4.5} if self.role == "worker" else {})


async def settle(rest: Rest, admin: Account, everybody: list[Who]) -> dict[str, Account]:
    """Bring people into being; return each signed in, by name."""
    await rest.post("/v1/people/batch", {"people": [who.body() for who in everybody]}, account=admin)
    accounts = await asyncio.gather(*(sign_in(rest, who.email, PASSWORD) for who in everybody))
    return {who.name: account for who, account in zip(everybody, accounts, strict=True)}


async def book(rest: Rest, customer: Account, place: tuple[float, float], line: str) -> str:
    """Book a cleaning; return the booking's id."""
    body = {
        "service_code": "cleaning",
        "pin": {"lat": place[0], "lng": place[1]},
        "address": {"line": line, "floor": "2", "entry_notes": "Bell 4"},
    }
    booking: dict[str, Any] = await rest.post("/v1/bookings", body, account=customer)
    return str(booking["booking_id"])


async def set_ladder(rest: Rest, admin: Account, on_call: Account, *, step_s: int, follow_up_s: int) -> None:
    """The desk first, after `step_s` a text message to whoever is on call."""
    layer = {"every_days": 7, "at": "08:00", "starts_on": "2026-01-05", "people": [on_call.person_id]}
    plan = {"name": "Nights", "tz": "Europe/Lisbon", "layers": [layer]}
    schedule = await rest.post("/v1/schedules", plan, account=admin)
    text = {"target": "on_call", "schedule_id": schedule["schedule_id"], "channels": ["sms"]}
    steps = [
        {"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]},
        {"delay_s": step_s, "notify": [text]},
    ]
    policy = {"steps": steps, "repeat_s": 60, "follow_up_s": follow_up_s}
    stored = await rest.get("/v1/policies", account=admin)
    regions = {each["region_id"] for each in stored["items"]} or {None}
    for region_id in regions:
        body = {"region_id": region_id, "name": "Journey", "policy": policy}
        await rest.call("PUT", "/v1/policies", body=body, account=admin)


async def until(
    ask: Callable[[], Awaitable[dict[str, Any]]], is_so: Callable[[dict[str, Any]], bool], *, what: str
) -> dict[str, Any]:
    """Ask a door that sends no events until the answer is so; return it."""
    answer: dict[str, Any] = {}
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not is_so(answer := await ask()):
                await _pause()
    except TimeoutError:
        raise AssertionError(f"waited {ANSWER_TIMEOUT_S} s in vain for {what}; the last answer: {answer}") from None
    return answer


async def _pause() -> None:
    await asyncio.sleep(ASK_EVERY_S)
