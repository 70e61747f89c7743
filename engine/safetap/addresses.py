"""What counts as an address that a mail can go to. Pure. Numbers: `channels.phone_number`."""

import re
from typing import Final

EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}\.[^@\s.]{2,63}")


def is_email(text: str) -> bool:
    """Return whether `text` looks like an e-mail address; only sending to it tells more."""
    return EMAIL.fullmatch(text) is not None
