"""Schedules of who is on call: layers that rotate at a local time, and overrides. Pure: the moment is passed in.

A layer hands over every so many days at a wall-clock time of its zone, so that a shift is an hour longer or shorter on
the days on which clocks change. A wall-clock time that a change leaves out counts as if the clock had gone on as before
it; one that comes twice counts the first time (PEP 495, `fold=0`).

    {"tz": "Europe/Lisbon", "layers": [{"name": "first", "every_days": 7, "at": "08:00", "starts_on": "2026-01-05",
                                        "people": ["...", "..."]}]}

Everybody whom a layer has on call is told: a second layer is a second person, not a replacement.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.limits import LAYERS_PER_SCHEDULE_MAX, LINE_CHARS_MAX, ON_CALL_LOOK_AHEAD_MS, PEOPLE_PER_LAYER_MAX
from engine.core.errors import InvalidInput
from engine.core.ids import PersonId
from engine.core.units import ms_from_utc, utc_from_ms

EVERY_DAYS = (1, 7)
"""Daily or weekly hand-over."""


@dataclass(frozen=True, slots=True)
class Layer:
    """People who take turns."""

    name: str
    every_days: int
    at: time
    """Local time of the hand-over."""
    starts_on: date
    """Local date of the first person's first hand-over; before it nobody of the layer is on call."""
    people: tuple[PersonId, ...]


@dataclass(frozen=True, slots=True)
class Override:
    """From one moment (Unix ms, inclusive) to another, somebody stands in for somebody, or comes in addition."""

    starts_at_ms: int
    ends_at_ms: int
    replaces: PersonId | None
    """`None`: `person_id` comes in addition."""
    person_id: PersonId | None
    """`None`: nobody stands in."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Who takes turns, and the exceptions."""

    tz: ZoneInfo
    layers: tuple[Layer, ...]
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Shift:
    """A time (Unix ms, the end exclusive) during which the same people are on call."""

    starts_at_ms: int
    ends_at_ms: int
    people: tuple[PersonId, ...]


def on_call(schedule: Schedule, at_ms: int) -> tuple[PersonId, ...]:
    """Return who is on call at a moment, each once, in the order of the layers; additions come last.

    Overrides are applied in their order: whoever stands in may in turn be replaced by a later one.
    """
    people = [person for layer in schedule.layers if (person := _turn(layer, schedule.tz, at_ms)) is not None]
    for override in schedule.overrides:
        if not override.starts_at_ms <= at_ms < override.ends_at_ms:
            continue
        if override.replaces is None:
            people.append(_person(override))
        elif override.replaces in people:
            stand_in = [] if override.person_id is None else [override.person_id]
            at = people.index(override.replaces)
            people[at : at + 1] = stand_in
    return tuple(dict.fromkeys(people))


def shifts(schedule: Schedule, from_ms: int, until_ms: int) -> Iterator[Shift]:
    """Yield who is on call from one moment to another, one shift after the other without gaps between them.

    A shift with nobody has no people. Neighbours differ in their people.
    """
    edges = sorted({from_ms, until_ms, *_changes(schedule, from_ms, until_ms)})
    pending: Shift | None = None
    for start_ms, end_ms in pairwise(edges):
        people = on_call(schedule, start_ms)
        if pending is not None and pending.people == people:
            pending = Shift(pending.starts_at_ms, end_ms, people)
            continue
        if pending is not None:
            yield pending
        pending = Shift(start_ms, end_ms, people)
    if pending is not None:
        yield pending


def gaps(schedule: Schedule, from_ms: int) -> list[Shift]:
    """Return the times within `limits.ON_CALL_LOOK_AHEAD_MS` at which nobody is on call."""
    return [shift for shift in shifts(schedule, from_ms, from_ms + ON_CALL_LOOK_AHEAD_MS) if not shift.people]


def end_of_turn_ms(schedule: Schedule, person_id: PersonId, at_ms: int) -> int | None:
    """Return when somebody who is on call hands over as the schedule is written, or `None`: not on call, or no end.

    Looks no further than `limits.ON_CALL_LOOK_AHEAD_MS`.
    """
    end_ms = None
    for shift in shifts(schedule, at_ms, at_ms + ON_CALL_LOOK_AHEAD_MS):
        if person_id not in shift.people:
            break
        end_ms = shift.ends_at_ms
    return end_ms


def handover_ms(layer: Layer, tz: ZoneInfo, number: int) -> int:
    """Return the moment (Unix ms) of a layer's hand-over; number 0 is the first person's beginning."""
    local = datetime.combine(layer.starts_on + timedelta(days=number * layer.every_days), layer.at, tz)
    return ms_from_utc(local.astimezone(UTC))


