"""Who speaks: access tokens are checked once each, and count no longer once their sign-in has ended."""

import hashlib
from collections import OrderedDict
from uuid import UUID

from config.limits import ACCESS_TOKEN_MS, TOKENS_KNOWN_MAX
from engine.core.errors import NotSignedIn
from engine.people.tokens import AccessTokens, Principal


class Speakers:
    """Knows the tokens that were brought here lately, and the sign-ins that it was told have ended."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        self._known: OrderedDict[bytes, Principal] = OrderedDict()
        self._ended_sessions: dict[UUID, int] = {}
        """Session -> until when a token of it could still be good."""
        self._ended_people: dict[UUID, int] = {}
        """Person -> the instant before which what they signed in with has ended."""

    def verify(self, token: str, now_ms: int) -> Principal:
        """Return who `token` speaks for. Someone who connects again brings the same token: its signature is kept.

        Raises:
            NotSignedIn: the token is not ours, not whole, expired, or of a sign-in that has ended.
        """
        key = hashlib.sha256(token.encode()).digest()
        principal = self._known.get(key)
        if principal is None or principal.expires_at_ms <= now_ms:
            principal = self._tokens.verify(token, now_ms)
            self._known[key] = principal
            if len(self._known) > TOKENS_KNOWN_MAX:
                self._known.popitem(last=False)
        if self.has_ended(principal):
            raise NotSignedIn("This sign-in has ended.")
        return principal

    def has_ended(self, principal: Principal) -> bool:
        """Return whether this process was told that the sign-in has ended."""
        ended_ms = self._ended_people.get(principal.person_id, 0)
        return principal.session_id in self._ended_sessions or principal.issued_at_ms < ended_ms

    def end_session(self, session_id: UUID, now_ms: int) -> None:
        """Let no token of this sign-in count any more."""
        self._forget(now_ms)
        self._ended_sessions[session_id] = now_ms + ACCESS_TOKEN_MS

    def end_person(self, person_id: UUID, before_ms: int, now_ms: int) -> None:
        """Let no token count that this person got before `before_ms`."""
        self._forget(now_ms)
        self._ended_people[person_id] = max(before_ms, self._ended_people.get(person_id, 0))

    def _forget(self, now_ms: int) -> None:
        """Drop what no token can bring up any more: all that were issued before have expired."""
        self._ended_sessions = {key: until_ms for key, until_ms in self._ended_sessions.items() if until_ms > now_ms}
        oldest_ms = now_ms - ACCESS_TOKEN_MS
        self._ended_people = {key: at_ms for key, at_ms in self._ended_people.items() if at_ms > oldest_ms}
