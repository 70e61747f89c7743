"""The trips of our own workers: from where they set off to the customer's door, and how long it took.

Only what lies in the record already is read: the states of bookings, the door, and the trail's first fix of the way.
What is made of it (medians of cells, shares of intervals) names nobody.
"""

from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.limits import OWN_TRIP_FIX_MS, OWN_TRIP_MS_MAX, OWN_TRIP_MS_MIN
from engine.core.database import Connection
from engine.core.units import DEG_E7, ms_from_utc, utc_from_ms
from engine.eta.trip_table import TripTable

# A worker of a crew or of a job that was given back has a trip only if they arrived themselves.
OWN_TRIPS: Final = """
SELECT b.org_id, left_at.at AS began_at, extract(epoch FROM (there.at - left_at.at))::float8 AS seconds,
       fix.lat_e7, fix.lng_e7, a.lat, a.lng
  FROM booking_event there
  JOIN booking b USING (booking_id)
  JOIN worker w ON w.worker_id = there.actor_id
  JOIN address a USING (address_id)
  CROSS JOIN LATERAL (
    SELECT at FROM booking_event e
     WHERE e.booking_id = there.booking_id AND e.state_to = 'en_route' AND e.version < there.version
     ORDER BY e.version DESC LIMIT 1) AS left_at
  CROSS JOIN LATERAL (
    SELECT lat_e7, lng_e7 FROM trail t
     WHERE t.slot = w.slot AND t.org_id = b.org_id
       AND t.at >= left_at.at AND t.at < left_at.at + $3::integer * interval '1 millisecond'
     ORDER BY t.at LIMIT 1) AS fix
 WHERE there.state_to = 'arrived' AND there.at >= $1 AND there.at < $2
   AND there.at - left_at.at BETWEEN $4::integer * interval '1 millisecond' AND $5::integer * interval '1 millisecond'
 ORDER BY there.at DESC LIMIT $6
"""


@dataclass(frozen=True, slots=True, eq=False)
class OwnTrips:
    """Trips, and the id of the organisation that each was made for."""

    table: TripTable
    org_ids: NDArray[np.object_]


async def read_own_trips(conn: Connection, *, since_ms: int, until_ms: int, limit: int) -> OwnTrips:
    """Return the newest `limit` trips that ended in this time, in the order in which they began."""
    rows = await conn.fetch(
        OWN_TRIPS,
        utc_from_ms(since_ms),
        utc_from_ms(until_ms),
        OWN_TRIP_FIX_MS,
        OWN_TRIP_MS_MIN,
        OWN_TRIP_MS_MAX,
        limit,
    )
    rows.sort(key=itemgetter("began_at"))  # as the table does
    org_ids = np.array([row["org_id"] for row in rows], object)
    told = [
        (
            ms_from_utc(row["began_at"]),
            row["lat_e7"] / DEG_E7,
            row["lng_e7"] / DEG_E7,
            row["lat"],
            row["lng"],
            row["seconds"],
        )
        for row in rows
    ]
    return OwnTrips(TripTable.of(np.array(told, np.float64).reshape(-1, 6)), org_ids)
