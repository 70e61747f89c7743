"""Opens the stores for a composition root. Who calls it closes what it gets."""

from collections.abc import Mapping
from typing import Final

import asyncpg
from redis.asyncio import Redis

from config.limits import DATABASE_CONNECT_MS_MAX, DATABASE_POOL_MAX, REDIS_TIMEOUT_MS, STATEMENT_TIMEOUT_MS
from config.settings import Settings
from engine.core.clock import Clock, ScaledClock, SystemClock
from engine.core.redis_store import ClusterClient, Line, RedisClient
from engine.core.units import MS_PER_S
from engine.geo import acceptance
from engine.geo.acceptance import AcceptanceRules
from engine.people.keyring import open_keyring
from engine.people.sealing import Sealing
from engine.people.seed import refused_orgs
from engine.people.tokens import AccessTokens

QUICK: Final[Mapping[str, str]] = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
"""For a few statements that are asked over and over: each is planned once, and again when its tables have changed."""


async def open_database(
    settings: Settings, *, pool_max: int = DATABASE_POOL_MAX, pool_min: int = 1, is_quick: bool = False
) -> asyncpg.Pool:
    """Return a pool on the configured Postgres; with `pool_min=0` it connects on first use. It opens envelopes.

    `is_quick`: nobody waits for plans, nor for a connection to be cleared when it is given back, so whoever is lent one
    may leave nothing behind on it: no setting, no lock, no LISTEN.

    Raises:
        ValueError: `DATABASE_URL` is not set, or the file of the wrapping keys holds none.
        OSError: nothing answers there.
    """
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set: start with `clenzy up`, or point it at a Postgres 14 or later")
    return await asyncpg.create_pool(
        settings.database_url.get_secret_value(),
        min_size=pool_min,
        max_size=pool_max,
        timeout=DATABASE_CONNECT_MS_MAX / MS_PER_S,
        command_timeout=STATEMENT_TIMEOUT_MS / MS_PER_S,
        max_cached_statement_lifetime=0,  # a statement is kept for as long as its connection
        init=Sealing(open_keyring(settings)).prepare,
        reset=_leave_as_it_is if is_quick else None,
        server_settings=dict(QUICK) if is_quick else None,
    )


def open_redis(settings: Settings) -> RedisClient:
    """Return a client of the configured Redis or Redis Cluster (bytes in, bytes out); it connects on first use.

    Raises:
        ValueError: `REDIS_URL` is not set.
    """
    if settings.redis_url is None:
        raise ValueError("REDIS_URL is not set: start with `clenzy up`, or point it at a Redis 6.2 or later")
    kind: type[RedisClient] = ClusterClient if settings.redis_cluster else Redis
    client: RedisClient = kind.from_url(
        settings.redis_url.get_secret_value(),
        connection_class=Line,  # `rediss://` overrules it
        protocol=2,
        socket_timeout=REDIS_TIMEOUT_MS / MS_PER_S,
        socket_connect_timeout=REDIS_TIMEOUT_MS / MS_PER_S,
    )
    return client


def open_access_tokens(settings: Settings) -> AccessTokens:
    """Return what checks access tokens, and signs them where this process is given the private key.

    Raises:
        ValueError: `CLENZY_JWT_PUBLIC_KEY_FILE` is not set, or a key is not an Ed25519 key.
        OSError: a key file cannot be read.
    """
    if settings.jwt_public_key_file is None:
        raise ValueError("CLENZY_JWT_PUBLIC_KEY_FILE is not set: `clenzy up` makes a pair of keys")
    private_key_file = settings.jwt_private_key_file
    return AccessTokens(
        public_key_pem=settings.jwt_public_key_file.read_bytes(),
        private_key_pem=None if private_key_file is None else private_key_file.read_bytes(),
        refused_orgs=refused_orgs(is_demo=settings.mode == "demo"),
    )


def acceptance_rules(settings: Settings) -> AcceptanceRules:
    """Return which fixes count on this installation."""
    return acceptance.RULES._replace(
        future_ms=settings.fix_future_ms_max,
        age_ms=settings.fix_age_ms_max,
        accuracy_dm=settings.fix_accuracy_m_max * 10,
        period_ms=settings.fix_period_ms_min,
        speed_m_per_ms=settings.fix_speed_mps_max / MS_PER_S,
        slack_m=float(settings.fix_jump_slack_m),
        static_m=float(settings.fix_static_radius_m),
        distance_m=float(settings.fix_distance_m_min),
    )


def open_fix_clock(settings: Settings) -> Clock:
    """Return the clock that fixes are judged by: the machine's own, or a replay's faster one."""
    if settings.fix_clock_scale == 1:
        return SystemClock()
    return ScaledClock(SystemClock(), scale=settings.fix_clock_scale, epoch_ms=settings.fix_clock_epoch_ms)


async def _leave_as_it_is(conn: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare who gives a connection back the round trip that clears it."""
