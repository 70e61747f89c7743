"""Identifiers: one `NewType` a noun, so that a booking's id never lands where a worker's belongs."""

from typing import NewType
from uuid import UUID

OrgId = NewType("OrgId", UUID)
RegionId = NewType("RegionId", UUID)
PersonId = NewType("PersonId", UUID)
BookingId = NewType("BookingId", UUID)
OfferId = NewType("OfferId", UUID)
TriggerId = NewType("TriggerId", UUID)
IncidentId = NewType("IncidentId", UUID)
PolicyId = NewType("PolicyId", UUID)
ScheduleId = NewType("ScheduleId", UUID)
ContactId = NewType("ContactId", UUID)
NoticeId = NewType("NoticeId", UUID)
DeviceId = NewType("DeviceId", UUID)
ZoneId = NewType("ZoneId", UUID)
MatcherId = NewType("MatcherId", UUID)

WorkerSlot = NewType("WorkerSlot", int)
"""A worker's small number (0, 1, 2, ...): its row in every fixed-width table. Never reused."""
