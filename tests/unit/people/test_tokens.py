"""Access tokens: what is ours and whole passes, everything else does not."""

from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from config.limits import ACCESS_TOKEN_MS
from engine.core.errors import NotSignedIn
from engine.core.ids import OrgId, PersonId, RegionId, WorkerSlot
from engine.core.vocabulary import Role
from engine.people.tokens import ALGORITHM, REQUIRED_CLAIMS, AccessTokens
from tests.conftest import TokenKeys

NOW_MS = 1_700_000_000_123


@pytest.fixture
def tokens(token_keys: TokenKeys) -> AccessTokens:
    return AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)


def issue(tokens: AccessTokens, *, role: Role = Role.WORKER, slot: int | None = 7) -> str:
    return tokens.issue(
        person_id=PersonId(uuid4()),
        role=role,
        org_id=OrgId(uuid4()),
        region_id=RegionId(uuid4()),
        slot=None if slot is None else WorkerSlot(slot),
        session_id=uuid4(),
        now_ms=NOW_MS,
    )


def forged(token_keys: TokenKeys, token: str, **changes: object) -> str:
    """The token with claims changed (`None`: removed), honestly signed again."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False}) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, token_keys.private_pem.decode(), algorithm=ALGORITHM)


def test_what_goes_in_comes_out(tokens: AccessTokens) -> None:
    person_id, org_id, region_id, session_id = PersonId(uuid4()), OrgId(uuid4()), RegionId(uuid4()), uuid4()
    token = tokens.issue(
        person_id=person_id,
        role=Role.WORKER,
        org_id=org_id,
        region_id=region_id,
        slot=WorkerSlot(0),
        session_id=session_id,
        now_ms=NOW_MS,
    )
    principal = tokens.verify(token, NOW_MS)
    assert (principal.person_id, principal.role, principal.org_id) == (person_id, Role.WORKER, org_id)
    assert (principal.region_id, principal.slot, principal.session_id) == (region_id, 0, session_id)
    assert (principal.issued_at_ms, principal.expires_at_ms) == (NOW_MS, NOW_MS + ACCESS_TOKEN_MS)
    assert not principal.is_desk
    assert tokens.verify(issue(tokens, role=Role.ADMIN, slot=None), NOW_MS).is_desk


def test_a_token_ends_to_the_millisecond(tokens: AccessTokens) -> None:
    token = issue(tokens)
    tokens.verify(token, NOW_MS + ACCESS_TOKEN_MS - 1)
    with pytest.raises(NotSignedIn, match="expired"):
        tokens.verify(token, NOW_MS + ACCESS_TOKEN_MS)
    assert tokens.verify(token, NOW_MS + 10 * ACCESS_TOKEN_MS, allow_expired=True).slot == 7


def test_a_clock_that_is_behind_does_not_refuse_a_fresh_token(tokens: AccessTokens) -> None:
    assert tokens.verify(issue(tokens), NOW_MS - 5_000).slot == 7


@pytest.mark.parametrize("claim", REQUIRED_CLAIMS)
@pytest.mark.parametrize("allow_expired", [False, True])
def test_a_missing_claim_is_refused(
    tokens: AccessTokens, token_keys: TokenKeys, claim: str, *, allow_expired: bool
) -> None:
    token = forged(token_keys, issue(tokens), **{claim: None})
    with pytest.raises(NotSignedIn):
        tokens.verify(token, NOW_MS, allow_expired=allow_expired)


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "king"},
        {"role": "customer"},  # with a slot
        {"slot": None},  # a worker without
        {"slot": -1},
        {"slot": "7"},
        {"slot": True},
        {"slot": 1.5},
        {"sub": "somebody"},
        {"sub": 7},
        {"org": ""},
        {"jti": "1"},
        {"sid": "1"},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e400},
        {"iat": "now"},
    ],
    ids=str,
)
def test_a_claim_of_the_wrong_kind_is_refused(
    tokens: AccessTokens, token_keys: TokenKeys, changes: dict[str, object]
) -> None:
    with pytest.raises(NotSignedIn):
        tokens.verify(forged(token_keys, issue(tokens), **changes), NOW_MS)


def test_another_key_is_refused(tokens: AccessTokens) -> None:
    stranger = Ed25519PrivateKey.generate()
    pem = stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keys = TokenKeys(pem, b"")
    with pytest.raises(NotSignedIn):
        tokens.verify(forged(keys, issue(tokens)), NOW_MS)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256"])
def test_another_algorithm_is_refused(tokens: AccessTokens, algorithm: str) -> None:
    """The header of a token never chooses how it is checked."""
    claims = jwt.decode(issue(tokens), options={"verify_signature": False})
    keys: dict[str, Any] = {"none": None, "HS256": "x" * 32, "ES256": generate_private_key(SECP256R1())}
    with pytest.raises(NotSignedIn):
        tokens.verify(jwt.encode(claims, keys[algorithm], algorithm=algorithm), NOW_MS)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "\x00", "é" * 40, "." * 1000, "ey" * 50_000])
def test_noise_is_refused(tokens: AccessTokens, text: str) -> None:
    with pytest.raises(NotSignedIn):
        tokens.verify(text, NOW_MS, allow_expired=True)


def test_any_changed_letter_is_refused(tokens: AccessTokens) -> None:
    token = issue(tokens)
    head, body, signature = token.split(".")
    for broken in (f"{head}.{body}", f"{head}.{body}.{signature[:-4]}", f"{head}.{body[:-2]}AA.{signature}"):
        with pytest.raises(NotSignedIn):
            tokens.verify(broken, NOW_MS)


def test_a_process_without_the_private_key_only_checks(token_keys: TokenKeys, tokens: AccessTokens) -> None:
    checker = AccessTokens(public_key_pem=token_keys.public_pem)
    assert checker.verify(issue(tokens), NOW_MS).slot == 7
    with pytest.raises(ValueError, match="no key to sign"):
        issue(checker)


def test_keys_that_are_not_a_pair_do_not_start(token_keys: TokenKeys) -> None:
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="pair"):
        AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=other)


def test_keys_of_another_kind_do_not_start(token_keys: TokenKeys) -> None:
    key = generate_private_key(SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ValueError, match="Ed25519"):
        AccessTokens(public_key_pem=public)
    with pytest.raises(ValueError, match="Ed25519"):
        AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=private)


def test_every_token_has_an_id_of_its_own(tokens: AccessTokens) -> None:
    ids = {jwt.decode(issue(tokens), options={"verify_signature": False})["jti"] for _ in range(5)}
    assert len(ids) == 5
