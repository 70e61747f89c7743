"""Every route of the API, in the order of the documentation."""

from typing import Final

from api_rest import (
    auth,
    bookings,
    config,
    desk_people,
    devices,
    drills,
    evidence,
    incident_record,
    incidents,
    locked_phone,
    me,
    offers,
    people,
    policies,
    privacy,
    push,
    safetap,
    safety,
    safety_pins,
    schedules,
    services,
    silence,
    trail_replays,
    trails,
    trigger_keys,
    watched,
    workers,
    zones,
)
from api_rest.route import AnyRoute, check_table

TABLE: Final[tuple[AnyRoute, ...]] = check_table(
    (
        *config.ROUTES,
        *auth.ROUTES,
        *me.ROUTES,
        *services.ROUTES,
        *bookings.ROUTES,
        *offers.ROUTES,
        *workers.ROUTES,
        *trails.ROUTES,
        *trail_replays.ROUTES,
        *zones.ROUTES,
        *people.ROUTES,
        *devices.ROUTES,
        *trigger_keys.ROUTES,
        *locked_phone.ROUTES,
        *push.ROUTES,
        *safetap.ROUTES,
        *safety_pins.ROUTES,
        *safety.ROUTES,
        *desk_people.ROUTES,
        *policies.ROUTES,
        *schedules.ROUTES,
        *watched.ROUTES,
        *silence.ROUTES,
        *privacy.ROUTES,
        # Before the incidents: `statistics` is no id.
        *incident_record.ROUTES,
        *evidence.ROUTES,
        *drills.ROUTES,
        *incidents.ROUTES,
    )
)
