"""What the watch does next: `decide(watch, facts, now_ms, policy)`. Pure, and the only place that decides it.

Each signal has an instant from which it holds: a time after the last sign that all is well. Whoever is silent, stands,
is away or takes long is asked first; who does not answer within the grace, and whose signal has not ended by itself, is
an incident. From no state a missed check-in goes unheard: only an answer, a human who closed the incident, or the
person's own act calms it.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from config.limits import SILENCE_LOOK_MS, SILENCE_LOOK_MS_MIN
from engine.core.units import MS_PER_S
from engine.core.vocabulary import IncidentKind, Role, WatchPhase, WatchStage
from engine.safetap.silence.policy import WatchPolicy
from engine.safetap.silence.watch import OF_POSITIONS, SIGNALS, Facts, Outage, Watch

AT_THE_PLACE: Final = frozenset({WatchPhase.ARRIVED, WatchPhase.IN_PROGRESS})
AGAIN_S_MIN: Final = 900
"""Who said that a long job is all right is asked again no sooner than this."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do until `due_ms`; `None`: nothing at all, until the job or the policy changes."""

    due_ms: int | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask how they are, and look at `due_ms` for the answer."""

    signal: IncidentKind
    due_ms: int


@dataclass(frozen=True, slots=True)
class Climb:
    """Nobody answered: an incident of this kind, and look at `due_ms` whether a human has closed it."""

    signal: IncidentKind
    due_ms: int


@dataclass(frozen=True, slots=True)
class Calm:
    """Back to calm: the signal ended by itself, or a human closed the incident (`is_answer`: that counts as one)."""

    is_answer: bool


@dataclass(frozen=True, slots=True)
class Join:
    """An incident of theirs is open that they raised themselves: the question is part of it, nothing is added."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class End:
    """The job is over and its worker was heard of."""


Decision: TypeAlias = Rest | Ask | Climb | Calm | Join | End


@dataclass(frozen=True, slots=True)
class Signal:
    """From when a signal holds, and when to look whether it does."""

    kind: IncidentKind
    look_ms: int
    holds: bool


