"""The chains of hashes under the flight recorder, the audit log and evidence. Pure: knows no store.

An entry's hash is SHA-256 over the hash of the entry before it and the entry's own canonical text: a JSON array of its
fields as Postgres writes `jsonb`, with the time as whole microseconds. Whoever changes, drops or slips in an entry
must recompute every later hash, and the last one stands in reports that have left the house. Migration 0009 computes
the same when an entry is written; this is the second opinion.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

GENESIS: Final = bytes(32)
"""Stands for the hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as stored: its place in its chain, the text that is hashed, the two hashes that were written with it."""

    place: int
    text: str
    prev_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first entry of a chain that is not what it was, or not where it was."""

    chain: str
    """`incident <id>`, `evidence <id>` or `audit log`."""
    place: int
    problem: str


def canonical_text(fields: Sequence[str | int | UUID | None], body: str) -> str:
    """Return what is hashed of an entry: its fields, then its body, which already is JSON text of Postgres."""
    written = [json.dumps(str(one) if isinstance(one, UUID) else one, ensure_ascii=False) for one in fields]
    return f"[{', '.join([*written, body])}]"


def link_hash(prev_hash: bytes, content: bytes) -> bytes:
    """Return the hash of an entry or a chunk whose predecessor's is `prev_hash`."""
    return hashlib.sha256(prev_hash + content).digest()


def first_broken(chain: str, links: Iterable[Link], *, first: int, last: int | None) -> BrokenLink | None:
    """Return the first link of a chain that does not hold, or `None`.

    Args:
        chain: what to call it.
        links: in the order of their places.
        first: the place where it begins.
        last: the place where it ends, where something else says so; `None`: unknown.
    """
    return next(_broken(chain, links, first=first, last=last), None)


def _broken(chain: str, links: Iterable[Link], *, first: int, last: int | None) -> Iterator[BrokenLink]:
    place, before = first, GENESIS
    for link in links:
        if link.place != place:
            yield BrokenLink(chain, place, "is missing")
        if link.prev_hash != before:
            yield BrokenLink(chain, place, "does not follow the one before it")
        if link.hash != link_hash(link.prev_hash, link.text.encode()):
            yield BrokenLink(chain, place, "is not what was written")
        place, before = place + 1, link.hash
    if last is not None and place <= last:
        yield BrokenLink(chain, place, "is missing")
    if last is not None and place > last + 1:
        yield BrokenLink(chain, last + 1, "is more than the incident knows of")
