"""Reads what a request brings: the token, the body, the query, the ids. Everything that is wrong is refused by name."""

import asyncio
from typing import Final
from uuid import UUID

from aiohttp import web
from pydantic import ValidationError

from api_rest.context import BodyT, QueryT
from api_rest.problems import BrokenRules, MalformedBody, UnsupportedMediaType
from config.limits import BODY_READ_MS
from engine.core.errors import BodyTooSlow, InvalidInput, NotAllowed, NotFound
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens, Principal, bearer_token

JSON: Final = "application/json"


def authorise(request: web.Request, roles: frozenset[Role], tokens: AccessTokens, *, now_ms: int) -> Principal:
    """Return who asks.

    Raises:
        NotSignedIn: no token, or one that does not count.
        NotAllowed: their role is not among `roles`.
    """
    principal = tokens.verify(bearer_token(request.headers.get("Authorization", "")), now_ms)
    if principal.role not in roles:
        raise NotAllowed
    return principal


async def read_bytes(request: web.Request) -> bytes:
    """Return the body as it came; the server stops reading at its limit.

    Raises:
        BodyTooSlow: it did not arrive in time.
        web.HTTPRequestEntityTooLarge: it is too large.
    """
    try:
        async with asyncio.timeout(BODY_READ_MS / 1000):
            return await request.read()
    except TimeoutError as error:
        raise BodyTooSlow from error


async def read_json_bytes(request: web.Request) -> bytes:
    """Return a body that says of itself that it is JSON.

    Raises:
        UnsupportedMediaType: not JSON in UTF-8, or compressed (a small compressed body may be a large one).
        BodyTooSlow: it did not arrive in time.
        web.HTTPRequestEntityTooLarge: it is too large.
    """
    if "Content-Encoding" in request.headers:
        raise UnsupportedMediaType
    raw = await read_bytes(request)
    is_json = request.content_type == JSON and (request.charset or "utf-8").lower() in ("utf-8", "utf8")
    if raw and not is_json:
        raise UnsupportedMediaType
    return raw


def parse_body(raw: bytes, model: type[BodyT]) -> BodyT:
    """Return the body as `model`; nothing at all counts as an empty object.

    Raises:
        MalformedBody: not JSON.
        BrokenRules: JSON, but not what the model wants; every broken rule is named.
    """
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        if any(one["type"] == "json_invalid" for one in error.errors(include_url=False)):
            raise MalformedBody from error
        raise BrokenRules.from_validation(error) from error


def parse_query(request: web.Request, model: type[QueryT]) -> QueryT:
    """Return the query string as `model`.

    Raises:
        InvalidInput: a parameter stands twice.
        BrokenRules: an unknown parameter, or one that breaks its rule.
    """
    twins = [name for name in request.query if len(request.query.getall(name)) > 1]
    if twins:
        raise InvalidInput("This parameter stands twice.", field=twins[0])
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        raise BrokenRules.from_validation(error) from error


def parse_ids(request: web.Request) -> dict[str, UUID]:
    """Return the ids in the path.

    Raises:
        NotFound: no id at all, so there is no such thing.
    """
    try:
        return {name: UUID(text) for name, text in request.match_info.items()}
    except ValueError as error:
        raise NotFound from error
