"""The ways by which people are told, and what comes back over them."""

from typing import Final

NOTICE_FIRST_MAX: Final = 2_000
"""First notices under way at once on one channel. They wait for no repetition, and for no share of an address."""
NOTICES_AT_ONCE_MAX: Final = 50
"""First notices that a sender begins with at once on one channel; those beyond wait unclaimed, for any sender."""
NOTICE_PLACE_MS: Final = 1_000
"""A receiver that has not answered by then counts as hung, and another notice begins beside it."""
PROVIDER_ANSWER_BYTES_MAX: Final = 65_536
"""What a provider or a receiver answers is read no further."""
WRONG_REPLIES_MAX: Final = 5
"""Wrong codes from one number within the window; what it sends beyond counts for nothing, right or wrong."""
WRONG_REPLY_WINDOW_MS: Final = 3_600_000
"""Wrong codes older than this no longer count."""
PUSH_SUBSCRIPTIONS_PER_PERSON_MAX: Final = 10
"""Browsers, and as many apps, of one person that get pushes; one more takes the place of the oldest."""
PUSH_TTL_S: Final = 600
"""A push that was not delivered by then is of no use: the push service drops it."""
CALLBACK_BYTES_MAX: Final = 65_536
"""A larger request of a phone provider is refused with 413."""
CALLBACK_FIELDS_MAX: Final = 200
"""One with more fields is refused with 422 before its signature is looked at."""
PHONE_DOORS_CHECK_MS: Final = 30_000
"""SafeTap's doors read the registered numbers this often, for what no notification told them."""
PHONE_WORD_CHARS_MIN: Final = 4
"""A shorter word is refused with 422: it would be said by chance."""
PHONE_WORD_CHARS_MAX: Final = 60
"""A longer one is refused with 422: nobody types it in danger."""
CENTRE_SYNC_MS: Final = 5_000
"""How often a monitoring centre is told where the person is now, and whether the incident is closed."""
CENTRE_BATCH_MAX: Final = 50
"""Alarms that one process keeps a centre told of at once; the others wait for the next round."""
