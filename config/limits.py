"""Every limit of the product with its unit in its name, and what happens at it. Their relations are asserted below."""

from typing import Final

# The gateway: frames and connections
FRAME_BYTES_MAX: Final = 65_536
"""A larger frame is refused with `frame_too_large`; a raw socket is then closed with 1009."""
FRAMES_PER_TURN_MAX: Final = 64
"""Frames of one connection handled before the others get their turn."""
FIXES_PER_FRAME_MAX: Final = 50
"""More fixes in one frame: the frame is refused with `too_many_fixes`."""
BAD_FRAMES_MAX: Final = 20
"""Refused frames of one connection within a minute before it is closed with 4408 `abuse`."""
HELLO_TIMEOUT_MS: Final = 10_000
"""A raw socket that has not authenticated by then is closed with 4401."""
CONNECTION_FIXES_PER_S_MAX: Final = 200
"""Token bucket of one connection; the frame beyond it is refused with `too_many`."""
CONNECTION_FIXES_BURST: Final = 2_000
"""Bucket size: an offline phone may bring its backlog at once."""
OUTBOX_FRAMES_MAX: Final = 256
"""Durable frames waiting for one slow reader; beyond it the connection is closed with 4410 `slow_reader`."""
OUTBOX_BUFFER_BYTES_MAX: Final = 32_768
"""Unsent bytes of one connection from which its frames wait in its outbox instead of the socket's buffer."""
OUTBOX_RETRY_MS: Final = 50
"""How often a stalled connection is looked at again."""
CLOSE_TIMEOUT_MS: Final = 2_000
"""A peer that does not answer a close frame by then is cut off."""
CONNECTIONS_MAX: Final = 20_000
"""Open sockets of one gateway, signed in or not; a further one is refused with 503."""
HEARTBEAT_INTERVAL_MS: Final = 25_000
"""How often a Socket.IO client is pinged, counted from its last answer."""
HEARTBEAT_TIMEOUT_MS: Final = 20_000
"""A Socket.IO client that has not answered a ping by then is taken for gone."""
ENGINE_PACKETS_MAX: Final = 256
"""Answers of the Socket.IO protocol itself that wait for one slow reader; at one more it is cut off."""
POLL_PACKETS_MAX: Final = 64
"""Packets of one POST of a polling Socket.IO client; with more its session is closed."""
COMMANDS_PENDING_MAX: Final = 8
"""Commands of one connection under way or waiting; the next one is refused with `too_many`."""
TRIGGERS_PENDING_MAX: Final = 8
"""Different triggers of one connection under way to SafeTap; the next one is refused with `too_many`."""
COMMAND_TIMEOUT_MS: Final = 5_000
"""A command that Postgres has not done by then is answered `unavailable`."""
COMMAND_TEXT_CHARS_MAX: Final = 500
"""A longer text in a command is cut there."""
HOUSEKEEPING_MS: Final = 1_000
"""How often a gateway looks for expired tokens, reports refused fixes and tells consoles their figures."""
SESSION_STATE_TIMEOUT_MS: Final = 2_000
"""Loading the state of one session; later the session starts without it and gets it when Postgres answers."""
ARRIVALS_MAX: Final = 500
"""Sessions that open at the same time and are read, or told to others, in one question; more take several."""
STATE_RELOADS_MAX: Final = 4
"""Sessions whose state is loaded again at the same time, after a gap in the fan-out."""
CADENCE_IDLE_MS: Final = 5_000
"""How often the phone of a worker without a job sends a fix."""
CADENCE_JOB_MS: Final = 2_000
"""The same with a job: a customer watches."""
CADENCE_PARKED_MS: Final = 15_000
"""The same of a worker without a job whose phone has been standing for `PARKED_AFTER_MS`."""
CADENCE_LOW_BATTERY_MS: Final = 15_000
"""The same of a phone that runs low; with a job it keeps to `CADENCE_IDLE_MS`."""
CADENCE_BATCH_MS: Final = 15_000
"""Without a job the phone sends what it gathered in one frame this often: each frame wakes its radio."""
PARKED_AFTER_MS: Final = 120_000
"""Who stands for this long is parked, until the first fix elsewhere."""
BATTERY_LOW_PCT: Final = 15
"""A phone at this or less that is not charging runs low..."""
BATTERY_FINE_PCT: Final = 20
"""...until it is at this or more, or charging."""
ACCEPT_BACKLOG: Final = 4_096
"""Connections that the kernel holds until we accept them; it drops further ones, and their clients try again."""

