"""Fixes, cells, trails, the feed and zones."""

from typing import Final

# Ingest
FLUSH_TICK_MS: Final = 10
"""Fixes are gathered this long, then one scripted Redis call moves them."""
FLUSH_FIXES_MAX: Final = 20_000
"""Fixes judged in one pass, and workers moved by one call: a full pass starts at once, further workers wait a tick."""
INGEST_RETRY_MS: Final = 100
"""Pause after a flush that Redis did not answer. Only the newest fix of each worker waits meanwhile, unacknowledged."""
SLOTS_MAX: Final = 4_194_304
"""Worker slots that a gateway's tables can hold (200 bytes each, grown on demand); a higher one is refused."""
REDIS_TIMEOUT_MS: Final = 2_000
"""A Redis that has not answered by then counts as away."""

# Fixes. What an installation may tune (`config.settings`, docs/operations.md) stands here with its default.
FIX_FUTURE_MS_MAX: Final = 30_000
"""A fix further ahead of our clock is refused as `future`."""
FIX_AGE_MS_MAX: Final = 86_400_000
"""An older fix is refused as `past`."""
FIX_ACCURACY_M_MAX: Final = 200
"""A fix with a larger stated error radius is refused as `inaccurate`."""
FIX_SPEED_MPS_MAX: Final = 45
"""A step that needs more than this (162 km/h) is refused as `jump`."""
FIX_JUMP_SLACK_M: Final = 50
"""Free metres of a step, for GPS noise between two close fixes."""
JUMP_RESET_FIXES: Final = 5
"""After so many refused jumps in a row that agree with one another the worker really is there: it counts."""
FIX_REORDER_MS: Final = 3_000
"""Refused jumps that come out of order by no more than this do not begin their count anew."""
FIX_STATIC_RADIUS_M: Final = 50
"""A standing phone's fix within its error radius, and this, of the present place is `static`; 0: none is."""
FIX_STATIC_CM_S_MAX: Final = 50
"""A phone that states a higher speed is not standing."""
FIX_DISTANCE_M_MIN: Final = 0
"""A fix nearer than this to the present place is refused as `near`; 0: none is."""
FIX_PERIOD_MS_MIN: Final = 0
"""A fix sooner than this after the newest accepted one is refused as `too_soon`; 0: none is."""
RECENT_FIXES: Final = 16
"""Times of stored fixes that are remembered of each worker (128 bytes), to know a late one that was sent twice."""
CELL_RESOLUTION: Final = 8
"""H3 resolution of the cell index (edge about 461 m)."""
FANOUT_RESOLUTION: Final = 5
"""H3 resolution of the map's fan-out channels."""
SLAB_PAGE_SLOTS: Final = 2_048
"""Worker records of one Redis string (64 KiB)."""
CELL_TAG_RESOLUTION: Final = 7
"""H3 resolution of the ancestor by which a Redis Cluster spreads the cells: coarser ones load its nodes unevenly."""
CELL_KEYS_KNOWN_MAX: Final = 65_536
"""Names of cells that a process remembers; the one not used for longest is made up anew."""
LEAVES_OWED_MAX: Final = 20_000
"""Entries of old cells whose removal a Redis did not answer, tried with the next write; more are left to repair."""
REPAIR_EVERY_MS: Final = 60_000
"""How often the keeper compares cells with records and mends them."""
REPAIR_KEYS_PER_READ: Final = 500
"""Cells that one round trip of a repair reads; the rest follows in the next one."""
REPAIR_GRACE_MS: Final = 30_000
"""An entry newer than its worker's record may be of a write under way; one that is still so after this is removed."""
WORKER_SILENT_MS: Final = 60_000
"""A worker not heard of for this long gets no offer."""

# Trails
TRAIL_FLUSH_MS: Final = 1_000
"""Accepted fixes wait this long, then one COPY stores them. A gateway that is killed loses about as much."""
TRAIL_TICK_MS: Final = 100
"""How often the writer looks whether a batch is full before its time."""
TRAIL_BATCH_FIXES_MAX: Final = 20_000
"""Fixes of one COPY (1.5 MB); the rest follows in the next one at once."""
TRAIL_CHUNK_BYTES: Final = 32_768
"""Of a batch that Postgres is given at once; about 4 ms of its work."""
TRAIL_CHUNK_PAUSE_MS: Final = 4
"""Between two such pieces, for others; with a further batch waiting there is none, so that trails never fall behind."""
TRAIL_BUFFER_FIXES_MAX: Final = 1_000_000
"""Fixes that wait while Postgres is away (32 MB); beyond it the oldest are dropped and counted."""
TRAIL_RETRY_MS: Final = 1_000
"""Pause after a batch that Postgres did not take."""
TRAIL_DRAIN_MS: Final = 2_000
"""A stopping gateway gives its trail this long; what Postgres has not taken by then is lost and logged."""
TRAIL_DAYS_AHEAD: Final = 3
"""Days whose partitions are made ahead."""
TRAIL_KEEP_EVERY_MS: Final = 1_800_000
"""How often the keeper makes the days ahead and drops the old ones."""
TRAIL_DROP_LOCK_MS: Final = 1_000
"""A day that cannot be dropped within this, because somebody reads it, is dropped in a later round."""
TRAIL_SPAN_MS_MAX: Final = 86_400_000
"""A request for a longer piece of a trail is refused with 422."""
TRAIL_ROWS_MAX: Final = 50_000
"""A request for more fixes is refused with 422: ask for a shorter time."""
REPLAY_FIXES_DEFAULT: Final = 1_000
"""Fixes of a page of a replay that names no limit."""
REPLAY_FIXES_MAX: Final = 5_000
"""A page that asks for more is refused with 422."""
REPLAY_STEP_MS_MAX: Final = 60_000
"""A replay that asks for coarser steps is refused with 422."""
TRAIL_GAP_MS: Final = 600_000
"""A line is broken where the phone was silent for longer: nobody knows the way between."""
TRAIL_SIMPLIFY_M_MAX: Final = 1_000
"""A coarser simplification is refused with 422."""