def decide(watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> Decision:
    """Return what is to be done with a watch now."""
    match watch.stage:
        case WatchStage.CLIMBED:
            if facts.is_cared_for:
                return Rest(now_ms + SILENCE_LOOK_MS)
            return Calm(is_answer=True)
        case WatchStage.ASKED:
            return _asked(watch, facts, now_ms, policy)
        case WatchStage.CALM:
            return _calm(watch, facts, now_ms, policy)


def signals(watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> list[Signal]:
    """Return every signal that is watched for, in the order of `watch.SIGNALS`."""
    if not policy.is_on or (watch.role is Role.CUSTOMER and not policy.watches_customers):
        return []
    found = [
        one
        for one in (
            _check_in(watch, now_ms, policy),
            _silence(watch, facts, now_ms, policy),
            _place(IncidentKind.OFF_SITE, facts.away_since_ms, policy.off_site_s, watch, facts, now_ms),
            _place(IncidentKind.LONG_STOP, facts.stopped_since_ms, policy.stop_s, watch, facts, now_ms),
            _overrun(watch, facts, now_ms, policy),
        )
        if one is not None
    ]
    assert [one.kind for one in found] == [kind for kind in SIGNALS if kind in {one.kind for one in found}]
    return found


def next_check_in_ms(watch: Watch, policy: WatchPolicy) -> int | None:
    """Return when the person is to say that all is well; `None`: they are not asked to."""
    if policy.check_in_every_s is None or not policy.is_on or watch.phase not in AT_THE_PLACE:
        return None
    if watch.role is Role.CUSTOMER and not policy.watches_customers:
        return None
    since_ms = max(watch.calm_at_ms, watch.phase_since_ms) if watch.role is Role.CUSTOMER else watch.calm_at_ms
    return since_ms + policy.check_in_every_s * MS_PER_S


def _calm(watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> Decision:
    every = signals(watch, facts, now_ms, policy)
    if watch.phase is WatchPhase.LEAVING and _is_away_for_good(watch, facts, every):
        return End()
    if not every:
        return Rest(None)
    is_blind = facts.outage is not None and facts.outage.ended_ms is None
    is_soon = is_blind or facts.is_cared_for or watch.phase is WatchPhase.LEAVING
    looks = [now_ms + SILENCE_LOOK_MS] if is_soon else []
    for one in every:
        if _is_judged(one.kind, facts, is_blind=is_blind):
            if one.holds:
                return Ask(one.kind, now_ms + policy.grace_s * MS_PER_S)
            looks.append(one.look_ms)
    return Rest(max(now_ms + SILENCE_LOOK_MS_MIN, min(looks)))


def _is_judged(kind: IncidentKind, facts: Facts, *, is_blind: bool) -> bool:
    """Return whether a signal means something now.

    Who has an incident open is still reminded of check-ins: their screen must not tell an onlooker of the incident.
    """
    if facts.is_cared_for:
        return kind is IncidentKind.CHECK_IN_MISSED
    return not (is_blind and kind in OF_POSITIONS)


def _asked(watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> Decision:
    assert watch.signal is not None
    assert watch.asked_at_ms is not None
    if facts.is_cared_for:
        ends_ms = watch.asked_at_ms + policy.grace_s * MS_PER_S
        if watch.signal is IncidentKind.CHECK_IN_MISSED and now_ms < ends_ms:
            return Rest(min(ends_ms, now_ms + SILENCE_LOOK_MS))
        return Join(now_ms + SILENCE_LOOK_MS)
    if watch.signal in OF_POSITIONS:
        if _has_ended(watch.signal, watch, facts, now_ms, policy):
            return Calm(is_answer=False)
        if facts.outage is not None and watch.asked_at_ms >= facts.outage.began_ms:
            return _asked_by_our_own_silence(watch, facts, facts.outage, now_ms, policy)
    return _at_the_end_of_grace(watch.signal, watch.asked_at_ms, now_ms, policy)


def _asked_by_our_own_silence(
    watch: Watch, facts: Facts, outage: Outage, now_ms: int, policy: WatchPolicy
) -> Rest | Climb:
    """Judge a question that an outage has brought about: its grace begins once phones can be heard again.

    Until then the clock's own signals count: an answer is waited for already.
    """
    assert watch.signal is not None
    assert watch.asked_at_ms is not None
    if outage.ended_ms is not None:
        return _at_the_end_of_grace(watch.signal, max(watch.asked_at_ms, outage.ended_ms), now_ms, policy)
    for one in signals(watch, facts, now_ms, policy):
        if one.kind not in OF_POSITIONS and one.holds:
            return _at_the_end_of_grace(one.kind, max(watch.asked_at_ms, one.look_ms), now_ms, policy)
    return Rest(now_ms + SILENCE_LOOK_MS)


def _at_the_end_of_grace(signal: IncidentKind, since_ms: int, now_ms: int, policy: WatchPolicy) -> Rest | Climb:
    ends_ms = since_ms + policy.grace_s * MS_PER_S
    if now_ms < ends_ms:
        return Rest(ends_ms)
    return Climb(signal, now_ms + SILENCE_LOOK_MS)


def _has_ended(kind: IncidentKind, watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> bool:
    """Return whether a signal of positions has ended by itself: the phone talks again, moved on, came back.

    A fix newer than the question is needed to say so, and switching the watch off says nothing.
    """
    assert watch.asked_at_ms is not None
    if facts.heard_ms is None or facts.heard_ms <= watch.asked_at_ms:
        return False
    if kind is IncidentKind.SILENCE:
        return True
    return not any(one.kind is kind and one.holds for one in signals(watch, facts, now_ms, policy))


def _is_away_for_good(watch: Watch, facts: Facts, every: list[Signal]) -> bool:
    """Return whether the worker of a job that somebody else has ended was heard of after it, or is not watched for."""
    if watch.role is Role.CUSTOMER or not every:
        return True
    return max(facts.heard_ms or 0, watch.calm_at_ms) > watch.phase_since_ms


def _check_in(watch: Watch, now_ms: int, policy: WatchPolicy) -> Signal | None:
    due_ms = next_check_in_ms(watch, policy)
    return None if due_ms is None else Signal(IncidentKind.CHECK_IN_MISSED, due_ms, holds=now_ms >= due_ms)


def _silence(watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> Signal | None:
    if policy.silent_s is None or watch.role is not Role.WORKER:
        return None
    heard_ms = max(facts.heard_ms or 0, watch.calm_at_ms, _outage_end(facts))
    due_ms = heard_ms + max(policy.silent_s, facts.silent_after_s) * MS_PER_S
    return Signal(IncidentKind.SILENCE, due_ms, holds=now_ms >= due_ms)


def _place(
    kind: IncidentKind, since_ms: int | None, after_s: int | None, watch: Watch, facts: Facts, now_ms: int
) -> Signal | None:
    """Judge a place by fixes: what the newest of them does not show has not happened."""
    if after_s is None or watch.role is not Role.WORKER or watch.phase is WatchPhase.LEAVING:
        return None
    if kind is IncidentKind.LONG_STOP and watch.phase is not WatchPhase.EN_ROUTE:
        return None
    after_ms = after_s * MS_PER_S
    if since_ms is None or facts.heard_ms is None:
        return Signal(kind, now_ms + after_ms, holds=False)
    begun_ms = max(since_ms, watch.calm_at_ms, watch.phase_since_ms)
    holds = facts.heard_ms - begun_ms >= after_ms
    return Signal(kind, max(begun_ms + after_ms, now_ms + SILENCE_LOOK_MS_MIN), holds=holds)


def _overrun(watch: Watch, facts: Facts, now_ms: int, policy: WatchPolicy) -> Signal | None:
    if policy.overrun_s is None or facts.overrun_after_s is None:
        return None
    if watch.role is not Role.WORKER or watch.phase is WatchPhase.LEAVING:
        return None
    after_s = max(policy.overrun_s, facts.overrun_after_s)
    due_ms = watch.phase_since_ms + after_s * MS_PER_S
    if watch.calm_at_ms > watch.phase_since_ms:
        due_ms = max(due_ms, watch.calm_at_ms + max(AGAIN_S_MIN, after_s // 4) * MS_PER_S)
    return Signal(IncidentKind.OVERRUN, due_ms, holds=now_ms >= due_ms)


def _outage_end(facts: Facts) -> int:
    """Return when phones could be heard again; nobody is silent because of what came before."""
    return 0 if facts.outage is None or facts.outage.ended_ms is None else facts.outage.ended_ms