GC_OBJECTS: Final = 50_000
"""New objects of a gateway from which Python looks for unreachable cycles among them (2 ms)."""

# Gateways that come and go
GATEWAY_PROCESSES_MAX: Final = 64
"""Gateways of one installation on one machine; more are refused at start."""
DRAIN_MS: Final = 25_000
"""A stopping gateway sends its clients away within about this, unless `CLENZY_DRAIN_MS` says otherwise."""
DRAIN_MS_MAX: Final = 600_000
"""A longer `CLENZY_DRAIN_MS` is refused at start."""
DRAIN_WAVE_MS: Final = 250
"""Mean time from one wave to the next; each comes up to half of it earlier or later."""
DRAIN_WAVE_CLIENTS: Final = 100
"""Clients of one wave. Where that many a wave would take longer than allowed, waves are larger."""
DRAIN_RETRY_MS_MAX: Final = 1_000
"""Whoever is sent away is told to wait for a random time up to this before connecting again."""

# Sign-ins that end while their sockets are open
STANDING_TICK_MS: Final = 100
"""How often a gateway asks Postgres whether the sign-ins of new sessions still stand."""
STANDING_CHECK_MS: Final = 60_000
"""How often it asks about all sessions, for what no event told it."""
STANDING_SESSIONS_MAX: Final = 1_000
"""Sessions of one such question; more take several."""
TOKENS_KNOWN_MAX: Final = 20_000
"""Access tokens whose signature a gateway need not check again; beyond it the one known for longest is forgotten."""

# Stock phone trackers
TRACKER_FIXES_MAX: Final = 1_000
"""Fixes of one request; the oldest beyond are left out and counted as `too_many`: a refusal would block the phone."""
TRACKER_BODY_BYTES_MAX: Final = 1_048_576
"""A larger body is refused with 413: 1,000 of Overland's locations take about 600 kB."""
TRACKER_ANSWER_MS: Final = 3_000
"""A request whose fixes Redis has not taken by then is answered 503; the phone sends it again."""
TRACKER_IDLE_MS: Final = 600_000
"""A worker whose trackers have been silent for this long is forgotten until the next request."""
DEVICE_FRESH_MS: Final = 30_000
"""How long a device's token is believed before Postgres is asked again: a revoked one is refused after this at most."""
DEVICE_TRUSTED_MS: Final = 3_600_000
"""While Postgres is away, a token that it has confirmed within this time goes on being believed."""
DEVICE_RETRY_MS: Final = 5_000
"""While Postgres is away, it is asked about one device or worker no more often than this."""
DEVICES_KNOWN_MAX: Final = 20_000
"""Devices that a gateway remembers; beyond it the one not heard of for longest is forgotten."""
DEVICE_LOOKUPS_MAX: Final = 2
"""Tokens that a gateway asks Postgres about at once; made-up ones wait here and not at the pool."""
TRACKER_ALARM_MS: Final = 60_000
"""Alarms of one device without a time of their own are one alarm within this; those after it join its incident."""
TRACKER_PARAMETERS_MAX: Final = 64
"""Fields of one form; a form with more counts as one without any."""
"""Connections that the kernel holds until we accept them; it drops further ones, and the client tries again."""

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
"""Entries of old cells whose removal a Redis did not answer, tried again with the next write; more are left to repair."""
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

