"""Escalation policies: read, write with every rule checked, and rehearse without telling anybody."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import ADMIN, DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer, Line, Moment
from config.limits import POLICY_DELAY_S_MAX, POLICY_REPEAT_S_MIN, STEPS_PER_POLICY_MAX
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId, PolicyId, RegionId, ScheduleId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import Channel
from engine.safetap import policy_store
from engine.safetap.armed_desks import armed_desks
from engine.safetap.escalation import Haste, StepKind
from engine.safetap.escalation_facts import load_contacts, load_responders
from engine.safetap.on_call import Schedule, on_call
from engine.safetap.policy import Policy, Target, default_policy, parse_policy
from engine.safetap.policy_check import Rehearsed, check_references, rehearse, warnings
from engine.safetap.policy_store import StoredPolicy
from engine.safetap.schedule_store import list_schedules, load_schedules
from engine.safetap.targets import Facts, Notice

Seconds = Annotated[int, Field(ge=0, le=POLICY_DELAY_S_MAX)]
Pause = Annotated[int, Field(ge=POLICY_REPEAT_S_MIN, le=POLICY_DELAY_S_MAX)]
Url = Annotated[str, Field(max_length=2_000)]


class Notify(Body):
    """Whom a step tells, over what. `schedule_id`, `person_id`, `within_cells` and `url` belong to their targets."""

    target: Target
    channels: Annotated[list[Channel], Field(min_length=1)]
    schedule_id: UUID | None = None
    person_id: UUID | None = None
    within_cells: int | None = None
    url: Url | None = None


class Step(Body):
    """A rung, taken so many seconds after the one before unless a human acts."""

    delay_s: Seconds
    notify: Annotated[list[Notify], Field(min_length=1)]


class MonitoringCentre(Body):
    """Somebody outside who watches for a living: one address or more."""

    url: Url | None = None
    phone: str | None = None
    email: str | None = None
    call_back: str | None = None
    """The desk's own number. With it and no `url`, alarms go through the installation's connector."""


class PolicyBody(Body):
    """A ladder. What happens when it is exhausted stands in no field: everybody is told, again and again."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=STEPS_PER_POLICY_MAX)]
    repeat_s: Pause
    follow_up_s: Pause
    webhook_url: Url | None = None
    monitoring_centre: MonitoringCentre | None = None
    volunteers_enabled: bool = False
    two_person_close: bool = False
    """A close counts once a second person of the desk closes too; until then everything goes on. Drills need one."""
    safe_pin: Literal["stands_down", "closes"] | None = None
    """Whether a safe PIN leaves the closing to a human (null, the default) or ends the incident."""


class WrittenPolicy(Body):
    """The ladder of a region, or (null) of every region without one. With `version` a change in between is refused."""

    region_id: UUID | None = None
    name: Line
    policy: PolicyBody
    version: int | None = None
    """The version that the change starts from; 0: there is none yet. Null: whatever it is."""


class DryRun(Body):
    """A trigger that never was."""

    policy: PolicyBody | None = None
    """Null: the stored one of the region."""
    region_id: UUID | None = None
    person_id: UUID | None = None
    """Who would trigger it: they are told nothing, their own contacts are."""
    at: Moment | None = None
    """Null: now."""
    is_desk_armed: bool | None = None
    """Null: as it is now."""
    is_drill: bool = False


class PolicyWarning(Answer):
    """What is unwise, and where."""

    field: str
    text: str


class PolicyAnswer(Answer):
    """A stored ladder."""

    policy_id: PolicyId
    region_id: RegionId | None
    name: str
    policy: dict[str, Any]
    version: int
    updated_at: AwareDatetime
    warnings: list[PolicyWarning]


class PolicyList(Answer):
    """Every ladder of the organisation. `fallback` serves where there is none."""

    items: list[PolicyAnswer]
    fallback: dict[str, Any]


class Told(Answer):
    """One message that would go out."""

    target: str
    channel: Channel
    address: str


