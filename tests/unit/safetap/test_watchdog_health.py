"""What the watchdog outside is told depends on every link, and on none beyond."""

from collections.abc import Mapping

import pytest

from config.limits import WATCH_LATE_MS_MAX
from engine.safetap.watchdog.health import Ailment, Health, MissingPart, Part, ailments

ALL_WORK = {Part.DOOR: 1, Part.ESCALATOR: 2, Part.SENDER: 1}


def health(working: Mapping[Part, int] = ALL_WORK, *, step_late_ms: int = 0, notice_late_ms: int = 0) -> Health:
    return Health(working, [MissingPart("elsewhere", Part.ESCALATOR, 0)], step_late_ms, notice_late_ms)


def test_one_of_several_may_be_missing() -> None:
    assert ailments(health()) == ()
    assert ailments(health(step_late_ms=WATCH_LATE_MS_MAX, notice_late_ms=WATCH_LATE_MS_MAX)) == ()


@pytest.mark.parametrize(
    ("part", "ailment"),
    [(Part.DOOR, Ailment.NO_DOOR), (Part.ESCALATOR, Ailment.NO_ESCALATOR), (Part.SENDER, Ailment.NO_SENDER)],
)
def test_none_of_a_kind_is_an_ailment(part: Part, ailment: Ailment) -> None:
    assert ailments(health(ALL_WORK | {part: 0})) == (ailment,)
    assert ailments(health({kind: count for kind, count in ALL_WORK.items() if kind is not part})) == (ailment,)


def test_work_that_is_not_done_is_one_too() -> None:
    late_ms = WATCH_LATE_MS_MAX + 1
    assert ailments(health(step_late_ms=late_ms)) == (Ailment.STEPS_LATE,)
    assert ailments(health(notice_late_ms=late_ms)) == (Ailment.NOTICES_LATE,)
    assert set(ailments(health({}, step_late_ms=late_ms, notice_late_ms=late_ms))) == set(Ailment)