# Fan-out
FANOUT_PING_MS: Final = 2_000
"""How often a fan-out connection is asked whether it lives."""
FANOUT_SILENCE_MS: Final = 6_000
"""A fan-out connection that has not even answered pings for this long is opened anew."""
FANOUT_CHANNELS_PER_COMMAND: Final = 1_000
"""Channels of one SUBSCRIBE; more take several."""
CONSOLE_FRAME_MS: Final = 500
"""How often a console gets a frame of its map; a console that has not taken the last one gets one less."""
CONSOLE_FANOUT_CELLS_MAX: Final = 200
"""Map channels that one gateway follows one by one; wider views follow all of them."""
BOOKING_COUNTS_KEPT_MS: Final = 2_000
"""Age at which the console's booking counts are asked of Postgres again."""
RATE_KEPT_MS: Final = 5_000
"""A gateway that has not told its rates for this long is not counted."""
CONSOLE_WORKERS_MAX: Final = 5_000
"""Workers in one console frame; beyond it cells with counts are sent instead."""
CONSOLE_CELL_ZOOM: Final = 12
"""Below this zoom cells with counts are sent."""

# Dispatch
SEARCH_RADIUS_M_MAX: Final = 12_000
"""Nobody further away is asked."""
SEARCH_RINGS_MAX: Final = 26
"""Rings of cells that surely hold everybody within that radius."""
CANDIDATES_MAX: Final = 2_000
"""Candidates whose positions are read for one booking; beyond it those in the farthest cells are left out."""
OFFER_TTL_MS: Final = 20_000
"""An unanswered offer expires and the next best worker is asked."""
BOOKING_SEARCH_MS_MAX: Final = 1_800_000
"""A booking that found nobody by then becomes `unserved`."""
OFFERS_PER_BOOKING_MAX: Final = 25
"""A booking that was offered so often without a yes becomes `unserved`: the desk calls."""
OFFER_ASK_AGAIN_MS: Final = 120_000
"""Who said no, or nothing, is asked again for that booking only when nobody else is left, and after this long."""
DISPATCH_RETRY_MS: Final = 2_000
"""A booking for which nobody was found is tried again after this long."""
DISPATCH_BATCH_MAX: Final = 64
"""Bookings of one claim; the next claim follows at once."""
DISPATCH_POLL_MS: Final = 500
"""How often the matcher looks for due bookings without being woken."""
CLAIM_LEASE_MS: Final = 5_000
"""A claimed booking that was not decided by then may be claimed by another matcher."""
DISPATCH_PARALLEL_MAX: Final = 4
"""Bookings of one batch whose offers are saved at once; each takes a connection of the pool."""
WORKER_REFRESH_MS: Final = 30_000
"""The matcher reads all workers this often, for what no notification told it."""
WORKERS_PER_READ_MAX: Final = 5_000
"""Rows of one statement that reads workers; the next page follows at once."""
STATUS_WRITE_MS: Final = 50
"""Pause between two writes of `geo:status`; changes in between are written together."""
STATUS_CHECK_MS: Final = 1_000
"""Without a change, what Redis holds is compared this often: it may have been restarted."""
WHY_CANDIDATES_MAX: Final = 10
"""Ranked candidates kept in the dispatch log of a decision."""

# Outbox relay
RELAY_BATCH_MAX: Final = 500
"""Events of one relay transaction; the rest follows in the next one at once."""
RELAY_POLL_MS: Final = 500
"""How often the relay looks for events without being woken."""
RELAY_STALL_MS: Final = 10_000
"""An active relay that asks Postgres nothing for this long is cut off by it, so that another may go on."""
RECOVERY_EVENTS_MAX: Final = 200
"""Missed events that a client is sent afterwards; who missed more on a topic gets a snapshot."""
RECOVERY_TOPICS_MAX: Final = 200
"""Topics whose missed events one statement reads, after a gap in the fan-out; the next ones follow at once."""
LISTEN_PROBE_MS: Final = 5_000
"""A connection that waits for notifications is asked this often whether it still lives."""
OUTBOX_KEPT_MS: Final = 86_400_000
"""Published events older than this are deleted: a client that was away for longer gets a snapshot."""