class RehearsedStep(Answer):
    """A step as it would be taken; `haste` says why the next one would follow at once."""

    at: AwareDatetime
    after_s: float
    step: int
    loop: int
    kind: StepKind
    haste: Haste | None
    told: list[Told]


class DryRunAnswer(Answer):
    """Who would be told when. Nobody acts, so it ends with the second broadcast."""

    steps: list[RehearsedStep]
    is_desk_armed: bool
    warnings: list[PolicyWarning]


async def list_all(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the organisation's ladders, each with what is unwise about it now."""
    stored = await policy_store.list_policies(call.conn, org_id=call.principal.org_id)
    items = [await _view(call, one) for one in stored]
    return Reply({"items": items, "fallback": default_policy()})


async def put_policy(call: Call[WrittenPolicy, NoQuery]) -> Reply:
    """Write a ladder; incidents that are open keep the one they were opened with."""
    body, principal = call.body, call.principal
    written = _plain(body.policy)
    await _checked(call, parse_policy(written))
    saved = await policy_store.save_policy(
        call.conn,
        policy_id=PolicyId(uuid4()),
        org_id=principal.org_id,
        region_id=None if body.region_id is None else RegionId(body.region_id),
        name=body.name,
        body=written,
        version=body.version,
        actor_id=principal.person_id,
        now_ms=call.now_ms,
    )
    return Reply(await _view(call, saved))


async def delete_one(call: Call[NoBody, NoQuery]) -> Reply:
    """Delete a ladder."""
    await policy_store.delete_policy(
        call.conn,
        policy_id=PolicyId(call.ids["policy_id"]),
        org_id=call.principal.org_id,
        actor_id=call.principal.person_id,
        now_ms=call.now_ms,
    )
    return Reply()


async def dry_run(call: Call[DryRun, NoQuery]) -> Reply:
    """Climb a ladder by the escalators' own rules, and tell nobody."""
    body, org_id = call.body, call.principal.org_id
    policy = await _policy_to_rehearse(call)
    start_ms = call.now_ms if body.at is None else ms_from_utc(body.at)
    schedules = await _checked(call, policy, at_ms=min(start_ms, call.now_ms))
    responders = (await load_responders(call.conn, [org_id]))[org_id]
    armed = frozenset(one.person_id for one in await armed_desks(call.conn, org_id=org_id, now_ms=call.now_ms))
    if body.is_desk_armed is not None:
        armed = frozenset(one.person_id for one in responders[:1]) if body.is_desk_armed else frozenset()
    person_id = None if body.person_id is None else PersonId(body.person_id)
    contacts = await load_contacts(call.conn, person_id, org_id=org_id, jurisdictions=call.services.jurisdictions)

    def facts_at(at_ms: int) -> Facts:
        duty = {schedule_id: on_call(schedule, at_ms) for schedule_id, schedule in schedules.items()}
        return Facts(responders=responders, on_call=duty, contacts=contacts, armed=armed)

    excluded = frozenset({person_id} if person_id is not None else ())
    taken = rehearse(policy, facts_at, org_id=org_id, excluded=excluded, start_ms=start_ms, is_drill=body.is_drill)
    unwise = warnings(policy, responders, schedules, now_ms=start_ms)
    return Reply(
        {
            "steps": [_rehearsed(one, start_ms) for one in taken],
            "is_desk_armed": taken[0].decision.is_desk_armed,
            "warnings": [{"field": one.field, "text": one.text} for one in unwise],
        }
    )


async def _policy_to_rehearse(call: Call[DryRun, NoQuery]) -> Policy:
    body = call.body
    if body.policy is not None:
        return parse_policy(_plain(body.policy))
    region_id = call.principal.region_id if body.region_id is None else RegionId(body.region_id)
    stored = await policy_store.policy_of_place(call.conn, org_id=call.principal.org_id, region_id=region_id)
    return parse_policy(default_policy() if stored is None else stored.body)


async def _checked(call: Call[Any, NoQuery], policy: Policy, *, at_ms: int | None = None) -> dict[ScheduleId, Schedule]:
    """Return the schedules that a policy names, once everybody and everything in it is known to be there."""
    org_id = call.principal.org_id
    known = frozenset(one.schedule_id for one in await list_schedules(call.conn, org_id=org_id))
    staff = frozenset(one.person_id for one in (await load_responders(call.conn, [org_id]))[org_id])
    check_references(policy, staff=staff, schedule_ids=known)
    now_ms = call.now_ms if at_ms is None else at_ms
    return await load_schedules(call.conn, list(policy.schedule_ids), now_ms=now_ms)


async def _view(call: Call[Any, NoQuery], stored: StoredPolicy) -> dict[str, object]:
    return {
        "policy_id": stored.policy_id,
        "region_id": stored.region_id,
        "name": stored.name,
        "policy": stored.body,
        "version": stored.version,
        "updated_at": rfc3339(stored.updated_at),
        "warnings": await _warnings(call, stored, call.principal.org_id),
    }


async def _warnings(call: Call[Any, NoQuery], stored: StoredPolicy, org_id: OrgId) -> list[dict[str, str]]:
    try:
        policy = parse_policy(stored.body)
    except InvalidInput as error:
        return [{"field": error.field or "policy", "text": f"{error.detail} The built-in ladder serves until then."}]
    responders = (await load_responders(call.conn, [org_id]))[org_id]
    schedules = await load_schedules(call.conn, list(policy.schedule_ids), now_ms=call.now_ms)
    missing = sorted(str(one) for one in policy.schedule_ids - schedules.keys())
    if missing:
        return [{"field": "steps", "text": f"Schedule {one} cannot be read: nobody is on call."} for one in missing]
    found = warnings(policy, responders, schedules, now_ms=call.now_ms)
    return [{"field": one.field, "text": one.text} for one in found]


def _plain(policy: PolicyBody) -> dict[str, Any]:
    """Return the JSON that is stored: without what was not said."""
    return policy.model_dump(mode="json", exclude_none=True)


def _rehearsed(one: Rehearsed, start_ms: int) -> dict[str, object]:
    decision = one.decision
    return {
        "at": rfc3339(utc_from_ms(one.at_ms)),
        "after_s": (one.at_ms - start_ms) / 1000,
        "step": decision.step,
        "loop": decision.loop,
        "kind": decision.kind.value,
        "haste": None if decision.haste is None else decision.haste.value,
        "told": [
            {"target": notice.target, "channel": notice.channel.value, "address": _shown(notice)}
            for notice in decision.notices
        ],
    }


def _shown(notice: Notice) -> str:
    """Return as much of an address as a rehearsal needs: contacts are a person's own, webhooks hold secrets."""
    if notice.target.startswith("contact:"):
        return f"...{notice.address[-2:]}"
    return urlsplit(notice.address).netloc if notice.channel is Channel.WEBHOOK else notice.address


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/policies",
        access=DESK,
        handler=list_all,
        summary="Escalation policies, with what is unwise about them",
        uses=Uses.CONNECTION,
        answer=PolicyList,
    ),
    Route(
        method="PUT",
        path="/v1/policies",
        access=ADMIN,
        handler=put_policy,
        summary="Write the policy of a region, or of all; open incidents keep theirs",
        uses=Uses.TRANSACTION,
        body=WrittenPolicy,
        answer=PolicyAnswer,
        errors=(InvalidInput, Conflict),
    ),
    Route(
        method="DELETE",
        path="/v1/policies/{policy_id}",
        access=ADMIN,
        handler=delete_one,
        summary="Delete a policy",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/policies/dry-run",
        access=DESK,
        handler=dry_run,
        summary="Who would be told when, if somebody called for help; tells nobody",
        uses=Uses.CONNECTION,
        body=DryRun,
        answer=DryRunAnswer,
        errors=(InvalidInput,),
    ),
)
