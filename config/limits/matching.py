"""Finding a worker for a booking, and telling of it."""

from typing import Final

# Dispatch
SEARCH_RADIUS_M_MAX: Final = 12_000
"""Nobody further away is asked."""
SEARCH_RADIUS_M_MIN: Final = 500
"""A policy whose round looks less far is refused."""
SEARCH_RINGS_MAX: Final = 26
"""Rings of cells that surely hold everybody within that radius."""
CANDIDATES_MAX: Final = 2_000
"""Candidates whose positions are read for one booking; beyond it those in the farthest cells are left out."""
OFFER_TTL_MS: Final = 20_000
"""An unanswered offer expires and the next best worker is asked."""
BOOKING_SEARCH_MS_MAX: Final = 1_800_000
"""A booking that found nobody by then becomes `unserved`."""
OFFERS_AT_ONCE_MAX: Final = 5
"""Workers who are asked together for one booking; a policy that says more is refused."""
OFFER_ANSWER_S_MIN: Final = 5
"""A policy whose offers expire sooner is refused."""
OFFER_ANSWER_S_MAX: Final = 300
"""A policy whose offers expire later is refused."""
OFFER_ROUNDS_MAX: Final = 10
"""Rounds that a policy may describe one by one; all later ones are as the last."""
OFFERS_PER_BOOKING_MAX: Final = 25
"""A booking that was offered so often without a yes becomes `unserved`: the desk calls."""
OFFER_ASK_AGAIN_MS: Final = 120_000
"""Who said no, or nothing, is asked again for that booking only when nobody else is left, and after this long; twice as
long after each further no."""
DISPATCH_RETRY_MS: Final = 2_000
"""A booking for which nobody was found is tried again after this long at first."""
DISPATCH_RETRY_MS_MAX: Final = 10_000
"""The same for one that has been searching for some minutes."""
DISPATCH_BATCH_MAX: Final = 64
"""Bookings of one claim; the next claim follows at once."""
DISPATCH_POLL_MS: Final = 500
"""How often the matcher looks for due bookings without being woken."""
CLAIM_LEASE_MS: Final = 5_000
"""A claimed booking that was not decided by then may be claimed by another matcher."""
DISPATCH_PARALLEL_MAX: Final = 4
"""Bookings of one batch whose offers are saved at once; each takes a connection of the pool."""
HELD_DOOR_M: Final = 60
"""A booking this near to a held door is at that door: it goes to the desk, not to a worker."""
HELD_STREET_M: Final = 1_000
"""A booking with the same address line this near is at that door too, wherever in the street its pin stands."""
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
ETA_CANDIDATES_MAX: Final = 30
"""The cheapest by the straight line whose travel times are asked for; whoever comes after them is not considered."""
NEAR_LOSERS_MAX: Final = 10
"""Workers kept in a decision's record whom a rule excluded: those who would have been cheapest."""
WHY_DIFFERENCES_MAX: Final = 3
"""Terms named of why somebody cost more than the first: those that differ most."""
WHY_SHOWN_MAX: Final = 20
"""Decisions told in full of one booking, the newest; `dispatch` lists what was before."""
DECISION_RECORD_BYTES_MAX: Final = 16_384
"""Bytes of a decision's record; rows and names are bounded so that it stays below, and Postgres refuses more."""
WINDOW_RECORD_BYTES_MAX: Final = 1_048_576
"""Bytes of the problem of one window; a larger one is not kept, and its decisions say so and cannot be replayed."""
DECISION_RECORD_DAYS: Final = 30
"""Days for which records of decisions are kept; fewer where trails are kept for fewer."""
DECISION_RECORD_SLOTS: Final = 32
"""Tables that the days of the records take turns with; the oldest is emptied as a whole."""
DECISION_RECORDS_BYTES_MAX: Final = 8_589_934_592
"""Bytes of all records on disk; beyond it the oldest days go before their time, down to today."""
DECISION_KEEP_EVERY_MS: Final = 600_000
"""How often the keeper looks at both."""
COST_POLICY_KEPT_MS: Final = (DECISION_RECORD_DAYS + 2) * 86_400_000
"""A cost policy that nothing was decided by for so long is forgotten: no record names it any more."""
COST_POLICY_BYTES_MAX: Final = 262_144
"""Bytes of a cost policy with all its overrides; a file that says more is refused."""
WEIGHT_MIN_MAX: Final = 600
"""Minutes that a weight of a cost policy is worth at most; a file with more is refused."""
POLICY_CHECK_MS: Final = 2_000
"""How often the matcher looks whether its cost policy's file has changed."""
FRAME_REFRESH_MS: Final = 1_000
"""What ages by itself (waiting, fixes, shifts) is at most this old in a kept frame; who changed is written at once."""
FRAME_CHANGES_MAX: Final = 4_096
"""Changed workers that a frame keeps count of between two questions; after more it is built anew."""
KIT_BITS: Final = 30
"""Certificates, tools, parts, vehicles and languages that one organisation may name."""
ACCEPTANCE_REFRESH_MS: Final = 300_000
"""How often the answers to offers are counted anew, for the terms of likelihood, jobs and earnings."""
ACCEPTANCE_DAYS: Final = 90
"""Answers older than this say nothing any more."""
FLAGGED_RISK: Final = 0.5
"""A job of this risk or more: a no to it, or none, never counts against anybody."""
WISHES_MAX: Final = 50
"""Preferred, and blocked, workers of a customer."""
SHIFTS_PER_WORKER_MAX: Final = 62
"""Planned shifts that one request may write; they replace those that were planned."""