# Keeper
KEEPER_BATCH_MAX: Final = 1_000
"""Rows of one deleting statement."""
KEEPER_PAUSE_MS: Final = 50
"""Pause between two batches, so that a long clean-up leaves room for the day's work."""

# SafeTap
TRIGGER_BYTES_MAX: Final = 8_192
"""A larger request, or message of a desk, is refused at SafeTap's door with 413, or closes the socket."""
ESCALATION_POLL_MS: Final = 1_000
"""How often due steps are looked for without being woken."""
ESCALATION_BATCH_MAX: Final = 200
"""Steps of one cycle; the next cycle follows at once."""
ESCALATION_LEASE_MS: Final = 5_000
"""A claimed step that was not taken by then may be claimed by another loop."""
NOTICE_ATTEMPTS_MAX: Final = 8
"""A notice that was not taken after so many is marked failed."""
NOTICE_SEND_TIMEOUT_MS: Final = 10_000
"""An attempt that the receiver has not answered by then has failed."""
NOTICE_BATCH_MAX: Final = 100
"""Notices under way at once on one channel; the others wait."""
NOTICE_LEASE_MS: Final = 15_000
"""A claimed notice whose outcome was not written by then is sent again, with the same key."""
NOTICE_POLL_MS: Final = 1_000
"""How often due notices are looked for without being woken."""
NOTICES_PER_ADDRESS_MAX: Final = 4
"""Notices under way to one address; the next waits, so that a hung receiver takes few of the sender's slots."""
NOTICE_RETRY_MS_MIN: Final = 1_000
"""The first retry of a notice; each later one waits twice as long."""
NOTICE_RETRY_MS_MAX: Final = 60_000
"""No retry of a notice waits longer."""
TRIGGER_FORWARD_MS: Final = 3_000
"""One try of another process to hand a trigger to the door; after the Unix socket the port is tried."""
DEVICE_LOOKUP_MS: Final = 1_000
"""Asking Postgres whose tracker calls for help; later it is told to send again."""
TRIGGER_COMMIT_MS_MAX: Final = 200
"""A trigger that Postgres has not committed by then goes to the spool; what answers first is told to the phone."""
TRIGGERS_IN_FLIGHT_MAX: Final = 256
"""Commits under way at once; a trigger beyond goes straight to the spool."""
SPOOL_BYTES_MAX: Final = 64 * 1024 * 1024
"""A full spool refuses: the trigger is answered `unavailable` and the phone tries another door."""
SPOOL_REPLAY_MS: Final = 500
"""How often what is spooled is offered to Postgres again."""
SEVERITY_MAX: Final = 5
"""Further triggers no longer raise an incident, and no longer hasten its next step."""
STEPS_PER_POLICY_MAX: Final = 20
"""A policy with more is refused with 422."""
POLICY_DELAY_S_MAX: Final = 86_400
"""A longer delay in a policy is refused with 422."""
POLICY_REPEAT_S_MIN: Final = 10
"""An exhausted ladder is repeated no more often than this."""
FOLLOW_UP_MS: Final = 600_000
"""An acknowledged incident that nobody closed asks again after this long."""
RESPONDERS_MAX: Final = 500
"""People of one organisation whom one step tells, dispatchers first; those beyond are left out and logged."""
CLOSE_REASON_CHARS_MAX: Final = 1_000
"""A longer reason is refused with 422."""
LIVE_FRAMES_MAX: Final = 256
"""Incidents waiting for one slow desk; beyond it its socket is closed with 4410 `slow_reader`."""
LIVE_SOCKETS_MAX: Final = 512
"""Desks on one door; one more is refused with 503."""
LIVE_HEARTBEAT_MS: Final = 20_000
"""A desk whose socket does not answer the transport's ping for this long is taken for gone."""
LIVE_CLOSE_MS: Final = 1_000
"""How long a desk has to answer a close before its connection is cut."""
SNAPSHOT_INCIDENTS_MAX: Final = 1_000
"""Incidents in a desk's snapshot, oldest first; the rest is on the pages of the API."""

# HTTP
CONNECTION_IDLE_MS: Final = 30_000
"""A connection that has not brought a whole head of a request for this long is closed; open websockets are not."""

