"""Who sends a trigger, told from what it shows: an access token, a trigger key, a tracker's token. Needs no store.

Checking a signature costs a tenth of a millisecond, so how many are checked is bounded: what was checked is
remembered by its hash, good or forged, and a source that brings more than its share counts as `unchecked`. Nobody is
refused here: who cannot be verified is a `Stranger`.
"""

import base64
import binascii
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidSignature

from config.limits import (
    CHECKS_BURST,
    CHECKS_PER_S_MAX,
    CHECKS_PER_SOURCE_BURST,
    CHECKS_PER_SOURCE_PER_S_MAX,
    SOURCES_MAX,
    TOKENS_FORGED_MAX,
    TOKENS_KNOWN_MAX,
)
from engine.core.errors import NotSignedIn
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens, Principal
from engine.safetap.budget import Budgets, Rate
from engine.safetap.forwarding import DEVICE_SCHEME
from engine.safetap.key_table import KeyHolder, KeyTable
from engine.safetap.trigger import TokenState

V = TypeVar("V")

BEARER_SCHEME: Final = "Bearer"
KEY_SCHEME: Final = "Trigger-Key"
"""`Authorization: Trigger-Key <secret>`: for who can only send a header."""
SIGNED_SCHEME: Final = "Trigger-Signature"
"""`Authorization: Trigger-Signature <key_id>.<Ed25519 signature of the body, URL-safe base64>`."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of its sender. `source` is where it comes from; `None`: a process of ours vouches for it."""

    scheme: str
    credential: str
    body: bytes
    source: str | None


