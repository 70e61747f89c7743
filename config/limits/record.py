"""What is kept of an incident, and who may stop one."""

from typing import Final

PIN_DIGITS_MIN: Final = 4
"""A shorter PIN is refused with 422."""
PIN_DIGITS_MAX: Final = 8
"""A longer PIN is refused with 422."""
PIN_FAILURES_MAX: Final = 5
"""Wrong PINs of one person within `PIN_WINDOW_MS`; then every PIN is refused with 429, a duress PIN still heard."""
PIN_WINDOW_MS: Final = 900_000
"""How long a wrong PIN counts."""
PIN_ANSWER_MS: Final = 400
"""What a PIN is answered with leaves at the next multiple of this, so that the time tells nothing of what was done."""

assert PIN_DIGITS_MIN < PIN_DIGITS_MAX