# REST
BODY_BYTES_MAX: Final = 262_144
"""A larger body is refused with 413."""
BODY_READ_MS: Final = 10_000
"""A body that has not arrived by then is refused with 408."""
PAGE_ROWS_DEFAULT: Final = 50
"""Rows of a page that names no limit."""
PAGE_ROWS_MAX: Final = 200
"""A page that asks for more is refused with 422."""
OPEN_BOOKINGS_TOLD_MAX: Final = 20
"""Open bookings told to a customer at once, the newest first; the rest is on the pages of the list."""
DECISIONS_SHOWN_MAX: Final = 500
"""Decisions shown of one booking, from the first on: more than a search can take."""
PEOPLE_PER_BATCH_MAX: Final = 500
"""A larger batch is refused with 422."""
ACCESS_TOKEN_MS: Final = 900_000
"""An access token is good for this long."""
REFRESH_TOKEN_MS: Final = 30 * 86_400_000
"""A refresh token that was not used by then has ended."""
TOKEN_GRACE_MS: Final = 60_000
"""A socket whose token has expired may refresh it this long before it is closed with 4401."""
DEVICES_PER_WORKER_MAX: Final = 10
"""Trackers of one worker that are not revoked; one more is refused with 409."""
PASSWORDS_PER_BATCH_MAX: Final = 100
"""Passwords in one batch of people (about 20 ms of hashing each); more are refused with 422, codes are not limited."""
PASSWORD_THREADS: Final = 2
"""Threads that hash passwords (19 MiB each); more sign-ins at once wait their turn."""
ENROLMENT_CODE_MS: Final = 7 * 86_400_000
"""An enrolment code that was not used by then has ended."""
SIGN_IN_FAILURES_MAX: Final = 10
"""Failed sign-ins of one account within 15 minutes; more are refused with `too_many`."""
SIGN_IN_WINDOW_MS: Final = 900_000
"""Failed sign-ins older than this no longer count."""
IDEMPOTENCY_KEPT_MS: Final = 86_400_000
"""An answer is kept under its key for this long; then the key is new again."""
IDEMPOTENCY_WAIT_MS: Final = 2_000
"""A second request waits this long for the first one with its key; then it is refused with 409."""
IDEMPOTENCY_KEY_CHARS_MAX: Final = 200
"""A longer key is refused with 422."""
TEXT_CHARS_MAX: Final = 2_000
"""Characters of a note or a reason; a longer one is refused with 422."""
LINE_CHARS_MAX: Final = 200
"""Characters of a name, an address line or a reference; a longer one is refused with 422."""
PASSWORD_CHARS_MIN: Final = 10
"""A shorter new password is refused with 422."""
PASSWORD_CHARS_MAX: Final = 200
"""A longer password is refused with 422."""
READY_PROBE_MS: Final = 1_000
"""How often a process asks its database whether it is there."""
CORS_MAX_AGE_S: Final = 600
"""How long a browser may remember what a page of another origin may do."""

# Processes
DATABASE_POOL_MAX: Final = 8
"""Connections of one process to Postgres; further work waits for a free one."""
DATABASE_CONNECT_MS_MAX: Final = 3_000
"""A Postgres that does not take a connection within this counts as away."""
GATEWAY_POOL_MAX: Final = 4
"""The same of a gateway."""
SAFETAP_POOL_MAX: Final = 4
"""The same of SafeTap's door."""
ZONES_POOL_MAX: Final = 3
"""The same of the zone watch: its turn, its listener, its probe."""
STATEMENT_TIMEOUT_MS: Final = 5_000
"""A statement that Postgres has not done by then is given up; the store counts as away."""
READY_TIMEOUT_MS: Final = 60_000
"""A program that is not ready by then ends the start of the installation, with the reason."""
STOP_TIMEOUT_MS: Final = 10_000
"""A process that was told to stop and still runs by then is killed."""
RESTART_BACKOFF_MS_MIN: Final = 200
"""The first pause before a program is started again."""
RESTART_BACKOFF_MS_MAX: Final = 5_000
"""The pause before a program is started again doubles up to this."""
RESTARTS_AT_START_MAX: Final = 2
"""A program that ends more often before it was ready once ends the installation's start, with the reason."""
RESTART_CALM_MS: Final = 10_000
"""A program that was ready for this long starts again with the shortest pause."""
HEALTH_SILENT_MS: Final = 30_000
"""A process whose `/healthz` does not answer for this long hangs: it is killed and started again."""

