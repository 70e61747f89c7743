"""What everybody who talks to Postgres needs: the types of a connection and a pool, and which errors mean what.

The types are written once because only asyncpg's stubs know them as generics.
"""

from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection | PoolConnectionProxy
    """What `asyncpg.connect` returns, or what a pool lends."""
    Pool = asyncpg.Pool

CONNECTION_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, or a statement that was cancelled
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # "another operation is in progress": a connection that the server has just ended
    OSError,
    TimeoutError,
)
"""Errors of the line to Postgres: they say nothing about the row at hand, the same call may work in a moment."""

POSTGRES_ERRORS: Final = (asyncpg.PostgresError, *CONNECTION_LOST)
"""Every error that Postgres or the line to it can raise."""
