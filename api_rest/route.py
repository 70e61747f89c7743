"""The route as data. One table of these makes the server's routes, the OpenAPI document and the tests of access."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic

from pydantic import BaseModel

from api_rest.context import BodyT, Call, QueryT, Reply
from engine.core.errors import ClenzyError, Conflict
from engine.core.vocabulary import Role

ALL_ROLES: Final = frozenset(Role)
ADMIN: Final = frozenset({Role.ADMIN})
CUSTOMER: Final = frozenset({Role.CUSTOMER})
WORKER: Final = frozenset({Role.WORKER})
DESK: Final = frozenset({Role.DISPATCHER, Role.ADMIN})
PROTECTED: Final = frozenset({Role.CUSTOMER, Role.WORKER})
"""Who may need help: the people of a booking."""


class Access(Enum):
    """Who may call a route that names no roles."""

    PUBLIC = auto()
    AT_THE_DOOR = auto()
    """The one who answers behind us decides: SafeTap still accepts a token that has expired."""


class Uses(Enum):
    """What a handler is lent."""

    NOTHING = auto()
    STANDING = auto()
    """Nothing, once it is sure that the sign-in still stands: who computes for long must not hold a connection."""
    CONNECTION = auto()
    TRANSACTION = auto()


class Key(Enum):
    """What a route does with an `Idempotency-Key`."""

    NONE = auto()
    """Repeating the request is harmless, or the body itself names the act; the header is ignored."""
    ACCEPTED = auto()
    REQUIRED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[BodyT, QueryT]):
    """One method on one path. `access` has no default: a route that says nothing about it cannot be written."""

    method: str
    path: str
    access: frozenset[Role] | Access
    handler: Callable[[Call[BodyT, QueryT]], Awaitable[Reply]]
    summary: str
    uses: Uses
    answer: type[BaseModel] | None
    body: type[BodyT] | None = None
    query: type[QueryT] | None = None
    status: int = 200
    other_statuses: tuple[int, ...] = ()
    """Further ways to succeed, with the same answer."""
    other_media_types: tuple[str, ...] = ()
    """What the answer may be besides JSON, when the request asks for it."""
    key: Key = Key.NONE
    errors: tuple[type[ClenzyError], ...] = ()
    ahead: Callable[[Call[BodyT, QueryT]], Awaitable[object]] | None = None
    """Finds out, while no connection is lent, what the transaction must not wait for: another store, a router.

    The handler gets it as `call.ahead`. It refuses nothing: a repeated request is to have its first answer.
    """

    @property
    def name(self) -> str:
        """A stable name: the handler's."""
        return self.handler.__name__

    @property
    def tag(self) -> str:
        """The resource: the module that the handler stands in."""
        return self.handler.__module__.rpartition(".")[2]

    @property
    def takes_body(self) -> bool:
        """Whether a request carries a body."""
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def id_names(self) -> tuple[str, ...]:
        """The names of the ids in the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    def admits(self, role: Role | None) -> bool:
        """Return whether somebody of this role, or nobody signed in, gets past the gate."""
        if isinstance(self.access, Access):
            return True
        return role in self.access


AnyRoute = Route[Any, Any]


def check_table(routes: Iterable[AnyRoute]) -> tuple[AnyRoute, ...]:
    """Return the table, or stop the process before it serves anything that nobody decided about.

    Raises:
        ValueError: a route without roles, one whose promises contradict each other, or two on one method and path.
    """
    table = tuple(routes)
    seen: set[tuple[str, str]] = set()
    for route in table:
        place = f"{route.method} {route.path}"
        if (route.method, route.path) in seen:
            raise ValueError(f"{place} stands twice in the table")
        seen.add((route.method, route.path))
        problem = _contradiction(route)
        if problem is not None:
            raise ValueError(f"{place} {problem}")
    return table


def _contradiction(route: AnyRoute) -> str | None:
    if not isinstance(route.access, Access):
        if not route.access or not route.access <= ALL_ROLES:
            return "names no roles and is not declared public"
        if route.uses is Uses.NOTHING:
            return "names roles but cannot look up whether the sign-in still stands"
    if route.ahead is not None and route.uses is not Uses.TRANSACTION:
        return "looks ahead of a transaction that it does not have"
    if route.key is not Key.NONE and (problem := _contradicts_its_key(route)):
        return problem
    if route.body is not None and not route.takes_body:
        return "has a body on a method without one"
    return None


def _contradicts_its_key(route: AnyRoute) -> str | None:
    if route.uses is not Uses.TRANSACTION:
        return "takes a key but has no transaction to remember it in"
    if Conflict not in route.errors:
        return "takes a key but does not document the conflict"
    if route.other_media_types:
        return "takes a key but may answer with something else than JSON, which alone is kept"
    return None
