"""The OpenAPI 3.1 document, made from the table of routes."""

from functools import lru_cache
from typing import Any, Final

import orjson
from openapi_pydantic import OpenAPI
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from pydantic import BaseModel

from api_rest.context import NoBody
from api_rest.pipeline import KEY_HEADER
from api_rest.problems import MalformedBody, Problem, UnsupportedMediaType
from api_rest.reading import JSON
from api_rest.route import Access, AnyRoute, Key
from config.limits import IDEMPOTENCY_KEY_CHARS_MAX
from engine.booking.lifecycle import public_moves
from engine.core.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClenzyError,
    InvalidInput,
    NotAllowed,
    NotSignedIn,
    Unavailable,
)
from engine.core.problem import PROBLEM_TYPE

BEARER: Final = "bearer"

Json = dict[str, Any]


@lru_cache(maxsize=4)
def openapi_document(routes: tuple[AnyRoute, ...], *, server_url: str) -> bytes:
    """Return the document as JSON. Half a second of work, so one that was made is kept."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    document = OpenAPI.model_validate(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Clenzy",
                "version": "1",
                "description": "Real-time dispatch and safety engine. Sockets and the silent alarm's own door are "
                "described in docs/protocol.md and docs/asyncapi.yaml.",
            },
            "servers": [{"url": server_url}],
            "paths": paths,
            "components": {"securitySchemes": {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
        }
    )
    whole = construct_open_api_with_schema_class(document, scan_for_pydantic_schema_reference=True)
    told: Json = whole.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    told["x-moves"] = [
        {"thing": move.thing, "from": move.state, "to": move.to, "who": move.who} for move in public_moves()
    ]
    return orjson.dumps(told)


def errors_of(route: AnyRoute) -> list[type[ClenzyError]]:
    """Return every documented refusal of a route: its own, and those that its declaration implies."""
    errors: set[type[ClenzyError]] = {*route.errors, Unavailable}
    if not isinstance(route.access, Access):
        errors |= {NotSignedIn, NotAllowed}
    if route.takes_body:
        errors |= {InvalidInput, MalformedBody, UnsupportedMediaType, BodyTooLarge, BodyTooSlow}
    if route.query is not None:
        errors.add(InvalidInput)
    return sorted(errors, key=lambda error: (error.status, error.code))


def _operation(route: AnyRoute) -> Json:
    operation: Json = {
        "operationId": f"{route.tag}_{route.name}",
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_key_parameter(route)],
        "responses": _responses(route),
    }
    if route.takes_body and route.body is not None and route.body is not NoBody:
        operation["requestBody"] = {"required": True, "content": _content(JSON, route.body)}
    if route.access is Access.PUBLIC:
        operation["security"] = []
    else:
        operation["security"] = [{BEARER: []}]
        operation["description"] = _who(route)
    return operation


def _who(route: AnyRoute) -> str:
    if isinstance(route.access, Access):
        return "For customers and workers; SafeTap itself decides."
    return "For: " + ", ".join(sorted(role.value for role in route.access)) + "."


def _path_parameters(route: AnyRoute) -> list[Json]:
    schema = {"type": "string", "format": "uuid"}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in route.id_names]


def _query_parameters(route: AnyRoute) -> list[Json]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(ref_template="{model}")
    definitions = schema.get("$defs", {})
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _inlined(one, definitions)}
        for name, one in schema["properties"].items()
    ]


def _inlined(schema: Any, definitions: Json) -> Any:  # noqa: ANN401 - any JSON
    """Return a schema without references: parameters are few and small."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}


def _key_parameter(route: AnyRoute) -> list[Json]:
    if route.key is Key.NONE:
        return []
    return [
        {
            "name": KEY_HEADER,
            "in": "header",
            "required": route.key is Key.REQUIRED,
            "description": "The same key with the same body gives the first answer again.",
            "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX},
        }
    ]


def _responses(route: AnyRoute) -> Json:
    done: Json = {"description": "Done."}
    if route.answer is not None or route.other_media_types:
        own = {} if route.answer is None else _content(JSON, route.answer)
        done["content"] = own | {other: {} for other in route.other_media_types}
    responses: Json = {str(status): done for status in (route.status, *route.other_statuses)}
    by_status: dict[int, list[type[ClenzyError]]] = {}
    for error in errors_of(route):
        by_status.setdefault(error.status, []).append(error)
    for status, errors in by_status.items():
        told = "; ".join(f"`{error.code}`: {(error.__doc__ or '').strip()}" for error in errors)
        responses[str(status)] = {"description": told, "content": _content(PROBLEM_TYPE, Problem)}
    return responses


def _content(media_type: str, model: type[BaseModel]) -> Json:
    schema = PydanticSchema[BaseModel](schema_class=model)
    return {media_type: {"schema": schema}}
