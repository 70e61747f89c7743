"""Sessions: sign in, enrol, refresh, sign out."""

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from api_rest.context import Body, Call, NoQuery, Reply
from api_rest.route import ALL_ROLES, Access, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, Secret, printable
from config.limits import ACCESS_TOKEN_MS, PASSWORD_CHARS_MAX
from engine.core.errors import Conflict, NotSignedIn, TooMany
from engine.core.ids import PersonId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Role
from engine.people import sign_in as sessions
from engine.people.sign_in import Session


class SignIn(Body):
    """An account and its password."""

    email: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=254), AfterValidator(printable)
    ]
    password: Annotated[str, StringConstraints(min_length=1, max_length=PASSWORD_CHARS_MAX)]


class Enrol(Body):
    """A code that was handed to a person; case, spaces and dashes do not matter."""

    code: Secret


class Refresh(Body):
    """The refresh token of the last answer."""

    refresh_token: Secret


class Tokens(Answer):
    """A session. The access token speaks for the person, the refresh token is good for the next pair, once."""

    access_token: str
    expires_in_s: int
    refresh_token: str
    person_id: PersonId
    role: Role


async def sign_in(call: Call[SignIn, NoQuery]) -> Reply:
    """Begin a session with a password."""
    services = call.services
    session = await sessions.sign_in(
        services.pool,
        services.tokens,
        services.passwords,
        email=call.body.email,
        password=call.body.password,
        now_ms=call.now_ms,
    )
    return _tokens(session)


async def enrol(call: Call[Enrol, NoQuery]) -> Reply:
    """Begin a session with an enrolment code."""
    session = await sessions.enrol(call.conn, call.services.tokens, code=call.body.code, now_ms=call.now_ms)
    return _tokens(session)


async def refresh(call: Call[Refresh, NoQuery]) -> Reply:
    """Spend a refresh token for the next pair."""
    token = call.body.refresh_token
    session = await sessions.refresh(call.conn, call.services.tokens, refresh_token=token, now_ms=call.now_ms)
    if session is None:
        return Reply(refusal=NotSignedIn("The refresh token has ended: sign in again."))
    return _tokens(session)


async def sign_out(call: Call[Refresh, NoQuery]) -> Reply:
    """End a session."""
    await sessions.sign_out(
        call.conn, refresh_token=call.body.refresh_token, principal=call.principal, now_ms=call.now_ms
    )
    return Reply()


def _tokens(session: Session) -> Reply:
    return Reply(
        {
            "access_token": session.access_token,
            "expires_in_s": ACCESS_TOKEN_MS // MS_PER_S,
            "refresh_token": session.refresh_token,
            "person_id": str(session.person_id),
            "role": session.role.value,
        }
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/auth/sign-in",
        access=Access.PUBLIC,
        handler=sign_in,
        summary="Sign in with a password",
        uses=Uses.NOTHING,
        body=SignIn,
        answer=Tokens,
        errors=(NotSignedIn, TooMany),
    ),
    Route(
        method="POST",
        path="/v1/auth/enrol",
        access=Access.PUBLIC,
        handler=enrol,
        summary="Sign in with an enrolment code, once",
        uses=Uses.TRANSACTION,
        body=Enrol,
        answer=Tokens,
        key=Key.ACCEPTED,
        errors=(NotSignedIn, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/auth/refresh",
        access=Access.PUBLIC,
        handler=refresh,
        summary="Go on with a session; using a refresh token twice ends it",
        uses=Uses.TRANSACTION,
        body=Refresh,
        answer=Tokens,
        key=Key.ACCEPTED,
        errors=(NotSignedIn, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/auth/sign-out",
        access=ALL_ROLES,
        handler=sign_out,
        summary="End a session",
        uses=Uses.TRANSACTION,
        body=Refresh,
        answer=None,
        status=204,
        key=Key.ACCEPTED,
        errors=(Conflict,),
    ),
)
