"""One Redis or a Redis Cluster behind the few calls that both answer alike.

Commands go out together and come back in order; on a cluster one round trip a node, all nodes at once. A script names
its keys, and on a cluster the keys of one call share a hash slot: who calls sees to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Final, TypeAlias

from redis.asyncio import Connection, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

RedisClient: TypeAlias = Redis | RedisCluster
Command: TypeAlias = tuple[str | bytes | int, ...]
Publication: TypeAlias = tuple[str, bytes]
"""Channel and payload."""

REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)
"""What a Redis that is away raises."""


class Line(Connection):
    """A connection that tells of its end by a `RedisError` only: uvloop has an error of its own for writing to one."""

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as in redis-py
        """Send what was packed.

        Raises:
            RedisError: it did not get out.
        """
        try:
            await super().send_packed_command(*args, **kwargs)
        except RuntimeError as error:
            raise RedisConnectionError(f"Redis hung up: {error}") from error


class ClusterClient(RedisCluster):
    """A cluster whose missing nodes are told like a missing Redis: redis-py's own error for it is no `RedisError`."""

    def __init__(self, **how: Any) -> None:  # noqa: ANN401 - as in redis-py
        super().__init__(**how)
        if self.connection_kwargs["connection_class"] is Connection:  # TLS keeps its own, which has no such error
            self.connection_kwargs["connection_class"] = Line
            for node in self.startup_nodes:
                node.connection_class = Line

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as in redis-py
        """Send one command to the node that has its key.

        Raises:
            RedisError: the cluster did not answer.
        """
        try:
            return await super().execute_command(*args, **kwargs)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error

    def set_retry(self, retry: Retry) -> None:
        """Try again as often as said, but once at least: only then does redis-py ask anew which node has what."""
        super().set_retry(Retry(NoBackoff(), max(1, retry.get_retries())))


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the name under which Redis remembers it."""

    text: str
    name: str

    @classmethod
    def of(cls, text: str) -> "Script":
        """Return the script of a text."""
        return cls(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script."""

    keys: Sequence[str | bytes]
    arguments: Sequence[str | bytes | int]


_PUBLISH: Final = Script.of("for k = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[k], ARGV[k + 1]) end")


async def ask(redis: RedisClient, commands: Sequence[Command], *, publish: Sequence[Publication] = ()) -> list[Any]:
    """Return the replies to `commands`; what is to be published follows them.

    Everything is published through one node, so that a listener hears it in this order.

    Raises:
        RedisError: a command failed or was not answered; others may have been carried out.
    """
    replies = await _replies(redis, commands, publish)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies[: len(commands)]


async def run_script(
    redis: RedisClient, script: Script, calls: Sequence[Call], *, publish: Sequence[Publication] = ()
) -> list[Any]:
    """Return the answer to each call, also where the script was forgotten.

    Raises:
        RedisError: a call failed or was not answered; others may have been carried out.
    """
    sent = [("EVALSHA", script.name, len(each.keys), *each.keys, *each.arguments) for each in calls]
    replies = await _replies(redis, sent, publish)
    forgotten = [at for at in range(len(calls)) if isinstance(replies[at], NoScriptError)]
    if forgotten:
        # A node was restarted or flushed its scripts: the full text works everywhere and is remembered there.
        texts = [("EVAL", script.text, *sent[at][2:]) for at in forgotten]
        for at, reply in zip(forgotten, await _replies(redis, texts, ()), strict=True):
            replies[at] = reply
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies[: len(calls)]


async def publish_together(redis: RedisClient, publications: Sequence[Publication]) -> None:
    """Publish in this order, all or nothing.

    Raises:
        RedisError: Redis did not answer; all of it was published or nothing.
    """
    words = [word for publication in publications for word in publication]
    if not isinstance(redis, RedisCluster):
        await run_script(redis, _PUBLISH, [Call((), words)])
        return
    # Without a key any node would do, but only one and the same keeps the order.
    try:
        node = (await redis.initialize()).get_default_node()
        await redis.execute_command("EVAL", _PUBLISH.text, 0, *words, target_nodes=node)
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


async def own_connection(redis: RedisClient) -> Connection:
    """Return a connection that nobody else uses, to subscribe with: any node of a cluster hears all publications.

    Raises:
        RedisError: no node of the cluster answers.
    """
    if not isinstance(redis, RedisCluster):
        connection: Connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        return connection
    try:
        node = (await redis.initialize()).get_random_node()
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error
    return node.connection_class(**node.connection_kwargs)


async def _replies(redis: RedisClient, commands: Sequence[Command], publish: Sequence[Publication]) -> list[Any]:
    if not commands and not publish:
        return []
    pipeline: Any = redis.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    try:
        where = {}
        if publish and isinstance(redis, RedisCluster):
            where = {"target_nodes": (await redis.initialize()).get_default_node()}
        for channel, payload in publish:
            pipeline.execute_command("PUBLISH", channel, payload, **where)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error
    return replies
