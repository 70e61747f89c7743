"""Each hard rule and each warning, alone and together; and that the kernel's masks give the same names."""

from dataclasses import replace

from config.limits import SEARCH_RADIUS_M_MAX, WORKER_SILENT_MS
from engine.core.vocabulary import MatchingRule, MatchingWarning
from engine.matcher.frame import WHY_NOT
from engine.matcher.rules import Drawbacks, Pair, broken_rules, drawbacks_of
from engine.matcher.working_time import Period, WorkingTimeRule

NOW_MS = 10**12
MIN_MS = 60_000
GOOD = Pair(
    is_skilled=True,
    takes_part=True,
    is_busy=False,
    is_held=False,
    is_blocked=False,
    missing_kinds=frozenset(),
    duration_min=60,
    shift_from_ms=None,
    shift_until_ms=None,
    has_shifts=False,
    working_time=WorkingTimeRule(),
    duty=[Period(NOW_MS - 540 * MIN_MS, None)],
)
FINE = Drawbacks(
    silent_ms=0, distance_m=0, said_no=False, level=0.5, level_wanted=0.5, speaks=True, is_asked_elsewhere=False
)
BREAKS = {
    MatchingRule.SKILL: {"is_skilled": False},
    MatchingRule.OFF_DUTY: {"takes_part": False},
    MatchingRule.BUSY: {"is_busy": True},
    MatchingRule.SAFETY_HOLD: {"is_held": True},
    MatchingRule.SHIFT: {"shift_from_ms": NOW_MS + 1, "shift_until_ms": NOW_MS + 9 * 60 * MIN_MS},
    MatchingRule.WORKING_TIME: {"working_time": WorkingTimeRule(daily_min=599)},
    MatchingRule.BLOCKED: {"is_blocked": True},
    MatchingRule.CERTIFICATE: {"missing_kinds": frozenset({"certificate"})},
    MatchingRule.TOOL: {"missing_kinds": frozenset({"tool"})},
    MatchingRule.VEHICLE: {"missing_kinds": frozenset({"vehicle"})},
    MatchingRule.ZONE: {"is_in_area": False},
    MatchingRule.CREW: {"is_on_crew": True},
}
WARNS: dict[MatchingWarning, tuple[dict, dict]] = {
    MatchingWarning.SILENT: ({}, {"silent_ms": WORKER_SILENT_MS + 1}),
    MatchingWarning.TOO_FAR: ({}, {"distance_m": SEARCH_RADIUS_M_MAX + 1}),
    MatchingWarning.DECLINED_BEFORE: ({}, {"said_no": True}),
    MatchingWarning.OVERTIME: ({"shift_from_ms": 0, "shift_until_ms": NOW_MS + 59 * MIN_MS}, {}),
    MatchingWarning.LEVEL: ({}, {"level": 0.4}),
    MatchingWarning.PART: ({"missing_kinds": frozenset({"part"})}, {}),
    MatchingWarning.LANGUAGE: ({}, {"speaks": False}),
    MatchingWarning.ALREADY_ASKED: ({}, {"is_asked_elsewhere": True}),
}


def test_each_rule_is_broken_by_its_own_fact_alone():
    assert broken_rules(GOOD, now_ms=NOW_MS) == ()
    assert list(BREAKS) == list(MatchingRule)
    for rule, fact in BREAKS.items():
        assert broken_rules(replace(GOOD, **fact), now_ms=NOW_MS) == (rule,)


def test_limits_hold_to_the_minute():
    just = replace(GOOD, working_time=WorkingTimeRule(daily_min=600))
    assert broken_rules(just, now_ms=NOW_MS) == ()
    over = replace(GOOD, has_shifts=True)
    assert broken_rules(over, now_ms=NOW_MS) == (MatchingRule.SHIFT,), "planned shifts, and all of them are over"


def test_each_warning_has_its_own_fact_and_breaks_no_rule():
    assert drawbacks_of(GOOD, FINE, now_ms=NOW_MS) == ()
    assert list(WARNS) == list(MatchingWarning)
    for warning, (fact, more) in WARNS.items():
        pair = replace(GOOD, **fact)
        assert drawbacks_of(pair, replace(FINE, **more), now_ms=NOW_MS) == (warning,)
        assert broken_rules(pair, now_ms=NOW_MS) == ()
    assert drawbacks_of(GOOD, replace(FINE, silent_ms=None, distance_m=None), now_ms=NOW_MS) == ("silent",)


def test_the_masks_rule_out_by_the_same_names():
    told_by_masks = {reason for reason, _ in WHY_NOT}
    passed_over = {"declined_before", "silent"}
    assert told_by_masks - passed_over <= set(MatchingRule)
    assert passed_over <= set(MatchingWarning)
