"""The words of the product as enums: roles, states, reasons. Values are the public protocol's strings."""

from enum import IntFlag, StrEnum


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


class Duty(StrEnum):
    """Whether a worker takes part. Fixes of a worker off duty leave no trace but a count."""

    OFF = "off"
    ON = "on"


class FixRefusal(StrEnum):
    """Why a fix was refused. Every sent fix is accepted or counted under exactly one of these."""

    INVALID = "invalid"
    FUTURE = "future"
    STALE = "stale"
    JUMP = "jump"
    INACCURATE = "inaccurate"
    OFF_DUTY = "off_duty"


class FixFlag(IntFlag):
    """Bits of a fix record's `flags` byte."""

    CHARGING = 1
    MOCKED = 2


class IncidentKind(StrEnum):
    """What raised an incident."""

    BUTTON = "button"
    HOLD = "hold"
    GESTURE = "gesture"
    DURESS_PIN = "duress_pin"
    DRILL = "drill"


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


class Channel(StrEnum):
    """The way a notice goes out."""

    DESK = "desk"
    EMAIL = "email"
    WEBHOOK = "webhook"


class NoticeState(StrEnum):
    """Where a notice stands."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
