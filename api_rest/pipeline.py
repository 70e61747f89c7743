"""From a route of the table to a handler of aiohttp: authorise, read, lend a connection, answer. One path for all."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from api_rest.context import SERVICES, Body, Call, NoBody, NoQuery
from api_rest.idempotency import Answer, KeyedRequest, answer_once
from api_rest.problems import problem_body
from api_rest.reading import JSON, authorise, parse_body, parse_ids, parse_query, read_bytes, read_json_bytes
from api_rest.route import Access, AnyRoute, Key, Uses
from config.limits import IDEMPOTENCY_KEY_CHARS_MAX
from engine.core.crash_point import crash_point
from engine.core.errors import InvalidInput
from engine.core.problem import PROBLEM_TYPE
from engine.people.accounts import check_standing

KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotent-Replayed"


def handler_of(route: AnyRoute) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return what answers the requests to `route`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        services = request.app[SERVICES]
        now_ms = services.clock.now_ms()
        speaker = None
        if not isinstance(route.access, Access):
            # Before anything else is read: who may not ask learns nothing about what is wrong with the question.
            speaker = authorise(request, route.access, services.tokens, now_ms=now_ms)
        raw, body = await _read(route, request)
        call: Call[Any, Any] = Call(
            services=services,
            request=request,
            now_ms=now_ms,
            body=body,
            raw=raw,
            query=parse_query(request, route.query or NoQuery),
            ids=parse_ids(request),
            speaker=speaker,
        )
        return await _answer(route, call, _keyed(route, call, raw))

    return handle


async def _read(route: AnyRoute, request: web.Request) -> tuple[bytes, Body]:
    if route.access is Access.AT_THE_DOOR:
        # Who answers behind us judges it; here nothing may stand in its way.
        return await read_bytes(request), NoBody()
    if not route.takes_body:
        return b"", NoBody()
    raw = await read_json_bytes(request)
    return raw, parse_body(raw, route.body or NoBody)


async def _answer(route: AnyRoute, call: Call[Any, Any], keyed: KeyedRequest | None) -> web.Response:
    if route.uses is Uses.NOTHING:
        return _response(await _act(route, call))
    async with call.services.lend() as conn:
        if call.speaker is not None:
            await check_standing(conn, call.speaker)
        if route.uses is not Uses.STANDING and route.ahead is None:
            return await _answer_lent(route, replace(call, connection=conn), keyed)
    if route.ahead is None:
        return _response(await _act(route, call))
    call = replace(call, ahead=await route.ahead(call))
    async with call.services.lend() as conn:
        return await _answer_lent(route, replace(call, connection=conn), keyed)


async def _answer_lent(route: AnyRoute, lent: Call[Any, Any], keyed: KeyedRequest | None) -> web.Response:
    if route.uses is Uses.CONNECTION:
        return _response(await _act(route, lent))
    async with lent.conn.transaction():
        answer = await _act_once(route, lent, keyed)
    crash_point("request_committed")
    return _response(answer)


async def _act_once(route: AnyRoute, call: Call[Any, Any], keyed: KeyedRequest | None) -> Answer:
    if keyed is None:
        return await _act(route, call)
    return await answer_once(call.conn, keyed, lambda: _act(route, call), now_ms=call.now_ms)


async def _act(route: AnyRoute, call: Call[Any, Any]) -> Answer:
    reply = await route.handler(call)
    if reply.refusal is not None:
        return Answer(reply.refusal.status, problem_body(reply.refusal))
    # `default`: asyncpg's ids are a subclass of UUID, which orjson does not take for one.
    body = orjson.dumps(reply.body, default=str) if isinstance(reply.body, Mapping) else reply.body or b""
    return Answer(reply.status or route.status, body, media_type=reply.media_type)


def _keyed(route: AnyRoute, call: Call[Any, Any], raw: bytes) -> KeyedRequest | None:
    key = call.request.headers.get(KEY_HEADER)
    if route.key is Key.NONE or (key is None and route.key is Key.ACCEPTED):
        return None
    if key is None:
        raise InvalidInput("This request needs an Idempotency-Key.", field=KEY_HEADER)
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise InvalidInput(f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters.", field=KEY_HEADER)
    owner = None if call.speaker is None else call.speaker.person_id
    return KeyedRequest.of(key, owner=owner, method=route.method, path=call.request.path, body=raw)


def _response(answer: Answer) -> web.Response:
    is_problem = answer.status >= HTTPStatus.BAD_REQUEST
    response = web.Response(
        status=answer.status,
        body=answer.body or None,
        content_type=(PROBLEM_TYPE if is_problem else answer.media_type or JSON) if answer.body else None,
    )
    if answer.is_replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response
