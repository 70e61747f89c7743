"""What Prometheus sees of the API: requests by route and status, and how long they took."""

from typing import Final

from prometheus_client import Counter, Histogram

REQUESTS: Final = Counter("clenzy_http_requests_total", "Requests answered.", ["method", "route", "status"])

SECONDS: Final = Histogram(
    "clenzy_http_request_seconds",
    "Time from the request's head to the answer.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
