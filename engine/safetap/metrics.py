"""What SafeTap counts, in one place: the door and the notice sender are two processes with the same words."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

FAST: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

TRIGGERS: Final = Counter("clenzy_safetap_triggers", "Triggers by door and outcome.", ["door", "outcome"])
ACKNOWLEDGED_IN: Final = Histogram(
    "clenzy_safetap_acknowledge_seconds", "From a trigger's arrival to its answer.", buckets=FAST
)
UNVERIFIED: Final = Counter(
    "clenzy_safetap_unverified",
    "Triggers that nothing vouches for, by what they showed; `too_many` are not kept.",
    ["why"],
)
OPEN_INCIDENTS: Final = Gauge("clenzy_safetap_incidents_live", "Incidents that are not closed.")
STEP_LATENESS: Final = Histogram(
    "clenzy_safetap_step_lateness_seconds", "How long after its due time a step was taken.", buckets=(*FAST, 5, 10, 60)
)
STEPS: Final = Counter("clenzy_safetap_steps", "Steps taken, by kind.", ["kind"])
SPOOL_BYTES: Final = Gauge("clenzy_safetap_spool_bytes", "Bytes in this process's spool that Postgres does not have.")
OUTAGE_CALLS: Final = Counter(
    "clenzy_safetap_outage_calls", "Calls of this door about alarms that Postgres does not have.", ["outcome"]
)
LIVE_DESKS: Final = Gauge("clenzy_safetap_desks", "Live sockets of desks on this door.")
NOTICES: Final = Counter("clenzy_safetap_notices", "Notices by channel and outcome.", ["channel", "outcome"])
NOTICE_DELAY: Final = Histogram(
    "clenzy_safetap_notice_seconds",
    "From a notice's creation to its delivery.",
    ["channel"],
    buckets=(*FAST, 5, 10, 60),
)
RECEIPTS: Final = Counter(
    "clenzy_safetap_receipts",
    "What providers and receivers told of notices, by channel and outcome.",
    ["channel", "outcome"],
)
REPLIES: Final = Counter(
    "clenzy_safetap_replies", "Answers to text messages and calls, by channel and outcome.", ["channel", "outcome"]
)
PEERS_MISSING: Final = Gauge(
    "clenzy_safetap_peers_missing", "Doors, escalators and senders of which nothing is heard any more.", ["part"]
)
PEERS_MISSED: Final = Counter("clenzy_safetap_peers_missed", "Peers that this process was the first to miss.", ["part"])
OVERDUE: Final = Gauge("clenzy_safetap_overdue_seconds", "How late the most overdue work is by now.", ["work"])
OUTSIDE_PINGS: Final = Counter(
    "clenzy_safetap_outside_pings", "Pings of the watchdog outside: sent, failed, or withheld.", ["outcome"]
)
