"""The types of a database connection and a pool, written once because only the stubs know them as generics."""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
"""What `asyncpg.connect` returns, or what a pool lends."""

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
