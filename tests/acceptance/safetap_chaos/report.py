"""The figures of a run, a line each."""

from collections import Counter

from tests.acceptance.safetap_chaos.history import extra_deliveries
from tests.acceptance.safetap_chaos.lateness import Reason, percentile
from tests.acceptance.safetap_chaos.run import Outcome

FAULTS_SHOWN = 30
TARGET_MS = {Reason.QUIET: 250, Reason.ESCALATOR: 1_500, Reason.NO_ESCALATOR: None, Reason.POSTGRES: 5_000}


def describe(outcome: Outcome) -> str:
    """Return the figures, and what is wrong."""
    history, rows = outcome.history, outcome.rows
    kills = Counter(kill.kind for kill in history.kills)
    places = Counter(kill.where for kill in history.kills if kill.where is not None)
    spooled = sum("spooled" in press.told for press in history.presses.values())
    extra = extra_deliveries(history)
    open_at_end = sum(one.state != "closed" for one in rows.incidents)
    return "\n".join(
        [
            f"seed {outcome.plan.seed}, {outcome.seconds:.0f} s",
            f"{len(history.kills)} kills: " + ", ".join(f"{count} {kind}" for kind, count in kills.most_common()),
            f"{sum(places.values())} of them at a named place: "
            + ", ".join(f"{count} {name}" for name, count in sorted(places.items())),
            f"{outcome.disks_lost} disks lost after they acknowledged, {outcome.bytes_lost:,} bytes of spool with them",
            f"{len(history.presses):,} triggers, {spooled:,} spooled first, {len(rows.triggers):,} rows",
            f"{len(rows.incidents):,} incidents, {open_at_end} open at the end; {outcome.answered:,} acts of humans",
            f"{len(rows.notices):,} notices, {len(history.deliveries):,} deliveries, {extra} repeated",
            *(_late(outcome, reason) for reason in Reason),
            outcome.chain,
            f"{len(outcome.faults)} broken promises",
            *outcome.faults[:FAULTS_SHOWN],
        ]
    )


def _late(outcome: Outcome, reason: Reason) -> str:
    values = [late.ms for late in outcome.late if late.reason is reason]
    p50, p99, most = percentile(values, 50), percentile(values, 99), max(values, default=0)
    target = "" if TARGET_MS[reason] is None else f" (target: p99 {TARGET_MS[reason]:,} ms)"
    return f"{len(values):,} steps, {reason.value}: late by p50 {p50} ms, p99 {p99} ms, at most {most:,} ms{target}"
