"""The watch over people on jobs: silence is a signal."""

from typing import Final

SILENCE_POLL_MS: Final = 1_000
"""How often due watches are looked for."""
SILENCE_BATCH_MAX: Final = 64
"""Watches of one cycle; the next cycle follows at once."""
SILENCE_LEASE_MS: Final = 10_000
"""A claimed watch that was not advanced by then may be claimed by another watcher."""
SILENCE_LOOK_MS: Final = 30_000
"""How soon is looked again where something stands in the way of a decision: an outage, an incident that is open."""
SILENCE_LOOK_MS_MIN: Final = 5_000
"""No watch is looked at more often, except when something happens to its job."""
SILENCE_TRAIL_MS: Final = 5_400_000
"""How far back the trail is read for stops and ways; the newest fix is looked for within `SILENCE_HEARD_MS`."""
SILENCE_TRAIL_FIXES_MAX: Final = 2_000
"""Fixes of one watch that are read, the newest; older ones count as not known."""
SILENCE_HEARD_MS: Final = 86_400_000
"""Who was not heard of for longer has never been heard of."""
SILENCE_STOP_M: Final = 75
"""Somebody whose fixes stay within this of the newest stands."""
SILENCE_STRAY_M: Final = 2_000
"""On the way: this much farther from the door than the nearest point so far is away from it."""

# What is usual
USUAL_SPAN_MS: Final = 90 * 86_400_000
"""Jobs that began earlier teach nothing any more."""
USUAL_EVERY_MS: Final = 600_000
"""How often a watcher learns anew."""
USUAL_RATIO_MAX: Final = 8.0
"""A job that took more times as long as planned (or that much less) counts as this: it was forgotten, not worked on."""

# Many phones silent at once
OUTAGE_PHONES_MIN: Final = 4
"""Fewer phones that fall silent together are people, not an outage."""
OUTAGE_SAMPLE_MAX: Final = 32
"""Phones of one region that are asked after."""
OUTAGE_LOOK_BACK_MS: Final = 1_800_000
"""Phones that were heard within this before are expected to be heard."""
OUTAGE_SILENT_MS: Final = 60_000
"""A phone that was heard later is not silent, however often it usually reports."""
OUTAGE_MEASURE_MS: Final = 10_000
"""How often a watcher asks whether many are silent."""

# Policies
CHECK_IN_EVERY_S_MIN: Final = 300
"""A policy that wants check-ins more often is refused with 422."""
WATCH_SPAN_S_MIN: Final = 60
"""A shorter time in a policy is refused with 422."""
WATCH_SPAN_S_MAX: Final = 86_400
"""A longer time in a policy is refused with 422."""
WATCH_STOP_S_MAX: Final = 2_700
"""A longer stop in a policy is refused with 422: the trail is not read that far back."""
WATCH_GRACE_S_MAX: Final = 1_800
"""A longer wait for an answer is refused with 422."""
WATCH_OFF_SITE_M_MIN: Final = 100
"""A smaller site is refused with 422: indoors a phone may be this wrong."""
WATCH_OFF_SITE_M_MAX: Final = 20_000
"""A larger site is refused with 422."""

# Asking and showing
ASK_ATTEMPTS_MAX: Final = 4
"""A text message that was not taken after so many attempts is given up: the grace ends without an answer."""
ASK_RETRY_MS: Final = 10_000
"""Pause between two attempts of one message."""
ASK_LEASE_MS: Final = 20_000
"""A message whose outcome was not written by then is sent again."""
ASK_BATCH_MAX: Final = 50
"""Messages of one round; the next round follows."""
CHECK_IN_FORWARD_MS: Final = 10_000
"""One try of a gateway to hand an answer to SafeTap's door, which may have other PINs to judge before; then the phone
is told to send again."""
CHECK_IN_REPLY_MS: Final = 86_400_000
"""What comes from a number so long after a question went to it is no answer any more."""
CHECK_IN_REPLY_KEPT_MS: Final = 7 * 86_400_000
"""A message that its provider hands on again later than this would count again."""
PEOPLE_PER_NUMBER_MAX: Final = 5
"""People of one number whose PINs a text message is held against; those beyond it are not asked."""
WATCHES_SHOWN_MAX: Final = 200
"""Watches in one answer to a desk: those asked or climbed first, then the most unusual."""
SILENCE_EVENTS_KEPT_MS: Final = 90 * 86_400_000
"""What the watch did is deleted after this long; incidents keep their own record."""

assert SILENCE_POLL_MS < SILENCE_LEASE_MS
assert WATCH_STOP_S_MAX * 1_000 < SILENCE_TRAIL_MS < SILENCE_HEARD_MS
assert WATCH_SPAN_S_MIN <= CHECK_IN_EVERY_S_MIN < WATCH_SPAN_S_MAX
assert WATCH_OFF_SITE_M_MIN < WATCH_OFF_SITE_M_MAX
assert CHECK_IN_REPLY_MS < CHECK_IN_REPLY_KEPT_MS