@dataclass(frozen=True, slots=True)
class Sender:
    """Somebody whom we know."""

    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId
    token_state: TokenState
    issued_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody for whom nothing vouches. `claimed_*` is what they say of themselves, or what a revoked key says."""

    token_state: TokenState
    sender_hash: str
    claimed_person_id: PersonId | None = None
    claimed_org_id: OrgId | None = None


class Latest(Generic[V]):
    """Remembers at most `size_max` values; the one that was not asked for longest goes first."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._values: OrderedDict[bytes, V] = OrderedDict()

    def get(self, key: bytes) -> V | None:
        """Return what `key` stands for."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: bytes, value: V) -> None:
        """Remember."""
        self._values[key] = value
        if len(self._values) > self._size_max:
            self._values.popitem(last=False)


class Senders:
    """Tells senders from strangers."""

    def __init__(self, *, tokens: AccessTokens, keys: KeyTable) -> None:
        self._tokens = tokens
        self._keys = keys
        self._good: Latest[Principal] = Latest(TOKENS_KNOWN_MAX)
        self._forged: Latest[Stranger] = Latest(TOKENS_FORGED_MAX)
        self._checks = Budgets(
            each=Rate(CHECKS_PER_SOURCE_PER_S_MAX, CHECKS_PER_SOURCE_BURST),
            together=Rate(CHECKS_PER_S_MAX, CHECKS_BURST),
            sources_max=SOURCES_MAX,
        )

    def remember(self, shown: Shown) -> bool:
        """Return whether this very credential has been good here before, or is a key that is; checks nothing."""
        if shown.scheme == KEY_SCHEME:
            return self._keys.with_secret(_digest(shown.credential)) is not None
        return self._good.get(_digest(shown.credential)) is not None

    def tell_now(self, shown: Shown, now_ms: int) -> Sender | Stranger | None:
        """Return who sends where memory tells; `None`: `tell` may have to ask Postgres, or refuses it."""
        if shown.credential and shown.scheme.lower() == BEARER_SCHEME.lower():
            return self._by_token(shown, now_ms)
        return None

    async def tell(self, shown: Shown, now_ms: int) -> Sender | Stranger:
        """Return who sends.

        Raises:
            NotSignedIn: it is shown in a way that nobody here knows.
        """
        if shown.scheme in (KEY_SCHEME, DEVICE_SCHEME):
            return await self._by_secret(shown, now_ms)
        if shown.scheme == SIGNED_SCHEME:
            return await self._by_signature(shown, now_ms)
        if shown.scheme.lower() == BEARER_SCHEME.lower():
            return self._by_token(shown, now_ms)
        raise NotSignedIn

    def _by_token(self, shown: Shown, now_ms: int) -> Sender | Stranger:
        # Whoever was signed in once may call for help for ever: a phone in a cellar cannot refresh its token.
        digest = _digest(shown.credential)
        if (principal := self._good.get(digest)) is not None:
            return _signed_in(principal, now_ms)
        if (stranger := self._forged.get(digest)) is not None:
            return stranger
        if not self._checks.spend(shown.source, now_ms):
            return Stranger(TokenState.UNCHECKED, digest.hex(), *claims_of(shown.credential))
        try:
            principal = self._tokens.verify(shown.credential, now_ms, allow_expired=True)
        except NotSignedIn:
            stranger = Stranger(TokenState.FORGED, digest.hex(), *claims_of(shown.credential))
            self._forged.put(digest, stranger)
            return stranger
        self._good.put(digest, principal)
        return _signed_in(principal, now_ms)

    async def _by_secret(self, shown: Shown, now_ms: int) -> Sender | Stranger:
        digest = _digest(shown.credential)
        holder = self._keys.with_secret(digest)
        if holder is None and self._checks.spend(shown.source, now_ms):
            holder = await self._keys.look_up(secret_hash=digest)
        if holder is None or holder.is_tracker is not (shown.scheme == DEVICE_SCHEME):
            return Stranger(TokenState.UNKNOWN, digest.hex())
        return _key_holder(holder, digest)

    async def _by_signature(self, shown: Shown, now_ms: int) -> Sender | Stranger:
        name, _, signature = shown.credential.partition(".")
        digest = _digest(shown.credential)
        if not self._checks.spend(shown.source, now_ms):
            return Stranger(TokenState.UNCHECKED, digest.hex())
        holder = await self._signer(name)
        if holder is None or holder.public_key is None:
            return Stranger(TokenState.UNKNOWN, digest.hex())
        try:
            holder.public_key.verify(base64.urlsafe_b64decode(signature + "=="), shown.body)
        except (InvalidSignature, binascii.Error, ValueError):
            return Stranger(TokenState.FORGED, digest.hex(), holder.person_id, holder.org_id)
        return _key_holder(holder, digest)

    async def _signer(self, name: str) -> KeyHolder | None:
        key_id = _uuid(name)
        if key_id is None:
            return None
        return self._keys.with_id(key_id) or await self._keys.look_up(key_id=key_id)


def claims_of(token: str) -> tuple[PersonId | None, OrgId | None]:
    """Return the person and the organisation that a token names, whoever wrote it."""
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=="))
        person_id, org_id = _uuid(claims.get("sub")), _uuid(claims.get("org"))
    except (IndexError, ValueError, AttributeError):
        return None, None
    return (
        None if person_id is None else PersonId(person_id),
        None if org_id is None else OrgId(org_id),
    )


def _signed_in(principal: Principal, now_ms: int) -> Sender:
    state = TokenState.EXPIRED if principal.expires_at_ms <= now_ms else TokenState.VALID
    return Sender(
        principal.person_id, principal.role, principal.org_id, principal.region_id, state, principal.issued_at_ms
    )


def _key_holder(holder: KeyHolder, digest: bytes) -> Sender | Stranger:
    if not holder.is_live:
        return Stranger(TokenState.REVOKED, digest.hex(), holder.person_id, holder.org_id)
    state = TokenState.VALID if holder.is_tracker else TokenState.KEY
    return Sender(holder.person_id, holder.role, holder.org_id, holder.region_id, state, None)


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode(errors="surrogateescape")).digest()


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None
