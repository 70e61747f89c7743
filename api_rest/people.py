"""People: an admin brings them into being, in batches that can be repeated."""

from typing import Annotated, Self
from uuid import uuid4

from pydantic import Field, StringConstraints, model_validator

from api_rest.context import Body, Call, NoQuery, Reply
from api_rest.route import ADMIN, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, Email, Line
from config.limits import PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PASSWORDS_PER_BATCH_MAX, PEOPLE_PER_BATCH_MAX
from engine.core.errors import Conflict, InvalidInput
from engine.core.ids import PersonId
from engine.core.vocabulary import Role
from engine.people.people_store import NewPerson, create_people


class BatchPerson(Body):
    """One person. A known `external_ref` is updated: what is left out stays as it is."""

    role: Role
    full_name: Line
    email: Email | None = None
    phone: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    """International form (E.164): `+351912345678`."""
    password: Annotated[str, StringConstraints(min_length=PASSWORD_CHARS_MIN, max_length=PASSWORD_CHARS_MAX)] | None = (
        None
    )
    external_ref: Line | None = None
    skills: Annotated[list[Line], Field(max_length=24)] | None = None
    rating: Annotated[float, Field(ge=0, le=5)] | None = None
    experience: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _fields_fit_the_role(self) -> Self:
        for_workers = (self.skills, self.rating, self.experience)
        if self.role is not Role.WORKER and any(value is not None for value in for_workers):
            raise ValueError("skills, rating and experience are for workers")
        if self.password is not None and self.email is None:
            raise ValueError("a password needs an e-mail to sign in with")
        return self


class Batch(Body):
    """People who shall exist."""

    people: Annotated[list[BatchPerson], Field(min_length=1, max_length=PEOPLE_PER_BATCH_MAX)]

    @model_validator(mode="after")
    def _few_passwords(self) -> Self:
        if sum(person.password is not None for person in self.people) > PASSWORDS_PER_BATCH_MAX:
            raise ValueError(f"at most {PASSWORDS_PER_BATCH_MAX} people with a password in one batch")
        return self


class BatchItem(Answer):
    """A person as stored, and the code that signs them in once."""

    person_id: PersonId
    external_ref: str | None
    enrolment_code: str


class BatchAnswer(Answer):
    """The people, in the order in which they were sent."""

    items: list[BatchItem]


async def create_batch(call: Call[Batch, NoQuery]) -> Reply:
    """Create or update people, all or none."""
    hashes = await call.services.passwords.hash_all([person.password for person in call.body.people])
    people = [
        NewPerson(
            person_id=PersonId(uuid4()),
            role=person.role,
            full_name=person.full_name,
            email=person.email,
            phone=person.phone,
            password_hash=password_hash,
            external_ref=person.external_ref,
            skills=None if person.skills is None else tuple(person.skills),
            rating=person.rating,
            experience=person.experience,
        )
        for person, password_hash in zip(call.body.people, hashes, strict=True)
    ]
    created = await create_people(call.conn, people, admin=call.principal, now_ms=call.now_ms)
    return Reply(
        {
            "items": [
                {
                    "person_id": str(person.person_id),
                    "external_ref": person.external_ref,
                    "enrolment_code": person.enrolment_code,
                }
                for person in created
            ]
        }
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/people/batch",
        access=ADMIN,
        handler=create_batch,
        summary="Create or update people",
        uses=Uses.TRANSACTION,
        body=Batch,
        answer=BatchAnswer,
        key=Key.REQUIRED,
        errors=(InvalidInput, Conflict),
    ),
)
