"""Travel times: road graphs and routers."""

from typing import Final

ROAD_SNAP_M_MAX: Final = 250
"""A place further than this from every road is off the graph: its time comes from the straight line, and says so."""
ROAD_PLACES_KEPT: Final = 16_384
"""Places whose road is kept, 0.5 MB; a power of two. A new place may take the row of another, which is then snapped
again when it is asked about."""
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
LEARNED_CELLS_MAX: Final = 1_000
"""Cells of 0.7 km2 that learned times tell apart; those with the fewest trips are told by their surroundings."""
LEARNED_WIDE_CELLS_MAX: Final = 300
"""The same for cells of 5 km2, of which there is an entry a pair: 90,000 of them, or half a megabyte in a file."""
CUSTOMER_ETAS_EVERY_MS: Final = 5_000
"""How old an answer of the source about a job may be before it is asked again; till then it goes by the line."""
ARRIVALS_KEPT_MAX: Final = 1_024
"""Answers that an API keeps for those who follow the same trip; beyond it the oldest is asked for again."""
CUSTOMER_ETA_TURN_MS: Final = 200
"""How often a gateway asks the source about those of its jobs that are due."""
CUSTOMER_ETAS_A_TURN_MAX: Final = 64
"""So many at once take 2 ms of the gateway's loop by a road graph; the others wait for the next turn."""
CUSTOMER_ETA_KEPT_MS: Final = 60_000
"""An older answer about a job is forgotten: the customer then gets the straight line's time."""
OWN_TRIPS_MAX: Final = 50_000
"""Trips of our own workers that are learned from at once: the newest."""
OWN_TRIP_MS_MIN: Final = 60_000
"""A shorter way to a customer is none: they were there when they said that they set off."""
OWN_TRIP_MS_MAX: Final = 7_200_000
"""A longer one had a pause in it, or was not ended when it was over."""
OWN_TRIP_FIX_MS: Final = 120_000
"""A trip whose trail begins later than this after it did is passed over: nobody knows where it began."""
CALIBRATION_TRIPS_MAX: Final = 2_000
"""Finished trips that the told intervals are held against at a time: the newest."""
CALIBRATION_DAYS: Final = 14
"""How old they may be."""
CALIBRATION_EVERY_MS: Final = 900_000
"""How often that is done."""
CALIBRATION_TRIPS_MIN: Final = 20
"""An hour or an area with fewer trips is told with their number, and not in the metrics: its share says nothing."""
CALIBRATION_KEPT_MS: Final = 86_400_000
"""Figures that nobody has made anew for so long are of no use."""
