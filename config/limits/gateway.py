"""What a gateway takes of its clients, and gives them."""

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
"""How often a Socket.IO client is pinged, counted from its last answer; a raw one after this long without a word of
it, where a frame puts the ping off once. A raw one that has not answered after half of it more is taken for gone."""
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
SESSIONS_PER_TURN_MAX: Final = 100
"""Sessions that are told of refused fixes in a row; then the others get their turn."""
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

OPENING_SESSIONS_MAX: Final = 250
"""Sessions that open at the same time; the next ones wait for a place."""
OPENING_WAITING_MAX: Final = 4_000
"""While so many wait for a place, further sockets are refused with 503 and told when to come again."""
OPENING_WAIT_MS: Final = 8_000
"""Who has had no place by then is refused with `unavailable`, and told when to come again."""
OPENING_RETRY_MS_MIN: Final = 500
"""Nobody is told to come again sooner than after this, give or take a quarter..."""
OPENING_RETRY_MS_MAX: Final = 30_000
"""...nor later than after this; it grows by as long as one session takes with each that is sent away."""

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
