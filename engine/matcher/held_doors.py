"""Which bookings a safety hold closes, as a condition for the matcher's statements.

A hold closes the bookings of the person who is held and those at the door where it happened. Every booking writes its
address anew, so a door is known again by its place, or by its words near that place: another account, another spelling
or a pin a little off must not send the next person there.
"""

from typing import Final

from config.limits import HELD_DOOR_M, HELD_STREET_M
from engine.core.units import METRES_PER_DEG

# Flat-earth metres between two pins; exact enough where only the near ones matter.
_APART_M: Final = f"""
  {METRES_PER_DEG} * sqrt(power(held.lat - asked.lat, 2) + power((held.lng - asked.lng) * cosd(held.lat), 2))
"""

_WORDS: Final = "regexp_replace(lower({}.line), '[^[:alnum:]]+', '', 'g')"


def held(*, people: str) -> str:
    """Return the condition that a hold closes booking `b`, or one of `people` (SQL, comma-separated ids)."""
    return f"""
EXISTS (SELECT FROM safety_hold h
          LEFT JOIN address held ON held.address_id = h.address_id
          LEFT JOIN address asked ON asked.address_id = b.address_id AND asked.org_id = held.org_id
         WHERE h.released_at IS NULL
           AND (h.person_id IN ({people}) OR h.address_id = b.address_id OR {_APART_M} <= {HELD_DOOR_M}
                OR ({_APART_M} <= {HELD_STREET_M} AND {_WORDS.format("held")} = {_WORDS.format("asked")})))
"""
