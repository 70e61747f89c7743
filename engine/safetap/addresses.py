"""What counts as an address that a notice can go to. Pure."""

import re
from typing import Final

PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: a plus sign, the country's code, at most 15 digits."""
EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}\.[^@\s.]{2,63}")


def is_phone(text: str) -> bool:
    """Return whether `text` is a phone number in the form of E.164."""
    return PHONE.fullmatch(text) is not None


def is_email(text: str) -> bool:
    """Return whether `text` looks like an e-mail address; only sending to it tells more."""
    return EMAIL.fullmatch(text) is not None


def normal_phone(text: str) -> str | None:
    """Return a number that people wrote with spaces and the like in the form of E.164; `None`: it has no country."""
    digits = re.sub(r"[\s().\-/]", "", text)
    number = f"+{digits[2:]}" if digits.startswith("00") else digits
    return number if is_phone(number) else None