def parse_schedule(body: object, *, overrides: Sequence[Override] = ()) -> Schedule:
    """Return the schedule that `body` (decoded JSON) describes.

    Raises:
        InvalidInput: with the field (`layers[0].at`) and the rule that it breaks.
    """
    if not isinstance(body, Mapping):
        raise InvalidInput("A JSON object.", field="schedule")
    layers = body.get("layers")
    if not isinstance(layers, list) or not 1 <= len(layers) <= LAYERS_PER_SCHEDULE_MAX:
        raise InvalidInput(f"1 to {LAYERS_PER_SCHEDULE_MAX} layers.", field="layers")
    return Schedule(
        tz=parse_zone(body.get("tz")),
        layers=tuple(_layer(raw, f"layers[{at}]") for at, raw in enumerate(layers)),
        overrides=tuple(overrides),
    )


def _turn(layer: Layer, tz: ZoneInfo, at_ms: int) -> PersonId | None:
    number = _last_handover(layer, tz, at_ms)
    return None if number < 0 else layer.people[number % len(layer.people)]


def _last_handover(layer: Layer, tz: ZoneInfo, at_ms: int) -> int:
    """Return the number of the newest hand-over at or before a moment; negative before the first one."""
    today = utc_from_ms(at_ms).astimezone(tz).date()
    number = (today - layer.starts_on).days // layer.every_days + 1
    while handover_ms(layer, tz, number) > at_ms:
        number -= 1
    return number


def _changes(schedule: Schedule, from_ms: int, until_ms: int) -> Iterator[int]:
    for layer in schedule.layers:
        number = max(0, _last_handover(layer, schedule.tz, from_ms))
        while (edge_ms := handover_ms(layer, schedule.tz, number)) < until_ms:
            if edge_ms > from_ms:
                yield edge_ms
            number += 1
    for override in schedule.overrides:
        yield from (edge for edge in (override.starts_at_ms, override.ends_at_ms) if from_ms < edge < until_ms)


def _person(override: Override) -> PersonId:
    assert override.person_id is not None, "an override that replaces nobody adds somebody"
    return override.person_id


def parse_zone(raw: object) -> ZoneInfo:
    """Return the zone of this name.

    Raises:
        InvalidInput: `tz` names none.
    """
    try:
        if isinstance(raw, str) and raw:
            return ZoneInfo(raw)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise InvalidInput("A zone of the IANA database: Europe/Lisbon.", field="tz")


def _layer(raw: object, field: str) -> Layer:
    if not isinstance(raw, Mapping):
        raise InvalidInput("A JSON object.", field=field)
    name = raw.get("name", "")
    if not isinstance(name, str) or len(name) > LINE_CHARS_MAX:
        raise InvalidInput(f"A text of up to {LINE_CHARS_MAX} characters.", field=f"{field}.name")
    every_days = raw.get("every_days")
    if isinstance(every_days, bool) or every_days not in EVERY_DAYS:
        raise InvalidInput("1 (daily) or 7 (weekly).", field=f"{field}.every_days")
    return Layer(
        name=name,
        every_days=int(every_days),
        at=parse_time(raw.get("at"), f"{field}.at"),
        starts_on=_date(raw.get("starts_on"), f"{field}.starts_on"),
        people=_people(raw.get("people"), f"{field}.people"),
    )


def parse_time(raw: object, field: str) -> time:
    """Return a wall-clock time without a zone.

    Raises:
        InvalidInput: with `field`.
    """
    try:
        if isinstance(raw, str):
            return datetime.strptime(raw, "%H:%M").time()  # noqa: DTZ007 - a wall-clock time; its zone is the schedule's
    except ValueError:
        pass
    raise InvalidInput("A time of day: 08:00.", field=field)


def _date(raw: object, field: str) -> date:
    try:
        day = date.fromisoformat(raw) if isinstance(raw, str) else None
    except ValueError:
        day = None
    if day is None or not 2000 <= day.year <= 2200:  # noqa: PLR2004 - what calendars of time zones can say
        raise InvalidInput("A date from 2000 to 2200: 2026-01-05.", field=field)
    return day


def _people(raw: object, field: str) -> tuple[PersonId, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= PEOPLE_PER_LAYER_MAX:
        raise InvalidInput(f"1 to {PEOPLE_PER_LAYER_MAX} people.", field=field)
    try:
        return tuple(PersonId(UUID(one)) for one in raw)
    except (ValueError, AttributeError, TypeError):
        raise InvalidInput("UUIDs of people.", field=field) from None
