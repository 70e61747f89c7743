"""The watch over people on jobs: answering it, what is watched about oneself, the desk's list, and its rules."""

from typing import Literal
from uuid import UUID, uuid4

from pydantic import AwareDatetime

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import ADMIN, DESK, PROTECTED, AnyRoute, Route, Uses
from api_rest.safetap import TriggerFix
from api_rest.safety_pins import Digits, raise_duress
from api_rest.schemas import Answer
from engine.core.errors import InvalidInput, NotFound, TooMany, Unavailable
from engine.core.ids import BookingId, OrgId, PersonId
from engine.core.vocabulary import IncidentKind, Role, WatchPhase, WatchStage
from engine.safetap.incident_store import read_clock
from engine.safetap.safety_setup import ContactMode
from engine.safetap.silence import check_in as watch_check_in
from engine.safetap.silence.desk_view import read_silence
from engine.safetap.silence.policy import parse_policy
from engine.safetap.silence.policy_store import drop_policy, read_policies, save_policy


class CheckIn(Body):
    """All is well. Without a booking: on every job of mine. A PIN where the organisation wants one."""

    booking_id: BookingId | None = None
    pin: Digits | None = None
    fix: TriggerFix | None = None


class OwnWatch(Answer):
    """What is watched about me on a job. Times and distances are null where nobody watches for that."""

    booking_id: BookingId
    service_name: str
    phase: WatchPhase
    phase_since: AwareDatetime
    is_due: bool
    """An answer is waited for."""
    answer_by: AwareDatetime | None
    next_check_in_at: AwareDatetime | None
    needs_pin: bool
    silent_after_s: int | None
    stop_s: int | None
    off_site_m: int | None
    overrun_after_s: int | None


class OwnWatches(Answer):
    """What is watched about me."""

    items: list[OwnWatch]


class Outage(Answer):
    """Many phones are silent at once: our side's fault or a network's, and nobody's alarm."""

    since: AwareDatetime
    sampled: int
    silent: int


class WatchedPerson(Answer):
    """Who is watched."""

    person_id: PersonId
    name: str
    role: Role


class WatchAnswer(Answer):
    """Somebody on a job, as the watch sees them. Seconds."""

    booking_id: BookingId
    service_id: UUID
    service_name: str
    person: WatchedPerson
    phase: WatchPhase
    phase_since: AwareDatetime
    phase_s: int
    stage: WatchStage
    signal: (
        Literal[
            IncidentKind.CHECK_IN_MISSED,
            IncidentKind.SILENCE,
            IncidentKind.LONG_STOP,
            IncidentKind.OFF_SITE,
            IncidentKind.OVERRUN,
        ]
        | None
    )
    """Why they were asked."""
    asked_at: AwareDatetime | None
    climbs_at: AwareDatetime | None
    """Without an answer by then it is an incident."""
    contact_mode: ContactMode
    """`code_word`: the desk rings who is asked, with their word."""
    heard_at: AwareDatetime
    silent_s: int
    report_s: float | None
    """How often this phone reports."""
    silent_after_s: int | None
    usual_s: int | None
    """How long this phase usually takes."""
    overrun_after_s: int | None
    next_check_in_at: AwareDatetime | None


class SilenceAnswer(Answer):
    """Who was asked first, then who is silent for longest against what is usual for them."""

    outage: Outage | None
    items: list[WatchAnswer]


class Rules(Body):
    """What is watched; what is left out is the default, a time of null switches that signal off. Seconds, metres."""

    is_on: bool | None = None
    watches_customers: bool | None = None
    needs_pin: bool | None = None
    check_in_every_s: int | None = None
    grace_s: int | None = None
    silent_s: int | None = None
    stop_s: int | None = None
    off_site_m: int | None = None
    off_site_s: int | None = None
    overrun_s: int | None = None


class RulesAnswer(Answer):
    """What is watched."""

    is_on: bool
    watches_customers: bool
    needs_pin: bool
    check_in_every_s: int | None
    grace_s: int
    silent_s: int | None
    stop_s: int | None
    off_site_m: int
    off_site_s: int | None
    overrun_s: int | None


class ServiceRules(Answer):
    """A service with rules of its own."""

    service_id: UUID
    service_name: str
    policy: RulesAnswer