# Window mode
WINDOW_MS: Final = 1_000
"""Bookings of this long are given out together while there is somebody for each."""
WINDOW_BUSY_MS: Final = 2_000
"""The same while more is asked for than there are hands: then the choice matters more than a moment."""
WINDOW_BOOKINGS_MAX: Final = 512
"""Bookings that one window decides together; the next ones follow at once."""
PRESSURE_OVER_MS: Final = 300_000
"""Over this long the bookings that came in say how busy it is."""
PRESSURE_DRIVE_MS: Final = 240_000
"""Of a worker's time a booking is taken to need this much besides its work: the drive."""
PRESSURE_BOOKINGS_MIN: Final = 10
"""Fewer bookings than this say nothing about how busy it is: they are given out at once."""
PRESSURE_BOOKINGS_MAX: Final = 50_000
"""Bookings of an organisation that are counted; of more, the newest."""
WINDOW_ON_LOAD: Final = 0.6
"""Offered load (work asked for / work that all on duty can do) from which bookings are given out in windows."""
WINDOW_OFF_LOAD: Final = 0.5
"""Below it the next booking is given out at once again."""
WINDOW_BUSY_LOAD: Final = 0.95
"""Offered load from which the long window is used."""
SHORT_LOAD: Final = 1.05
"""Offered load from which hands are short: from here on being late has its price, and nobody is sent far."""
SHORT_NEXT_MS: Final = 480_000
"""While hands are short, who gets nobody in a window is taken to be reached this long after it: what staying costs."""
REACH_GROWTH: Final = 0.5
"""Minutes by which the reach of a booking grows with each minute that it waits while hands are short."""
LOOK_AHEAD_MS: Final = 600_000
"""Who is expected to finish within this long is a candidate of a window; who takes longer is not."""
FINISH_MARGIN_SD: Final = 0.25
"""Standard deviations by which a finish is taken to be later than its estimate."""
FINISH_WAIT_WEIGHT: Final = 0.7
"""A minute until somebody finishes counts as this much of a minute of drive: the customer waits, nobody drives."""
LATE_SPREAD_MS: Final = 20_000
"""How uncertain the arrival of a free worker is when it is asked whether that is late: scale of a logistic curve."""
LATE_SPREAD_SD: Final = 0.5
"""Of one who is still at work this share of the finish's standard deviation more."""
REMATCH_WITHIN_MS: Final = 180_000
"""A worker on the way is given to somebody else in this first part of the drive only; later the choice stands."""
REMATCH_NEAR_MS: Final = 180_000
"""A worker this near to the customer is never taken away."""
REMATCH_GAIN_MS: Final = 20_000
"""A re-match must save all bookings together more than this, or the choice stands."""
REMATCH_LATER_MS: Final = 180_000
"""A re-match lets no customer wait longer than this beyond what was promised, or the choice stands."""
REMATCHES_MAX: Final = 2
"""A booking whose worker was exchanged so often keeps the one it has; a policy that says more is refused."""
REMATCH_POLICY_MIN_MAX: Final = 240
"""Minutes that a re-match policy may name; a file with more is refused."""
REMATCH_LOOK_MS: Final = 15_000
"""How often a matcher looks at a job on the way; what happened in between is seen with the next look."""
REMATCH_POLL_MS: Final = 5_000
"""How often a matcher asks which of them are due."""
REMATCH_BATCH_MAX: Final = 64
"""Jobs on the way that are looked at together; the next ones follow at once."""
REMATCH_NEARER_S: Final = 30
"""Who has come nearer by less than this counts as standing: estimates tremble."""
CREW_STEPS_MAX: Final = 200
"""Steps of the search for crews and shared resources; beyond it the best found is taken and its gap is told."""
CREW_WORK_MAX: Final = 4_000
"""Steps times seats of it in a window: a step solves all of the window several times, 20 ms of one of 500 seats, and
whoever books meanwhile waits for it."""

# Crews and resources
CREW_WORKERS_MAX: Final = 4
"""Seats of one job, the first among them; a service that asks for more is refused."""
RESOURCES_MAX: Final = 500
"""Resources that an organisation may name; more are refused."""
SERVICE_RESOURCES_MAX: Final = 10
"""Resources that one service may take; more are refused."""
RESOURCE_UNITS_MAX: Final = 1_000
"""Units that one resource may have; more are refused."""

# Regions
MATCHER_PROCESSES_MAX: Final = 16
"""Matchers that one supervisor runs; more is refused as a setting."""
MATCHER_BEAT_MS: Final = 1_000
"""How often a matcher renews its lease and looks at who holds which region."""
MATCHER_LEASE_MS: Final = 5_000
"""Who has not renewed for this long no longer takes part: the others take its regions."""
REGION_TAKEOVER_MS_MAX: Final = 7_000
"""Within this long of a matcher's end, however it ended, others dispatch in its regions; else `clenzy doctor` fails."""
MATCHER_LEAVE_MS: Final = 2_000
"""A matcher that stops in good order hands over within this; else its lease runs out."""
MATCHER_KEPT_MS: Final = 3_600_000
"""A matcher that was not heard of for this long is forgotten."""
REGION_RESOLUTION_MAX: Final = 6
"""Resolution of the cell that a booking keeps: regions cannot be finer."""
REGION_BORDER_M: Final = 15_000
"""Workers this far beyond a region are seen by its matcher: the search radius, and how far a cell sticks out of the
coarser one that it belongs to."""
REGION_IDLE_MS: Final = 3_600_000
"""A region where nobody has asked for anything for this long is closed; the next booking founds it again."""
REGION_BUSY_NOTE_MS: Final = 60_000
"""How exactly is kept when somebody last asked in a region."""

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
