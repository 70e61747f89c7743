"""Turns a route into what is sent: to whom, over what, to which address. Pure: everything known is passed in.

Who has a stake in the silence (the person themself, the parties to the booking) is told over no route, whatever it is
called: not as a responder, not as a volunteer, and not by way of somebody's contact that is in truth their own address.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from config.limits import RESPONDERS_MAX, VOLUNTEER_CELL_M, VOLUNTEERS_TOLD_MAX
from engine.core.ids import ContactId, OrgId, PersonId, ScheduleId
from engine.core.vocabulary import Channel, Role
from engine.safetap.policy import MonitoringCentre, Route, Target

Addresses = Mapping[Channel, Sequence[str]]
"""Where each channel reaches somebody. Several where somebody has several devices."""


@dataclass(frozen=True, slots=True)
class Responder:
    """Somebody at the organisation's desk who can be told."""

    person_id: PersonId
    role: Role
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody whom the triggering person chose to have told."""

    contact_id: ContactId
    addresses: Addresses
    may_be_at_address: bool
    """Then never told automatically: they might be the danger, or be in it."""


@dataclass(frozen=True, slots=True)
class Volunteer:
    """A trained worker who agreed to look from outside, and how far off they are."""

    person_id: PersonId
    distance_m: float
    addresses: Addresses


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about people at the moment of a step."""

    responders: Sequence[Responder] = ()
    on_call: Mapping[ScheduleId, Sequence[PersonId]] = field(default_factory=dict)
    contacts: Sequence[Contact] = ()
    volunteers: Sequence[Volunteer] = ()
    armed: frozenset[PersonId] = frozenset()
    """Whose desks are armed."""
    party_addresses: frozenset[str] = frozenset()
    """Addresses of the person themself and the parties to the booking."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose incident it is, as far as routes need to know."""

    org_id: OrgId
    excluded: frozenset[PersonId]
    """The person themself and the parties to the booking: never responders."""
    is_drill: bool
    """Then only the organisation's own people are told: nobody outside hears of a drill."""
    webhook_url: str | None
    monitoring_centre: MonitoringCentre | None


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to send: to whom, over what, to which address."""

    target: str
    channel: Channel
    address: str


def resolve(routes: Sequence[Route], subject: Subject, facts: Facts) -> tuple[Notice, ...]:
    """Return what `routes` send, each address once, in the order of the routes."""
    allowed = [one for one in facts.responders if one.person_id not in subject.excluded]
    found = (notice for route in routes for notice in _notices(route, subject, facts, allowed))
    return tuple(dict.fromkeys(found))


def _notices(route: Route, subject: Subject, facts: Facts, allowed: Sequence[Responder]) -> Iterator[Notice]:
    match route.target:
        case Target.DESK:
            yield Notice(route.target, route.channel, f"desk:{subject.org_id}")
        case Target.WEBHOOK:
            url = route.url or subject.webhook_url
            if url is not None:
                yield Notice(_webhook_target(route), route.channel, url)
        case Target.MONITORING_CENTRE:
            yield from _centre(route, subject)
        case Target.CONTACTS:
            yield from _contacts(route, subject, facts)
        case Target.VOLUNTEERS:
            yield from _volunteers(route, subject, facts)
        case _:
            yield from _people(allowed, _person_ids(route, facts, allowed), route.channel)


def _person_ids(route: Route, facts: Facts, allowed: Sequence[Responder]) -> frozenset[PersonId]:
    match route.target:
        case Target.ON_CALL:
            assert route.schedule_id is not None
            return frozenset(facts.on_call.get(route.schedule_id, ()))
        case Target.PERSON:
            assert route.person_id is not None
            return frozenset({route.person_id})
        case _:
            # Only a crowd is bounded: who is on call, or named, is told in an organisation of any size.
            role = Role.ADMIN if route.target is Target.ADMINS else Role.DISPATCHER
            return frozenset([one.person_id for one in allowed if one.role is role][:RESPONDERS_MAX])


def _people(allowed: Sequence[Responder], person_ids: frozenset[PersonId], channel: Channel) -> Iterator[Notice]:
    for responder in allowed:
        if responder.person_id in person_ids:
            yield from _each(f"person:{responder.person_id}", channel, responder.addresses)


def _centre(route: Route, subject: Subject) -> Iterator[Notice]:
    if subject.monitoring_centre is None or subject.is_drill:
        return
    address = subject.monitoring_centre.address(route.channel)
    if address is not None:
        yield Notice(route.target, route.channel, address)


def _contacts(route: Route, subject: Subject, facts: Facts) -> Iterator[Notice]:
    if subject.is_drill:
        return
    for contact in facts.contacts:
        known = (address for addresses in contact.addresses.values() for address in addresses)
        if contact.may_be_at_address or not facts.party_addresses.isdisjoint(known):
            continue
        yield from _each(f"contact:{contact.contact_id}", route.channel, contact.addresses)


def _volunteers(route: Route, subject: Subject, facts: Facts) -> Iterator[Notice]:
    assert route.within_cells is not None
    if subject.is_drill:
        return
    near: Iterable[Volunteer] = sorted(
        (
            one
            for one in facts.volunteers
            if one.person_id not in subject.excluded and one.distance_m <= route.within_cells * VOLUNTEER_CELL_M
        ),
        key=lambda one: one.distance_m,
    )[:VOLUNTEERS_TOLD_MAX]
    for volunteer in near:
        yield from _each(f"volunteer:{volunteer.person_id}", route.channel, volunteer.addresses)


def _each(target: str, channel: Channel, addresses: Addresses) -> Iterator[Notice]:
    """Yield a notice for each address; what tells them apart becomes part of the second one's target, and so on."""
    for number, address in enumerate(addresses.get(channel, ())):
        yield Notice(target if number == 0 else f"{target}/{number}", channel, address)


def _webhook_target(route: Route) -> str:
    """Return a name by which two webhooks differ; the address itself may hold a secret and is shown to nobody."""
    return route.target.value if route.url is None else f"{route.target}:{crc32(route.url.encode()):08x}"
