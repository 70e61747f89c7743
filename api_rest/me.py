"""The person who asks, and a worker's duty."""

from typing import Any

from pydantic import AwareDatetime

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import ALL_ROLES, WORKER, AnyRoute, Route, Uses
from api_rest.schemas import Answer, BookingAnswer, OfferAnswer
from engine.booking.views import open_bookings_of_customer
from engine.core.errors import Conflict
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.units import rfc3339
from engine.core.vocabulary import Duty, Role
from engine.matcher.offer_store import worker_state
from engine.people.accounts import load_account
from engine.people.duty import set_duty
from engine.people.people_store import load_skill_bits, load_worker, skill_codes


class Me(Answer):
    """A person as they see themselves; the fields after `tz` depend on the role."""

    person_id: PersonId
    role: Role
    full_name: str
    email: str | None
    org_id: OrgId
    region_id: RegionId
    tz: str
    slot: int | None = None
    duty: Duty | None = None
    rating: float | None = None
    skills: list[str] | None = None
    offer: OfferAnswer | None = None
    booking: BookingAnswer | None = None
    bookings: list[BookingAnswer] | None = None


class SetDuty(Body):
    """On or off."""

    duty: Duty


class DutyAnswer(Answer):
    """The duty, and since when."""

    duty: Duty
    since: AwareDatetime | None


async def get_me(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the person with what they need to see first."""
    account = await load_account(call.conn, call.principal.person_id)
    me: dict[str, object] = {
        "person_id": str(account.person_id),
        "role": account.role.value,
        "full_name": account.full_name,
        "email": account.email,
        "org_id": str(account.org_id),
        "region_id": str(account.region_id),
        "tz": account.tz,
    }
    if account.role is Role.WORKER:
        me |= await _worker_part(call)
    elif account.role is Role.CUSTOMER:
        me["bookings"] = await open_bookings_of_customer(call.conn, account.person_id)
    return Reply(me)


async def put_duty(call: Call[SetDuty, NoQuery]) -> Reply:
    """Go on or off duty."""
    await set_duty(call.conn, principal=call.principal, duty=call.body.duty, now_ms=call.now_ms)
    worker = await load_worker(call.conn, call.principal.person_id)
    return Reply({"duty": worker["duty"], "since": rfc3339(worker["duty_since"])})


async def _worker_part(call: Call[Any, Any]) -> dict[str, object]:
    worker = await load_worker(call.conn, call.principal.person_id)
    skill_bits = await load_skill_bits(call.conn, call.principal.org_id)
    return {
        "slot": worker["slot"],
        "rating": round(worker["rating"], 2),
        "skills": skill_codes(worker["skills"], skill_bits),
        **await worker_state(call.conn, call.principal.person_id),
    }


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/me",
        access=ALL_ROLES,
        handler=get_me,
        summary="Who am I, and what concerns me now",
        uses=Uses.CONNECTION,
        answer=Me,
    ),
    Route(
        method="PUT",
        path="/v1/me/duty",
        access=WORKER,
        handler=put_duty,
        summary="Go on or off duty",
        uses=Uses.TRANSACTION,
        body=SetDuty,
        answer=DutyAnswer,
        errors=(Conflict,),
    ),
)