class AllRules(Answer):
    """The organisation's rules, and those of services that have their own."""

    policy: RulesAnswer
    services: list[ServiceRules]


async def post_check_in(call: Call[CheckIn, NoQuery]) -> Reply:
    """Take an answer; the safe and the duress PIN are answered alike."""
    body = call.body
    items = await watch_check_in.check_in(
        call.services.pool,
        call.services.passwords,
        call.services.clock,
        watch_check_in.CheckIn(call.principal.person_id, body.booking_id, body.pin),
        raise_duress=lambda: raise_duress(call, body.fix),
        new_id=uuid4,
    )
    return Reply({"items": items})


async def list_own_watches(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what is watched about the person, and when they are to say that all is well."""
    return Reply({"items": await watch_check_in.watches_of(call.conn, call.principal.person_id)})


async def list_silence(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the desk's list, by the clock that the watch goes by."""
    return Reply(await read_silence(call.conn, call.principal.org_id, now_ms=await read_clock(call.conn)))


async def get_silence_policy(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the rules."""
    return Reply(await read_policies(call.conn, call.principal.org_id))


async def put_silence_policy(call: Call[Rules, NoQuery]) -> Reply:
    """Write the organisation's rules."""
    return await _put(call, None)


async def put_service_silence_policy(call: Call[Rules, NoQuery]) -> Reply:
    """Write rules of a service's own."""
    return await _put(call, call.ids["service_id"])


async def delete_service_silence_policy(call: Call[NoBody, NoQuery]) -> Reply:
    """Let a service go by the organisation's rules again."""
    await drop_policy(
        call.conn,
        org_id=call.principal.org_id,
        service_id=call.ids["service_id"],
        actor_id=call.principal.person_id,
        now_ms=await read_clock(call.conn),
    )
    return Reply(await read_policies(call.conn, call.principal.org_id))


async def _put(call: Call[Rules, NoQuery], service_id: UUID | None) -> Reply:
    org_id: OrgId = call.principal.org_id
    await save_policy(
        call.conn,
        parse_policy(call.body.model_dump(exclude_unset=True)),
        policy_id=uuid4(),
        org_id=org_id,
        service_id=service_id,
        actor_id=call.principal.person_id,
        now_ms=await read_clock(call.conn),
    )
    return Reply(await read_policies(call.conn, org_id))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/me/check-in",
        access=PROTECTED,
        handler=post_check_in,
        summary="Say that all is well",
        uses=Uses.STANDING,
        body=CheckIn,
        answer=OwnWatches,
        errors=(InvalidInput, TooMany, Unavailable),
    ),
    Route(
        method="GET",
        path="/v1/me/check-ins",
        access=PROTECTED,
        handler=list_own_watches,
        summary="What is watched about me, and when I am to say that all is well",
        uses=Uses.CONNECTION,
        answer=OwnWatches,
    ),
    Route(
        method="GET",
        path="/v1/silence",
        access=DESK,
        handler=list_silence,
        summary="Who has not been heard of for how long, against what is usual",
        uses=Uses.CONNECTION,
        answer=SilenceAnswer,
    ),
    Route(
        method="GET",
        path="/v1/silence/policy",
        access=DESK,
        handler=get_silence_policy,
        summary="What is watched on jobs",
        uses=Uses.CONNECTION,
        answer=AllRules,
    ),
    Route(
        method="PUT",
        path="/v1/silence/policy",
        access=ADMIN,
        handler=put_silence_policy,
        summary="Say what is watched on jobs",
        uses=Uses.TRANSACTION,
        body=Rules,
        answer=AllRules,
        errors=(InvalidInput,),
    ),
    Route(
        method="PUT",
        path="/v1/silence/policy/{service_id}",
        access=ADMIN,
        handler=put_service_silence_policy,
        summary="Say what is watched on jobs of a service",
        uses=Uses.TRANSACTION,
        body=Rules,
        answer=AllRules,
        errors=(InvalidInput, NotFound),
    ),
    Route(
        method="DELETE",
        path="/v1/silence/policy/{service_id}",
        access=ADMIN,
        handler=delete_service_silence_policy,
        summary="Let a service go by the organisation's rules again",
        uses=Uses.TRANSACTION,
        answer=AllRules,
        errors=(NotFound,),
    ),
)
