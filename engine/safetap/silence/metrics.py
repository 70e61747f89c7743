"""What the watch counts. Never by person: the figures are of the watch, not of who is watched."""

from prometheus_client import Counter, Gauge, Histogram

WATCHES = Gauge("clenzy_silence_watches", "People on jobs who are watched.")
DECISIONS = Counter("clenzy_silence_decisions_total", "What the watch did.", ["decision", "signal"])
LATENESS = Histogram(
    "clenzy_silence_lateness_seconds",
    "From when a watch was due to when it was looked at.",
    buckets=(0.1, 1, 2, 5, 15, 60),
)
OUTAGES = Gauge("clenzy_silence_outages", "Places where many phones are silent at once.")
ASKS = Counter("clenzy_silence_asks_total", "Text messages to people who chose to be asked by one.", ["outcome"])
