"""What the zone watch counts."""

from prometheus_client import Counter, Gauge, Histogram

ACTIVE = Gauge("clenzy_zone_watch_active", "1 while this process is the watch whose turn it is.")
TURNS_ENDED = Counter("clenzy_zone_turns_ended_total", "Turns that ended and began anew by comparing.", ["why"])
MOVES = Counter("clenzy_zone_moves_total", "Moves judged against zones.")
STRANGERS = Counter("clenzy_zone_strangers_total", "Slots with a place of which Postgres knows no worker.")
EVENTS = Counter("clenzy_zone_events_total", "Zone events stored.", ["kind", "reason"])
DROPPED = Counter(
    "clenzy_zone_dropped_total",
    "Moves or events that were given up unstored; what they led to is found again by comparing.",
    ["what"],
)
PENDING = Gauge("clenzy_zone_pending_events", "Events that wait for Postgres.")
PRESENT = Gauge("clenzy_zone_presences", "Pairs of a worker and a zone in which the worker is.")
JUDGING = Histogram(
    "clenzy_zone_judging_seconds",
    "Time to judge one batch of moves.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
LAG = Histogram(
    "clenzy_zone_lag_seconds",
    "From an event's detection until it is stored.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)