# Feed of the cell index
FEED_HELD_RECORDS_MAX: Final = 200_000
"""Records that wait while a page is read (8 MB); beyond it they are dropped and the page is read again."""
FEED_PING_MS: Final = 1_000
"""How often a feed's connection is asked whether it lives, which also tells how far it is behind."""
FEED_SILENCE_MS: Final = 5_000
"""A feed's connection that has not even answered pings for this long is opened anew, and every page is read."""
FEED_RETRY_MS: Final = 100
"""Pause before a feed's connection is opened again, and after a page that could not be read."""
FEED_LOOK_MS: Final = 30_000
"""Every page is looked at this often although no message of it seems to be missing."""

# Zones
ZONE_POINTS_MAX: Final = 5_000
"""Corners of one zone, those of its holes included; a zone with more is refused with 422."""
ZONE_AREA_M2_MIN: Final = 100
"""A smaller zone is refused with 422: no phone knows its place so well."""
ZONE_AREA_KM2_MAX: Final = 100_000
"""A larger zone is refused with 422."""
ZONE_SPAN_DEG_MAX: Final = 10
"""A zone that is wider or higher is refused with 422."""
ZONE_LAT_DEG_MAX: Final = 80
"""A zone that comes nearer to a pole is refused with 422."""
ZONE_LNG_DEG_MAX: Final = 179
"""A zone that comes nearer to the antimeridian is refused with 422."""
ZONE_HOME_KM_MAX: Final = 1_000
"""A zone further from the organisation's region, which would lie near it with its axes swapped, is refused with 422."""
ZONES_PER_IMPORT_MAX: Final = 1_000
"""Zones of one import; more are refused with 422."""
ZONES_PER_ORG_MAX: Final = 5_000
"""Zones of an organisation; further ones are refused with 409."""
ZONE_FAULTS_TOLD_MAX: Final = 20
"""Faults told of one import, the first ones: mend them and try again."""
ZONE_DWELL_S_MIN: Final = 60
"""A shorter dwell is refused with 422: phones are not heard of so often."""
ZONE_DWELL_S_MAX: Final = 86_400
"""A longer dwell is refused with 422."""
ZONE_EDGE_M_MIN: Final = 25
"""Who is in a zone leaves it only this far beyond its edge: a parked phone drifts."""
ZONE_EDGE_M_MAX: Final = 150
"""However inexact a fix: beyond this who was in a zone has left it."""
ZONE_EDGE_ACCURACIES: Final = 2
"""Between the two, so many of the fix's stated error radii beyond the edge."""
ZONE_TICK_MS: Final = 100
"""Moves are gathered this long, then judged and their events stored."""
ZONE_INBOX_MOVES_MAX: Final = 1_000_000
"""Moves that wait for being judged (40 MB); beyond it they are dropped and counted, and everything is compared anew."""
ZONE_PENDING_MAX: Final = 100_000
"""Events that wait while Postgres is away; beyond it they are dropped and counted, and everything is compared anew."""
ZONE_BATCH_MAX: Final = 1_000
"""Events of one transaction; the rest follows in the next one at once."""
ZONE_STANDBY_MS: Final = 1_000
"""How often a zone watch that stands by tries to become the active one."""
ZONE_CHECK_MS: Final = 2_000
"""How often duty and dwell are looked at without being woken."""
ZONE_RELOAD_MS: Final = 30_000
"""How often zones are read without being woken."""
ZONES_PER_READ_MAX: Final = 4
"""Zones that are read and covered by cells in one go; the next go follows at once."""
ZONE_STALL_MS: Final = 6_000
"""A zone watch whose connection stands still for this long is cut off by Postgres, so that another may go on."""
ZONE_EVENTS_KEPT_MS: Final = 90 * 86_400_000
"""Zone events older than this are deleted."""

# Mirror of the cell index
PAIRS_MAX: Final = 100_000
"""Pairs of workers near one another in one answer (2.4 MB); of more only the number is told."""
NEARBY_RADIUS_M_MAX: Final = 5_000
"""A wider search of the desk for workers near a place is refused with 422."""
