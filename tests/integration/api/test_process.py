"""The composition root as it runs for real: starts without its stores, serves, loses them, finds them again, stops."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from api_rest.__main__ import root
from clenzy.ports import any_free
from config.settings import Settings
from ops.process import Process
from tests.conftest import TokenKeys
from tests.integration.api.wire import Wire


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str, token_keys: TokenKeys) -> Settings:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(token_keys.private_pem)
    public.write_bytes(token_keys.public_pem)
    return Settings(
        state_dir=tmp_path,
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        api_port=any_free(),
        jwt_private_key_file=private,
        jwt_public_key_file=public,
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    process = Process("api_rest", settings)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(root(process))
        async with aiohttp.ClientSession(settings.api_url) as client:
            await answers(client, "/healthz", 200, serving)
            yield client
        process.stop.set()
        async with asyncio.timeout(10):
            await serving


async def answers(
    client: aiohttp.ClientSession, path: str, status: int, serving: "asyncio.Task[None] | None" = None
) -> None:
    """Poll a process of its own until it answers so."""
    async with asyncio.timeout(20):
        while serving is None or not serving.done():
            try:
                async with client.get(path) as response:
                    if response.status == status:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)
    if serving is not None:
        await serving


async def test_it_serves_until_it_is_told_to_stop(settings: Settings) -> None:
    async with running(settings) as client:
        await answers(client, "/readyz", 200)
        async with client.get("/v1/config") as response:
            assert (await response.json())["region"] is None
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get(settings.api_url)


async def test_it_opens_and_closes_the_installations_travel_times(settings: Settings) -> None:
    """A client that nobody closes warns, which fails the test; a road file that is gone keeps nobody from starting."""
    for given in (
        {"eta_source": "osrm", "eta_router_url": f"http://127.0.0.1:{any_free()}"},
        {"eta_source": "roads", "roads_file": settings.state_dir / "gone.roads"},
    ):
        async with running(settings.model_copy(update=given)) as client:
            await answers(client, "/readyz", 200)
        gc.collect()


async def test_without_stores_it_lives_and_says_that_it_is_not_ready(settings: Settings) -> None:
    nowhere = {
        "database_url": SecretStr(f"postgresql://u:p@127.0.0.1:{any_free()}/d"),
        "redis_url": SecretStr(f"redis://127.0.0.1:{any_free()}"),
    }
    async with running(settings.model_copy(update=nowhere)) as client:
        await answers(client, "/readyz", 503)
        async with client.get("/v1/config") as response:
            assert response.status == 503
            assert (await response.json(content_type=None))["code"] == "unavailable"
            assert response.headers["Retry-After"] == "1"


async def test_a_database_that_goes_and_comes_back_is_found_again(settings: Settings, database_url: str) -> None:
    async with Wire(database_url) as wire:
        through_wire = {"database_url": SecretStr(wire.url)}
        async with running(settings.model_copy(update=through_wire)) as client:
            for _ in range(2):
                await answers(client, "/readyz", 200)
                await answers(client, "/v1/config", 200)
                await wire.cut()
                await answers(client, "/v1/config", 503)
                await answers(client, "/readyz", 503)
                async with client.get("/healthz") as response:
                    assert response.status == 200
                await wire.mend()


async def test_without_keys_it_does_not_start(settings: Settings) -> None:
    process = Process("api_rest", settings.model_copy(update={"jwt_public_key_file": None}))
    with pytest.raises(ValueError, match="JWT_PUBLIC_KEY_FILE"):
        await root(process)
