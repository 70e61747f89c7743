"""Whatever a policy says and whoever is known: nobody with a stake in the silence is ever told."""

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import ContactId, OrgId, PersonId, ScheduleId
from engine.core.vocabulary import Channel, Role
from engine.safetap.bystanders import is_bystander
from engine.safetap.policy import CHANNELS_OF, MonitoringCentre, Route, Target
from engine.safetap.reply_codes import person_of
from engine.safetap.targets import Contact, Facts, Notice, Responder, Subject, Volunteer, resolve

PEOPLE = [PersonId(UUID(int=number)) for number in range(1, 7)]
SCHEDULE = ScheduleId(UUID(int=99))
ORG = OrgId(UUID(int=100))
PERSONAL = (Channel.EMAIL, Channel.SMS, Channel.VOICE, Channel.PUSH, Channel.FCM)


def own(person_id: PersonId) -> list[str]:
    """The addresses of somebody's own phone and mail."""
    return [f"+35191000000{person_id.int}", f"{person_id.int}@own.test"]


def addresses(*given: str) -> dict[Channel, list[str]]:
    phones = [one for one in given if one.startswith("+")]
    mails = [one for one in given if "@" in one]
    return {Channel.EMAIL: mails, Channel.SMS: phones, Channel.VOICE: phones, Channel.PUSH: [], Channel.FCM: []}


someone = st.sampled_from(PEOPLE)
anywhere = st.sampled_from([*(one for each in PEOPLE for one in own(each)), "+351930000001", "friend@far.test"])
responders = st.lists(
    st.builds(lambda who, role: Responder(who, role, addresses(*own(who))), someone, st.sampled_from(list(Role)))
)
contacts = st.lists(
    st.builds(
        lambda number, where, near: Contact(ContactId(UUID(int=number)), addresses(*where), may_be_at_address=near),
        st.integers(200, 220),
        st.lists(anywhere, min_size=1, max_size=2, unique=True),
        st.booleans(),
    ),
    unique_by=lambda one: one.contact_id,
)
volunteers = st.lists(
    st.builds(lambda who, far: Volunteer(who, far, addresses(*own(who))), someone, st.floats(0, 5_000))
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    target = draw(st.sampled_from(list(Target)))
    return Route(
        target,
        draw(st.sampled_from(sorted(CHANNELS_OF[target]))),
        schedule_id=SCHEDULE if target is Target.ON_CALL else None,
        person_id=draw(someone) if target is Target.PERSON else None,
        within_cells=draw(st.integers(1, 20)) if target is Target.VOLUNTEERS else None,
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Subject, Facts]:
    stakes = draw(st.frozensets(someone, min_size=1, max_size=3))
    subject = Subject(
        ORG, stakes, draw(st.booleans()), None, MonitoringCentre(None, "+351940000001", "centre@far.test")
    )
    facts = Facts(
        responders=draw(responders),
        on_call={SCHEDULE: draw(st.lists(someone, max_size=3))},
        contacts=draw(contacts),
        volunteers=draw(volunteers),
        party_addresses=frozenset(address for who in stakes for address in own(who)),
    )
    return subject, facts


def told(world: tuple[Subject, Facts], some: list[Route]) -> tuple[Notice, ...]:
    return resolve(some, *world)


@given(worlds(), st.lists(routes(), max_size=6))
def test_no_channel_reaches_the_person_or_a_party(world: tuple[Subject, Facts], some: list[Route]) -> None:
    subject, facts = world
    for notice in told(world, some):
        assert notice.address not in facts.party_addresses
        assert not any(str(who) in notice.target for who in subject.excluded)
        assert notice.target != "self", "the decoy is a human's to send"


@given(worlds(), st.lists(routes(), max_size=6))
def test_who_may_be_at_the_address_is_never_told_as_a_contact(world: tuple[Subject, Facts], some: list[Route]) -> None:
    near = {f"contact:{one.contact_id}" for one in world[1].contacts if one.may_be_at_address}
    assert not near & {notice.target.partition("/")[0] for notice in told(world, some)}


@given(worlds(), st.lists(routes(), max_size=6))
def test_who_only_looks_is_a_bystander_and_can_acknowledge_nothing(
    world: tuple[Subject, Facts], some: list[Route]
) -> None:
    for notice in told(world, some):
        is_person = notice.target.startswith("person:")
        assert (person_of(notice.target) is not None) == is_person
        assert is_bystander(notice.target) == notice.target.startswith(("contact:", "volunteer:"))


@given(worlds(), st.lists(routes(), max_size=6))
def test_one_more_stake_takes_away_and_adds_nobody(world: tuple[Subject, Facts], some: list[Route]) -> None:
    subject, facts = world
    wider = replace(subject, excluded=subject.excluded | {PEOPLE[0]})
    left = {notice for notice in resolve(some, wider, facts) if notice.target != "desk"}
    before = {notice.address for notice in resolve(some, subject, facts)}
    assert {notice.address for notice in left} <= before
