"""The models that several resources share: kinds of text, the pin, and what the protocol calls booking and offer."""

import unicodedata
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api_rest.context import Body, Query
from config.limits import LINE_CHARS_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, TEXT_CHARS_MAX
from engine.core.ids import BookingId, OfferId, PersonId
from engine.core.vocabulary import BookingState, OfferState

YEAR_MIN: Final = 1970
YEAR_MAX: Final = 2200


def printable(text: str) -> str:
    """Refuse what no keyboard types and Postgres cannot store (NUL); tabs and line ends are text."""
    if any(unicodedata.category(letter) == "Cc" and letter not in "\t\n\r" for letter in text):
        raise ValueError("must not hold control characters")
    return text


def of_this_age(moment: datetime) -> datetime:
    """Refuse what no calendar can count on from: nobody plans a shift in the year 1 or 9999."""
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(f"a time from {YEAR_MIN} to {YEAR_MAX}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(of_this_age)]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LINE_CHARS_MAX), AfterValidator(printable)
]
OptionalLine = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=LINE_CHARS_MAX), AfterValidator(printable)
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=TEXT_CHARS_MAX), AfterValidator(printable)]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"),
    AfterValidator(printable),
]
"""An address with one @ and a dotted domain; whether mail arrives there, only mail can tell."""
Secret = Annotated[str, StringConstraints(min_length=1, max_length=LINE_CHARS_MAX)]


class Pin(Body):
    """A point on the map, WGS84 degrees."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lng: Annotated[float, Field(ge=-180, le=180)]


class PageQuery(Query):
    """Which page of a list."""

    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS_DEFAULT
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=LINE_CHARS_MAX)] | None = None


class Answer(BaseModel):
    """The base of everything that goes out: the fields are exactly these."""

    model_config = ConfigDict(extra="forbid")


class PinAnswer(Answer):
    """A point on the map, WGS84 degrees."""

    lat: float
    lng: float


class AddressAnswer(Answer):
    """A door. `entry_notes` is null while withheld."""

    line: str
    floor: str
    entry_notes: str | None


class BookingCustomer(Answer):
    """Who booked. `name` is null while withheld."""

    person_id: PersonId
    name: str | None


class BookingWorker(Answer):
    """Who comes."""

    worker_id: PersonId
    slot: int
    name: str
    rating: float


class BookingEvent(Answer):
    """A move in the life of a booking."""

    version: int
    state_from: BookingState | None = Field(alias="from")
    to: BookingState
    actor_role: Literal["customer", "worker", "dispatcher", "admin", "engine"]
    reason: str
    at: AwareDatetime


class CrewSeat(Answer):
    """A seat of a crew: a booking of its own."""

    seat: int
    role: str
    booking_id: BookingId
    state: BookingState
    worker: BookingWorker | None


class Crew(Answer):
    """The whole that a booking is a seat of. `crew_id` is the booking of the first seat; `version` grows with each."""

    crew_id: BookingId
    version: int
    state: BookingState
    seat: int
    role: str
    seats: list[CrewSeat]


class BookingAnswer(Answer):
    """What was asked for, and how far it is."""

    booking_id: BookingId
    state: BookingState
    version: int
    service_code: str
    service_name: str
    pin: PinAnswer
    address: AddressAnswer
    notes: str
    customer: BookingCustomer
    worker: BookingWorker | None
    eta_s: int | None
    tz: str
    created_at: AwareDatetime
    updated_at: AwareDatetime
    actual_start: AwareDatetime | None
    actual_end: AwareDatetime | None
    events: list[BookingEvent] | None = None
    crew: Crew | None = None
    """Only of a job for several workers."""


class BookingPage(Answer):
    """A page of bookings, newest first."""

    items: list[BookingAnswer]
    next_cursor: str | None


class OfferAnswer(Answer):
    """A booking shown to one worker."""

    offer_id: OfferId
    booking_id: BookingId
    state: OfferState
    service_code: str
    service_name: str
    pin: PinAnswer
    address_line: str
    eta_s: int
    price_minor: int
    currency: str
    duration_min: int
    sent_at: AwareDatetime
    expires_at: AwareDatetime
