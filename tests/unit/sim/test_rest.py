"""REST: errors, retries, idempotency keys, tokens that stay fresh."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest

from sim.client.backoff import Backoff
from sim.client.clock import FixClock, wall_ms
from sim.client.errors import Disconnected, Refused, SignedOut
from sim.client.rest import Account, Rest, Tokens, enrol, sign_in
from tests.unit.sim.phone_server import PhoneServer

TOKENS = {"access_token": "a2", "expires_in_s": 900, "refresh_token": "r2", "person_id": "p", "role": "admin"}
PROBLEM = {
    "type": "about:blank",
    "title": "Conflict",
    "status": 409,
    "detail": "moved on",
    "code": "conflict",
    "field": "to",
}


@pytest.fixture
async def server() -> AsyncIterator[PhoneServer]:
    async with PhoneServer().running() as server:
        yield server


@pytest.fixture
async def rest(server: PhoneServer) -> AsyncIterator[Rest]:
    async with aiohttp.ClientSession() as http:
        yield Rest(http, server.url + "/")


def account(rest: Rest, *, lives_ms: int = 600_000) -> Account:
    return Account(rest, Tokens("a1", wall_ms() + lives_ms, "r1", "p", "worker"))


async def test_signs_in_and_enrols_with_a_key_on_every_post(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/auth/sign-in"] = server.answers["/v1/auth/enrol"] = [(200, TOKENS)]
    signed_in = await sign_in(rest, "admin@x", "secret")
    enrolled = await enrol(rest, "CODE")
    assert signed_in.tokens.access_token == enrolled.tokens.access_token == "a2"
    assert abs(signed_in.tokens.expires_at_ms - wall_ms() - 900_000) < 5_000
    keys = [headers["Idempotency-Key"] for _, headers, _ in server.requests]
    assert len(set(keys)) == 2
    assert orjson.loads(server.requests[1][2]) == {"code": "CODE"}


async def test_a_problem_becomes_an_exception_with_its_code(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/bookings"] = [(409, PROBLEM)]
    with pytest.raises(Refused) as refusal:
        await rest.post("/v1/bookings", {}, account=account(rest))
    assert (refusal.value.code, refusal.value.status, refusal.value.field) == ("conflict", 409, "to")
    assert len(server.requests) == 1


async def test_repeats_a_post_with_the_same_key_while_the_server_is_away(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/bookings"] = [
        (503, {"code": "unavailable"}),
        (429, {"code": "too_many"}),
        (201, {"booking_id": "b"}),
    ]
    assert await rest.post("/v1/bookings", {}, account=account(rest), key="k") == {"booking_id": "b"}
    assert [headers["Idempotency-Key"] for _, headers, _ in server.requests] == ["k", "k", "k"]


async def test_gives_up_with_a_reason_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _self: 0.0)
    async with aiohttp.ClientSession() as http:
        with pytest.raises(Disconnected, match="GET /v1/me"):
            await Rest(http, "http://127.0.0.1:9").get("/v1/me")


async def test_refreshes_before_the_token_ends(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/auth/refresh"] = [(200, TOKENS)]
    assert await account(rest).access_token() == "a1"
    assert await account(rest, lives_ms=30_000).access_token() == "a2"


async def test_refreshes_once_on_401_and_repeats_the_request(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/me"] = [(401, {"code": "not_signed_in"}), (200, {"person_id": "p"})]
    server.answers["/v1/auth/refresh"] = [(200, TOKENS)]
    assert await rest.get("/v1/me", account=account(rest)) == {"person_id": "p"}
    sent = [headers.get("Authorization") for path, headers, _ in server.requests if path.endswith("me")]
    assert sent == ["Bearer a1", "Bearer a2"]


async def test_many_at_once_spend_one_refresh_token_once(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/auth/refresh"] = [(200, TOKENS)]
    worker = account(rest, lives_ms=0)
    assert await asyncio.gather(*(worker.access_token() for _ in range(5))) == ["a2"] * 5
    assert len(server.requests) == 1


async def test_a_dead_refresh_token_needs_a_recovery(rest: Rest, server: PhoneServer) -> None:
    server.answers["/v1/auth/refresh"] = [(401, {"code": "not_signed_in"})]
    worker = account(rest, lives_ms=0)
    with pytest.raises(SignedOut):
        await worker.access_token()

    async def enrol_again() -> Tokens:
        return Tokens("a3", wall_ms() + 900_000, "r3", "p", "worker")

    worker.recovery = enrol_again
    assert await worker.access_token() == "a3"


async def test_an_answer_that_is_not_json_is_an_error(
    rest: Rest, server: PhoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.client.rest.orjson.loads", _not_json)
    server.answers["/v1/me"] = [(200, {})]
    with pytest.raises(Refused, match="not_json"):
        await rest.get("/v1/me")


def _not_json(_data: bytes) -> object:
    raise orjson.JSONDecodeError("no", "", 0)


def test_backoff_grows_to_its_cap_with_jitter_and_starts_anew() -> None:
    backoff = Backoff(base_s=0.1, cap_s=1.0)
    delays = [backoff.next_s() for _ in range(200)]
    assert all(0.02 <= delay <= 1.02 for delay in delays)
    assert max(delays[10:]) > 0.5
    assert len(set(delays)) > 150
    backoff.reset()
    assert backoff.next_s() <= 0.12


@pytest.mark.parametrize(
    ("config", "wall", "fix_time"),
    [({}, 5_000, 5_000), ({"clock": {"scale": 60.0, "epoch_ms": 1_000}}, 5_000, 241_000), ({"clock": None}, 7, 7)],
)
def test_fix_time_is_what_the_server_announces(config: dict[str, object], wall: int, fix_time: int) -> None:
    assert FixClock.from_config(config).at(wall) == fix_time
