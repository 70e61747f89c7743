"""Access tokens: short-lived JWTs signed with Ed25519 (EdDSA). Needs no store, so that SafeTap can check them alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from config.limits import ACCESS_TOKEN_MS
from engine.core.errors import NotSignedIn
from engine.core.ids import OrgId, PersonId, RegionId, WorkerSlot
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Role

ALGORITHM: Final = "EdDSA"
REQUIRED_CLAIMS: Final = ("sub", "role", "org", "region", "iat", "exp", "jti", "sid")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is speaking, as a verified access token says. Times are Unix milliseconds."""

    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId
    slot: WorkerSlot | None
    """Set for workers, and only for them."""
    session_id: UUID
    """The family of refresh tokens that this access token came from."""
    issued_at_ms: int
    expires_at_ms: int

    @property
    def is_desk(self) -> bool:
        """Whether this person works at the desk of their organisation."""
        return self.role in (Role.DISPATCHER, Role.ADMIN)


class AccessTokens:
    """Issues tokens where it has the private key, verifies them everywhere.

    Nobody of `refused_orgs` is let in, by an old token or a new one: a database may remember that it was a demo's.
    """

    def __init__(
        self,
        *,
        public_key_pem: bytes,
        private_key_pem: bytes | None = None,
        refused_orgs: frozenset[OrgId] = frozenset(),
    ) -> None:
        self._refused_orgs = refused_orgs
        public_key = load_pem_public_key(public_key_pem)
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError("the public key of access tokens is not an Ed25519 key")  # noqa: TRY004 - a wrong value
        self._public_key = public_key
        self._private_key = None if private_key_pem is None else _matching_private_key(private_key_pem, public_key)

    def issue(  # noqa: PLR0913 - these are the claims of a token
        self,
        *,
        person_id: PersonId,
        role: Role,
        org_id: OrgId,
        region_id: RegionId,
        slot: WorkerSlot | None,
        session_id: UUID,
        now_ms: int,
        token_id: UUID | None = None,
    ) -> str:
        """Return a token that is good for `limits.ACCESS_TOKEN_MS`; without a `token_id` it gets a random one.

        Raises:
            NotSignedIn: the organisation is refused.
            ValueError: this process has no private key.
        """
        self._admit(org_id)
        if self._private_key is None:
            raise ValueError("this process has no key to sign access tokens with")
        assert (slot is not None) == (role is Role.WORKER)
        claims: dict[str, object] = {
            "sub": str(person_id),
            "role": role.value,
            "org": str(org_id),
            "region": str(region_id),
            # RFC 7519 allows fractions. Whole seconds would make a token issued within the second of a revocation
            # look older than it, or one from before it look newer.
            "iat": now_ms / MS_PER_S,
            "exp": (now_ms + ACCESS_TOKEN_MS) / MS_PER_S,
            "jti": str(token_id or uuid4()),
            "sid": str(session_id),
        }
        if slot is not None:
            claims["slot"] = slot
        return jwt.encode(claims, self._private_key, algorithm=ALGORITHM)

    def verify(self, token: str, now_ms: int, *, allow_expired: bool = False) -> Principal:
        """Return who `token` speaks for; `allow_expired` is for SafeTap's triggers alone.

        `iat` is not compared with the clock: the signature says that we issued it, and a machine whose clock is a
        moment behind must not refuse a fresh token.

        Raises:
            NotSignedIn: the token is not ours, not whole, expired (no leeway), or of a refused organisation.
        """
        try:
            claims = jwt.decode(
                token,
                self._public_key,
                algorithms=[ALGORITHM],
                options={
                    "require": list(REQUIRED_CLAIMS),
                    "verify_exp": False,  # against `now_ms` below, not against PyJWT's own clock
                    "verify_iat": False,
                    "verify_aud": False,
                },
            )
            principal = _principal(claims)
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError) as error:
            raise NotSignedIn("The access token is not valid.") from error
        if principal.expires_at_ms <= now_ms and not allow_expired:
            raise NotSignedIn("The access token has expired.")
        self._admit(principal.org_id)
        return principal

    def _admit(self, org_id: OrgId) -> None:
        if org_id in self._refused_orgs:
            raise NotSignedIn("Accounts of the demo count in the demo alone.")


def bearer_token(authorization: str) -> str:
    """Return the token of an `Authorization` header.

    Raises:
        NotSignedIn: there is none.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotSignedIn
    return token.strip()


def _matching_private_key(pem: bytes, public_key: Ed25519PublicKey) -> Ed25519PrivateKey:
    private_key = load_pem_private_key(pem, password=None)
    if not isinstance(private_key, Ed25519PrivateKey):
        raise ValueError("the private key of access tokens is not an Ed25519 key")  # noqa: TRY004 - a wrong value
    if private_key.public_key() != public_key:
        raise ValueError("the private and the public key of access tokens are not a pair")
    return private_key


def _principal(claims: Mapping[str, object]) -> Principal:
    role = Role(_text(claims["role"]))
    slot = claims.get("slot")
    is_slot = isinstance(slot, int) and not isinstance(slot, bool) and slot >= 0
    if is_slot is not (role is Role.WORKER) or (slot is not None) is not is_slot:
        raise ValueError("a worker has a slot, and nobody else")
    UUID(_text(claims["jti"]))
    return Principal(
        person_id=PersonId(UUID(_text(claims["sub"]))),
        role=role,
        org_id=OrgId(UUID(_text(claims["org"]))),
        region_id=RegionId(UUID(_text(claims["region"]))),
        slot=WorkerSlot(slot) if isinstance(slot, int) else None,
        session_id=UUID(_text(claims["sid"])),
        issued_at_ms=_ms(claims["iat"]),
        expires_at_ms=_ms(claims["exp"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a claim is not text")
    return value


def _ms(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time is not a number")
    return round(value * MS_PER_S)
