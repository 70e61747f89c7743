"""Where the audit log's chain ends, to be noted down where nobody who could cut the log can reach.

A chain shows what was changed in it, not that its end is missing: for that somebody must remember an end that it had.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from engine.core.database import Connection
from engine.core.errors import InvalidInput
from engine.safetap.chain import GENESIS, BrokenLink

HEAD: Final = "SELECT position, hash FROM audit_chain ORDER BY position DESC LIMIT 1"
HASH_AT: Final = "SELECT hash FROM audit_chain WHERE position = $1"

FORM: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last entry of the chain at some time; position 0: the log was empty."""

    position: int
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `str` was made of.

        Raises:
            InvalidInput: it was made of no head.
        """
        found = FORM.fullmatch(text.strip())
        if found is None:
            raise InvalidInput("a head is a position, a colon and 64 hexadecimal digits")
        return cls(int(found[1]), bytes.fromhex(found[2]))

    def __str__(self) -> str:
        """Return it in the form that `parse` takes."""
        return f"{self.position}:{self.digest.hex()}"


async def read_audit_head(conn: Connection) -> AuditHead:
    """Return where the chain ends now."""
    row = await conn.fetchrow(HEAD)
    return AuditHead(0, GENESIS) if row is None else AuditHead(row["position"], row["hash"])


async def break_since(conn: Connection, noted: AuditHead) -> BrokenLink | None:
    """Return how the chain fails to lead through a head that was noted down, or `None`."""
    if noted.position == 0:
        return None
    digest = await conn.fetchval(HASH_AT, noted.position)
    if digest is None:
        return BrokenLink("audit log", noted.position, "is missing: the log was cut after it was noted down")
    return None if digest == noted.digest else BrokenLink("audit log", noted.position, "is not what was noted down")
