"""Travel times: road graphs and routers."""

from typing import Final

ROAD_SNAP_M_MAX: Final = 250
"""A place further than this from every road is off the graph: its time comes from the straight line, and says so."""
ROAD_NODES_MAX: Final = 2_000_000
"""A larger extract is refused when it is built: its labels would not fit in the memory of one machine."""
ROUTER_TIMEOUT_MS: Final = 400
"""A router that has not answered within this is taken as down for this question; the straight line answers."""
ROUTER_FAILURES_MAX: Final = 3
"""After so many failures in a row the router is left alone for `ROUTER_REST_MS`."""
ROUTER_REST_MS: Final = 10_000
"""How long a failing router is not asked; then one question tries it."""
ROUTER_PLACES_MAX: Final = 100
"""Places of one question to a router (OSRM's own default limit); the others are answered by the straight line."""
ROUTER_AT_ONCE_MAX: Final = 8
"""Questions that a router is asked at the same time; the others wait for these."""
ROUTER_ANSWER_BYTES_MAX: Final = 262_144
"""A longer answer of a router counts as a failure."""
