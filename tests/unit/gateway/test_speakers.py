"""Tokens are checked once, and count no longer once their sign-in has ended."""

from uuid import UUID, uuid4

import pytest

from config.limits import ACCESS_TOKEN_MS
from engine.core.errors import NotSignedIn
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens
from gateway_ws.speakers import Speakers
from tests.conftest import TokenKeys

NOW_MS = 1_700_000_000_000
PERSON = PersonId(UUID(int=7))


@pytest.fixture
def tokens(token_keys: TokenKeys) -> AccessTokens:
    return AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)


def issue(tokens: AccessTokens, *, session_id: UUID | None = None, at_ms: int = NOW_MS) -> str:
    return tokens.issue(
        person_id=PERSON,
        role=Role.CUSTOMER,
        org_id=OrgId(UUID(int=1)),
        region_id=RegionId(UUID(int=2)),
        slot=None,
        session_id=session_id or uuid4(),
        now_ms=at_ms,
    )


def test_a_token_that_comes_again_is_the_same_speaker_until_it_expires(tokens: AccessTokens) -> None:
    speakers, token = Speakers(tokens), issue(tokens)
    first = speakers.verify(token, NOW_MS)
    assert speakers.verify(token, NOW_MS + ACCESS_TOKEN_MS - 1) is first
    with pytest.raises(NotSignedIn, match="expired"):
        speakers.verify(token, NOW_MS + ACCESS_TOKEN_MS)


def test_a_sign_in_that_ended_speaks_no_more_and_others_of_the_person_do(tokens: AccessTokens) -> None:
    speakers, session_id = Speakers(tokens), uuid4()
    ended, other = issue(tokens, session_id=session_id), issue(tokens)
    principal = speakers.verify(ended, NOW_MS)
    speakers.end_session(session_id, NOW_MS)
    assert speakers.has_ended(principal)
    with pytest.raises(NotSignedIn, match="ended"):
        speakers.verify(ended, NOW_MS)
    speakers.verify(other, NOW_MS)


def test_a_person_who_signs_in_anew_speaks_again(tokens: AccessTokens) -> None:
    speakers = Speakers(tokens)
    before, after = issue(tokens, at_ms=NOW_MS), issue(tokens, at_ms=NOW_MS + 10)
    speakers.end_person(PERSON, NOW_MS + 5, NOW_MS + 5)
    speakers.end_person(PERSON, NOW_MS + 1, NOW_MS + 6)  # told late: the newest word stands
    with pytest.raises(NotSignedIn):
        speakers.verify(before, NOW_MS + 10)
    speakers.verify(after, NOW_MS + 10)


def test_what_no_token_can_bring_up_is_forgotten(tokens: AccessTokens) -> None:
    speakers = Speakers(tokens)
    speakers.end_session(uuid4(), NOW_MS)
    speakers.end_person(PERSON, NOW_MS, NOW_MS)
    speakers.end_session(uuid4(), NOW_MS + ACCESS_TOKEN_MS)
    assert (len(speakers._ended_sessions), len(speakers._ended_people)) == (1, 0)
