"""The words of the product as enums: roles, states, reasons. Values are the public protocol's strings."""

from collections.abc import Mapping
from enum import IntFlag, StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """Who somebody is to the product."""

    CUSTOMER = "customer"
    WORKER = "worker"
    DISPATCHER = "dispatcher"
    ADMIN = "admin"


class BookingState(StrEnum):
    """Where a booking stands. Legal moves: `engine.booking.lifecycle.TRANSITIONS`."""

    SEARCHING = "searching"
    OFFERED = "offered"
    ASSIGNED = "assigned"
    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    UNSERVED = "unserved"


class OfferState(StrEnum):
    """Where an offer to one worker stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    HANDED_BACK = "handed_back"
    """It was accepted; its worker has dropped out."""
    REPLACED = "replaced"
    """It was accepted; a worker who is there sooner has taken the job over."""


class Withdrawal(StrEnum):
    """What an offer was withdrawn for, as its worker is told."""

    TAKEN = "taken"
    """Another worker said yes."""
    ASSIGNED = "assigned"
    """The desk gave the job, or this worker, elsewhere."""
    CANCELLED = "cancelled"
    PINNED = "pinned"
    """The desk wants one worker for it."""
    NOT_AVAILABLE = "not_available"
    """Its worker or its door no longer takes part. A safety hold is told so too: the phone may be in wrong hands."""


class MatchingRule(StrEnum):
    """What rules a worker out for a booking. No weight and nobody's word goes against one of these."""

    SKILL = "skill"
    OFF_DUTY = "off_duty"
    BUSY = "busy"
    SAFETY_HOLD = "safety_hold"
    SHIFT = "shift"
    WORKING_TIME = "working_time"
    BLOCKED = "blocked"
    CERTIFICATE = "certificate"
    TOOL = "tool"
    VEHICLE = "vehicle"
    ZONE = "zone"
    CREW = "crew"
    """They have another seat of the same crew."""


class MatchingWarning(StrEnum):
    """What speaks against a worker for a booking, and does not rule them out for the desk."""

    SILENT = "silent"
    TOO_FAR = "too_far"
    DECLINED_BEFORE = "declined_before"
    OVERTIME = "overtime"
    LEVEL = "level"
    PART = "part"
    LANGUAGE = "language"
    ALREADY_ASKED = "already_asked"
    """Another booking's offer rings on this worker's phone; it is withdrawn."""


class Duty(StrEnum):
    """Whether a worker takes part. Fixes of a worker off duty leave no trace but a count."""

    OFF = "off"
    ON = "on"


class FixOutcome(StrEnum):
    """What becomes of a fix that counts. Every sent fix has exactly one of these or one `FixRefusal`."""

    ACCEPTED = "accepted"
    """It is the present, and goes to the trail."""
    STATIC = "static"
    """The worker stands: the present keeps its place and takes the time; the fix goes to the trail."""
    LATE = "late"
    """It is older than the present: it goes to the trail only."""


class FixRefusal(StrEnum):
    """Why a fix was refused. It is counted, and goes nowhere."""

    OFF_DUTY = "off_duty"
    INVALID = "invalid"
    ZERO = "zero"
    FUTURE = "future"
    PAST = "past"
    DUPLICATE = "duplicate"
    INACCURATE = "inaccurate"
    TOO_SOON = "too_soon"
    JUMP = "jump"
    NEAR = "near"


class FixFlag(IntFlag):
    """Bits of a fix record's `flags` byte."""

    CHARGING = 1
    MOCKED = 2
    OFF_DUTY = 128
    """Ours, never a phone's: heard of only because of an open alarm."""


class IncidentKind(StrEnum):
    """What raised an incident."""

    BUTTON = "button"
    HOLD = "hold"
    GESTURE = "gesture"
    DURESS_PIN = "duress_pin"
    DRILL = "drill"
    CHECK_IN_MISSED = "check_in_missed"
    SILENCE = "silence"
    """The phone says nothing any more."""
    LONG_STOP = "long_stop"
    """On the way somebody stands far longer than is usual."""
    OFF_SITE = "off_site"
    """Somebody left the place in the middle of the job, or moves away from it on the way there."""
    OVERRUN = "overrun"
    """Something takes far longer than such jobs usually do."""


SENT_KINDS: Final = (
    IncidentKind.BUTTON,
    IncidentKind.HOLD,
    IncidentKind.GESTURE,
    IncidentKind.DURESS_PIN,
    IncidentKind.DRILL,
)
"""What a phone may send. The other kinds are found by our own watch over jobs under way."""

SEVERITY_AT_FIRST: Final[Mapping[IncidentKind, int]] = MappingProxyType(
    {kind: 2 if kind is IncidentKind.DURESS_PIN else 1 for kind in IncidentKind}
)
"""How severe an incident begins: somebody who is forced to give a PIN is in worse trouble than who presses a button,
and silence may be an empty battery until somebody has looked. Each further sign raises it."""


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    CLOSED = "closed"


class Door(StrEnum):
    """The way a trigger came in."""

    SOCKET = "socket"
    API = "api"
    DIRECT = "direct"
    SMS = "sms"
    VOICE = "voice"
    """A call to the installation's number."""
    BUTTON = "button"
    SHORTCUT = "shortcut"
    """An iOS Shortcut or an Android intent."""
    WATCH = "watch"
    """None: our own watch over jobs under way."""


class DeviceKind(StrEnum):
    """The app of a stock phone tracker."""

    OWNTRACKS = "owntracks"
    OSMAND = "osmand"
    TRACCAR = "traccar"
    OVERLAND = "overland"
    GPSLOGGER = "gpslogger"


class Acknowledgement(StrEnum):
    """What the phone is told: where its trigger is durable."""

    COMMITTED = "committed"
    SPOOLED = "spooled"
    RECEIVED = "received"
    """Nowhere yet for certain: nothing vouches for who sent it."""


class Channel(StrEnum):
    """The way a notice goes out."""

    DESK = "desk"
    EMAIL = "email"
    SMS = "sms"
    VOICE = "voice"
    PUSH = "push"
    """Web Push."""
    FCM = "fcm"
    WEBHOOK = "webhook"


class NoticeState(StrEnum):
    """Where a notice stands."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


class Delivery(StrEnum):
    """What is known of a notice that a provider has taken."""

    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"


class ZoneKind(StrEnum):
    """What a zone is for."""

    SERVICE_AREA = "service_area"
    NO_GO = "no_go"
    SITE = "site"


class ZoneEventKind(StrEnum):
    """What happened between a worker and a zone. Of one pair `enter` and `exit` alternate, `dwell` lies between."""

    ENTER = "enter"
    EXIT = "exit"
    DWELL = "dwell"


class ZoneReason(StrEnum):
    """Why a zone event came to be."""

    MOVED = "moved"
    """A fix showed it when it came."""
    OFF_DUTY = "off_duty"
    """The worker went off duty: nobody follows them any further."""
    ZONE_CHANGED = "zone_changed"
    """The zone was drawn, changed, switched off or deleted around them."""
    RECOVERED = "recovered"
    """It happened while nobody watched; found by comparing with the newest place."""


class WatchStage(StrEnum):
    """How far the watch over one person on one job has come."""

    CALM = "calm"
    ASKED = "asked"
    """They were asked how they are and have not answered yet."""
    CLIMBED = "climbed"
    """Nobody answered: an incident tells of it, until a human closes that."""


class WatchPhase(StrEnum):
    """What somebody who is watched is doing."""

    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    IN_PROGRESS = "in_progress"
    LEAVING = "leaving"
    """Somebody else ended the job: its worker is watched until heard of again."""
