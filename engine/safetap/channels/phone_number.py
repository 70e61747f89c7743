"""Telephone numbers as providers and people write them. Pure."""

import re
from typing import Final

E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: country code and number, at most 15 digits."""
SEPARATORS: Final = str.maketrans("", "", " \t-.()/\u00a0")


def e164(text: str) -> str | None:
    """Return the number in E.164, or `None`: without its country nobody can tell whose number it is."""
    bare = text.strip().translate(SEPARATORS)
    if bare.startswith("00"):
        bare = f"+{bare[2:]}"
    return bare if E164.fullmatch(bare) else None
