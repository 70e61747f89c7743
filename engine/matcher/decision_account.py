"""What is kept of a decision: from the value that was decided to its record, and from it the question again. Pure."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

import numpy as np

from config.limits import WHY_CANDIDATES_MAX
from engine.core.ids import PersonId
from engine.eta.source import EtaMatrix
from engine.matcher import kernels as at
from engine.matcher.ask import Ask, Wants
from engine.matcher.decision import BEYOND_CAP, Decision
from engine.matcher.decision_record import (
    IS_BLOCKED,
    IS_PREFERRED,
    WAS_ASKED,
    Asked,
    DecisionRecord,
    Listed,
    Query,
    Ranked,
    Rows,
)
from engine.matcher.excluded import RULES, broken_rules, costs_without_rules
from engine.matcher.frame import SKILL_BITS, Apart, Frame, laid_over, term_columns
from engine.matcher.kernels import IntArray
from engine.matcher.plan import Share
from engine.matcher.pricing import price_list
from engine.matcher.shortlist import Shortlist

RULE_NAMES: Final = (*RULES, BEYOND_CAP)
SOMEBODY: Final = frozenset({PersonId(UUID(int=0))})
"""Stands for whomever the customer prefers: what counts of them is that there is somebody, and their rows."""


def record_of(decision: Decision, *, worker_id: Callable[[int], UUID]) -> DecisionRecord:
    """Return what is kept of a decision; `worker_id` says whose a slot is."""
    listed = decision.shortlist
    query = listed.query
    frame, apart, order = _everybody(listed)
    prices = price_list([listed], [decision.arrivals])
    row_of = {slot: row for row, slot in enumerate(frame.slots.tolist())}
    all_rows = np.arange(len(frame.slots), dtype=np.int32)
    terms = term_columns(frame, all_rows, query, apart)
    with laid_over(frame, apart, query):
        rules = broken_rules(frame, listed.ask, query)
        unruled = costs_without_rules(frame, listed.ask, query)
    rules[order[~prices.is_in_time]] |= 1 << RULE_NAMES.index(BEYOND_CAP)
    ranked = prices.choices(prices.best(WHY_CANDIDATES_MAX))
    late = int(np.count_nonzero(~prices.is_in_time))
    skill_row = at.LEVELS + listed.ask.skill_bit
    return DecisionRecord(
        asked=_asked(listed),
        looked_at=listed.looked_at,
        ruled_out=listed.ruled_out | ({BEYOND_CAP: late} if late else {}),
        term_names=tuple(terms),
        rule_names=RULE_NAMES,
        share=_share(decision.share),
        worker_ids=tuple(worker_id(slot) for slot in frame.slots.tolist()),
        rows=Rows(
            slots=frame.slots.astype(np.int32),
            matrix=np.vstack((frame.matrix[: at.LEVELS], frame.matrix[skill_row : skill_row + 1])),
            mask=frame.mask,
            fixed=frame.fixed,
            apart=_bits(apart, len(frame.slots)),
            rules=rules,
            unruled=unruled,
            terms=np.array([*terms.values()], np.float32),
        ),
        listed=_listed(listed, order, decision.arrivals, prices.cost_min),
        query=Query(query.numbers, query.need),
        ranked=Ranked(
            row=np.array([row_of[each.slot] for each in ranked], np.int32),
            cost=np.array([each.cost_min for each in ranked], np.float64),
            eta_s=np.array([each.eta_s for each in ranked], np.int32),
            to_ask=np.array([row_of[each.slot] for each in decision.to_ask], np.int32),
        ),
    )


def question_of(record: DecisionRecord) -> tuple[Frame, Ask, Apart]:
    """Return what a shortlist is made of, as it was."""
    asked, rows = record.asked, record.rows
    n = len(rows.slots)
    matrix = np.zeros((at.LEVELS + SKILL_BITS, n), np.float32)
    matrix[: at.LEVELS] = rows.matrix[: at.LEVELS]
    matrix[at.LEVELS + asked.skill_bit] = rows.matrix[at.LEVELS]
    frame = Frame(
        slots=rows.slots.astype(np.int64),
        matrix=matrix,
        mask=rows.mask.copy(),
        fixed=rows.fixed,
        origin_lat_deg=asked.origin_lat_deg,
        origin_lng_deg=asked.origin_lng_deg,
        epoch_ms=asked.epoch_ms,
    )
    wants = Wants(
        service_id=None if asked.service_id is None else UUID(asked.service_id),
        certificates=asked.certificates,
        tools=asked.tools,
        vehicles=asked.vehicles,
        parts=asked.parts,
        languages=asked.languages,
        level=asked.level,
        duration_min=asked.duration_min,
        preferred=SOMEBODY if asked.has_preferred else frozenset(),
        is_in_area=asked.is_in_area,
    )
    ask = Ask(asked.lat_deg, asked.lng_deg, asked.skill_bit, asked.risk, wants)
    who = (np.flatnonzero(rows.apart & bit).astype(np.int32) for bit in (WAS_ASKED, IS_BLOCKED, IS_PREFERRED))
    return frame, ask, Apart(*who)


def arrivals_of(record: DecisionRecord) -> EtaMatrix | None:
    """Return what the source of travel times answered; `None` where it was not asked."""
    listed = record.listed
    if not len(listed.outcome):
        return None
    return EtaMatrix(listed.eta_s, listed.low_s, listed.high_s, listed.outcome)


def _everybody(listed: Shortlist) -> tuple[Frame, Apart, IntArray]:
    """Return shortlist and near losers as one frame, by slot, who is apart in it, and where the shortlist stands."""
    own, near = listed.frame, listed.excluded
    slots = np.concatenate((own.slots, near.frame.slots))
    order = np.argsort(slots, kind="stable")
    place = np.empty(len(slots), np.int32)
    place[order] = np.arange(len(slots))
    m, apart = len(own.slots), listed.apart
    frame = Frame(
        slots=slots[order],
        # `take`, for an index would lay the rows out the other way: to the kernels another type of array.
        matrix=np.hstack((own.matrix, near.frame.matrix)).take(order, axis=1),
        mask=np.hstack((own.mask, near.frame.mask)).take(order, axis=1),
        fixed=np.hstack((own.fixed, near.frame.fixed)).take(order, axis=1),
        origin_lat_deg=own.origin_lat_deg,
        origin_lng_deg=own.origin_lng_deg,
        epoch_ms=own.epoch_ms,
    )
    names = ("asked", "blocked", "preferred")
    who = (place[np.concatenate((getattr(apart, name), m + getattr(near.apart, name)))] for name in names)
    return frame, Apart(*who), place[:m]


def _asked(listed: Shortlist) -> Asked:
    ask, frame = listed.ask, listed.frame
    wants = ask.wants
    return Asked(
        lat_deg=ask.lat_deg,
        lng_deg=ask.lng_deg,
        skill_bit=ask.skill_bit,
        risk=ask.risk,
        service_id=None if wants.service_id is None else str(wants.service_id),
        certificates=wants.certificates,
        tools=wants.tools,
        vehicles=wants.vehicles,
        parts=wants.parts,
        languages=wants.languages,
        level=wants.level,
        duration_min=wants.duration_min,
        has_preferred=bool(wants.preferred),
        is_in_area=wants.is_in_area,
        radius_m=listed.radius_m,
        origin_lat_deg=frame.origin_lat_deg,
        origin_lng_deg=frame.origin_lng_deg,
        epoch_ms=frame.epoch_ms,
        now_ms=listed.now_ms,
        k=listed.k,
    )


def _bits(apart: Apart, n: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    bits = np.zeros(n, np.uint8)
    bits[apart.asked] |= WAS_ASKED
    bits[apart.blocked] |= IS_BLOCKED
    bits[apart.preferred] |= IS_PREFERRED
    return bits


def _listed(
    listed: Shortlist, order: IntArray, arrivals: EtaMatrix | None, prices: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Listed:
    none = np.zeros(0)
    times = arrivals or EtaMatrix(none, none, none, np.zeros(0, np.uint8))
    return Listed(
        row=order,
        cost=listed.cost_min,
        eta_s=times.eta_s,
        low_s=times.low_s,
        high_s=times.high_s,
        outcome=times.outcome,
        priced=prices,
    )


def _share(share: Share) -> dict[str, object]:
    way = share.gave_way
    return {
        "mode": share.mode.value,
        "window_ms": share.window_ms,
        "bookings": share.bookings,
        "seat": share.seat,
        "outcome": share.outcome,
        "solver_us": share.solver_us,
        "reserved_slot": share.reserved_slot,
        "gave_way": None
        if way is None
        else {"slot": way.slot, "cost_min": way.cost_min, "more_min": way.more_min, "to_seat": way.to_seat},
    }