assert FIXES_PER_FRAME_MAX * 24 < FRAME_BYTES_MAX
assert FIXES_PER_FRAME_MAX <= FLUSH_FIXES_MAX
assert CONNECTION_FIXES_BURST >= FIXES_PER_FRAME_MAX
assert RECENT_FIXES <= 256
assert FIX_PERIOD_MS_MIN < WORKER_SILENT_MS
assert DISPATCH_POLL_MS < CLAIM_LEASE_MS < OFFER_TTL_MS < BOOKING_SEARCH_MS_MAX
assert ESCALATION_POLL_MS < ESCALATION_LEASE_MS
assert NOTICE_SEND_TIMEOUT_MS < NOTICE_LEASE_MS
assert NOTICE_RETRY_MS_MIN < NOTICE_RETRY_MS_MAX
assert NOTICES_PER_ADDRESS_MAX < NOTICE_BATCH_MAX
assert TRIGGER_COMMIT_MS_MAX < STATEMENT_TIMEOUT_MS
assert DEVICE_LOOKUP_MS + TRIGGER_COMMIT_MS_MAX < TRIGGER_FORWARD_MS
assert RELAY_POLL_MS < RELAY_STALL_MS
assert RECOVERY_EVENTS_MAX < OUTBOX_FRAMES_MAX
assert FANOUT_RESOLUTION < CELL_RESOLUTION
assert CELL_TAG_RESOLUTION < CELL_RESOLUTION
assert 2 * REDIS_TIMEOUT_MS < REPAIR_GRACE_MS < REPAIR_EVERY_MS
assert FANOUT_PING_MS < FANOUT_SILENCE_MS
assert CADENCE_JOB_MS <= CADENCE_IDLE_MS <= CADENCE_PARKED_MS <= CADENCE_LOW_BATTERY_MS < WORKER_SILENT_MS // 2
assert CADENCE_IDLE_MS <= CADENCE_BATCH_MS < WORKER_SILENT_MS // 2
assert BATTERY_LOW_PCT < BATTERY_FINE_PCT
assert NEARBY_RADIUS_M_MAX <= SEARCH_RADIUS_M_MAX
assert FEED_PING_MS < FEED_SILENCE_MS
assert HOUSEKEEPING_MS < RATE_KEPT_MS
assert REPLAY_FIXES_DEFAULT <= REPLAY_FIXES_MAX <= TRAIL_ROWS_MAX
assert TRAIL_SPAN_MS_MAX < 2**31
assert 2 * REPLAY_STEP_MS_MAX < TRAIL_GAP_MS
assert TRAIL_TICK_MS <= TRAIL_FLUSH_MS
assert TRAIL_BATCH_FIXES_MAX <= TRAIL_BUFFER_FIXES_MAX
assert TRAIL_DRAIN_MS + 2 * CLOSE_TIMEOUT_MS < STOP_TIMEOUT_MS
assert DRAIN_WAVE_MS < DRAIN_MS <= DRAIN_MS_MAX
assert RESTART_BACKOFF_MS_MIN < RESTART_BACKOFF_MS_MAX
assert ZONE_EDGE_M_MIN < ZONE_EDGE_M_MAX
assert ZONE_DWELL_S_MIN * 1_000 >= WORKER_SILENT_MS
assert ZONE_TICK_MS < ZONE_CHECK_MS < ZONE_STALL_MS
assert ZONE_BATCH_MAX <= ZONE_PENDING_MAX
assert ZONES_PER_IMPORT_MAX <= ZONES_PER_ORG_MAX
