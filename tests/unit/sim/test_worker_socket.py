"""A phone against a scripted server: windows, resends, commands, refusals, alarms, comings and goings."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest

from sim.client import wire
from sim.client.backoff import Backoff
from sim.client.clock import ClockCheck, wall_ms
from sim.client.errors import Disconnected, Refused
from sim.client.rest import Account, Rest, Tokens
from sim.client.worker_socket import BACKLOG_FIXES_MAX, WorkerSocket
from tests.unit.sim.phone_server import Phone, PhoneServer, Script


class Owner:
    """Keeps what the phone told it."""

    def __init__(self) -> None:
        self.welcomes: list[Mapping[str, Any]] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.acks: list[tuple[int, int]] = []

    def on_welcome(self, state: Mapping[str, Any]) -> None:
        self.welcomes.append(state)

    def on_event(self, name: str, body: Mapping[str, Any]) -> None:
        self.events.append((name, body))

    def on_ack(self, seq: int, fixes: int, latency_ms: float) -> None:
        assert latency_ms >= 0
        self.acks.append((seq, fixes))


async def until(holds: Callable[[], bool]) -> None:
    """Return once a condition holds; the test's own timeout ends the wait."""
    while True:
        if holds():
            return
        await asyncio.sleep(0.005)


def records(count: int) -> bytes:
    made = np.zeros(count, wire.FIX_DTYPE)
    made["ts_ms"] = np.arange(count) + 1
    return made.tobytes()


def account(url: str, http: aiohttp.ClientSession, token: str = "a1") -> Account:
    return Account(Rest(http, url), Tokens(token, wall_ms() + 600_000, "r1", "person", "worker"))


@asynccontextmanager
async def phone_on(
    *scripts: Script, first_seq: int = 1, **options: Any
) -> AsyncIterator[tuple[WorkerSocket, Owner, PhoneServer, "asyncio.Task[None]"]]:
    owner = Owner()
    async with PhoneServer(*scripts).running() as server, aiohttp.ClientSession() as http:
        socket = WorkerSocket(
            http=http,
            gateway_url=server.url,
            account=account(server.url, http),
            listener=owner,
            first_seq=first_seq,
            backoff=Backoff(base_s=0.01, cap_s=0.02),
            **options,
        )
        running = asyncio.ensure_future(socket.run())
        try:
            async with asyncio.timeout(5):
                yield socket, owner, server, running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_says_hello_first_and_keeps_what_the_welcome_says() -> None:
    seen: list[str] = []

    async def script(phone: Phone) -> None:
        seen.append(await phone.welcome(cadence_ms=2_500))
        await phone.until_closed()

    async with phone_on(script) as (socket, owner, _, _):
        await socket.connected.wait()
        assert seen == ["a1"]
        assert socket.slot == 7
        assert socket.cadence_ms == 2_500
        assert owner.welcomes[0]["duty"] == "on"


async def test_a_later_welcome_on_the_same_connection_is_the_present_state() -> None:
    async def script(phone: Phone) -> None:
        await phone.welcome()
        await phone.send(0, 7, {"cadence_ms": 4_000, "duty": "off", "offer": None, "booking": None, "server_ms": 1})
        await phone.until_closed()

    async with phone_on(script) as (socket, owner, _, _):
        await until(lambda: len(owner.welcomes) == 2)
        assert owner.welcomes[1]["duty"] == "off"
        assert socket.cadence_ms == 4_000
        assert (socket.counts.connects, socket.counts.wire_faults) == (1, 0)


async def test_numbers_frames_by_one_and_splits_at_50_fixes() -> None:
    frames: list[tuple[int, int]] = []

    async def script(phone: Phone) -> None:
        await phone.welcome()
        for _ in range(3):
            _, seq, body = await phone.receive()
            frames.append((seq, len(body) // 24))
        await phone.send(2, 12, 0)
        await phone.until_closed()

    async with phone_on(script, first_seq=10) as (socket, owner, _, _):
        await socket.connected.wait()
        assert socket.post(records(101)) == 12
        await socket.settled()
    assert frames == [(10, 50), (11, 50), (12, 1)]
    assert owner.acks == [(10, 50), (11, 50), (12, 1)]
    assert socket.counts.fixes_acknowledged == 101


async def test_sends_unacknowledged_frames_again_after_a_lost_connection_and_then_the_backlog() -> None:
    again: list[tuple[int, int]] = []
    first_gone, let_in = asyncio.Event(), asyncio.Event()

    async def acknowledges_one_then_vanishes(phone: Phone) -> None:
        await phone.welcome()
        for _ in range(3):
            await phone.receive()
        await phone.send(2, 1, 0)
        phone.ws._writer.transport.abort()
        first_gone.set()

    async def takes_all(phone: Phone) -> None:
        await let_in.wait()
        await phone.welcome()
        for _ in range(3):
            _, seq, body = await phone.receive()
            again.append((seq, len(body) // 24))
        await phone.send(2, 4, 0)
        await phone.until_closed()

    async with phone_on(acknowledges_one_then_vanishes, takes_all) as (socket, owner, _, _):
        await socket.connected.wait()
        for _ in range(3):
            socket.post(records(2))
        await first_gone.wait()
        await until(lambda: not socket.connected.is_set())
        socket.post(records(5))
        let_in.set()
        await socket.settled()
    assert again == [(2, 2), (3, 2), (4, 5)]
    assert [seq for seq, _ in owner.acks] == [1, 2, 3, 4]
    assert socket.counts.fixes_posted == socket.counts.fixes_acknowledged == 11
    assert socket.counts.fixes_resent == 4
    assert socket.counts.fixes_sent == 15
    assert socket.counts.connects == 2


async def test_the_backlog_of_a_long_absence_is_bounded_and_drops_the_oldest() -> None:
    async with aiohttp.ClientSession() as http:
        socket = WorkerSocket(
            http=http, gateway_url="http://127.0.0.1:9", account=account("http://127.0.0.1:9", http), listener=Owner()
        )
        socket.post(records(BACKLOG_FIXES_MAX))
        socket.post(records(3))
        assert socket.counts.fixes_dropped == 3
        assert socket.counts.fixes_posted == BACKLOG_FIXES_MAX + 3


async def test_a_command_gets_its_own_answer_whatever_the_order() -> None:
    async def script(phone: Phone) -> None:
        await phone.welcome()
        first, second = await phone.receive(), await phone.receive()
        await phone.send(5, second[1], True, {"of": second[2]})
        await phone.send(5, first[1], False, {"code": "conflict", "detail": "it expired", "field": "offer_id"})
        await phone.until_closed()

    async with phone_on(script) as (socket, _, _, _):
        await socket.connected.wait()
        first = asyncio.ensure_future(socket.command("offer.accept", {"offer_id": "o"}))
        await asyncio.sleep(0)
        assert await socket.command("state", {}) == {"of": "state"}
        with pytest.raises(Refused) as refusal:
            await first
        assert (refusal.value.code, refusal.value.field) == ("conflict", "offer_id")


async def test_a_command_fails_when_the_connection_is_lost_and_when_there_is_none() -> None:
    async def vanishes(phone: Phone) -> None:
        await phone.welcome()
        await phone.receive()

    async def stays(phone: Phone) -> None:
        await phone.welcome()
        await phone.until_closed()

    async with phone_on(vanishes, stays) as (socket, _, _, _):
        with pytest.raises(Disconnected):
            await socket.command("state", {})
        await socket.connected.wait()
        with pytest.raises(Disconnected):
            await socket.command("state", {})
        await socket.connected.wait()
        with pytest.raises(Disconnected):
            await socket.command("state", {}, timeout_s=0.05)


async def test_a_refused_frame_leaves_the_window_and_is_counted() -> None:
    async def script(phone: Phone) -> None:
        await phone.welcome()
        await phone.receive()
        await phone.send(8, {"code": "too_many_fixes", "detail": "", "seq": 1})
        await phone.until_closed()

    async with phone_on(script) as (socket, owner, _, _):
        await socket.connected.wait()
        socket.post(records(4))
        await socket.settled()
    assert socket.counts.refusals == {"too_many_fixes": 1}
    assert socket.counts.fixes_in_refused_frames == 4
    assert owner.acks == []


async def test_events_and_cadence_reach_the_owner() -> None:
    async def script(phone: Phone) -> None:
        await phone.welcome()
        await phone.send(6, "offer", {"offer_id": "o1"})
        await phone.send(9, {"cadence_ms": 700})
        await phone.send(5, 99, True, {})  # an answer to nothing is dropped
        kind, _, name, _ = await phone.receive()
        assert (kind, name) == (4, "state")
        await phone.send(5, 1, True, {})
        await phone.until_closed()

    async with phone_on(script) as (socket, owner, _, _):
        await socket.connected.wait()
        await socket.command("state", {})
        assert owner.events == [("offer", {"offer_id": "o1"})]
        assert socket.cadence_ms == 700


async def test_an_alarm_is_sent_again_with_its_id_until_it_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.client.worker_socket.TRIGGER_ANSWER_S", 0.05)
    tries: list[tuple[int, bytes]] = []

    async def script(phone: Phone) -> None:
        await phone.welcome()
        for alarm in (None, 1, 2):
            _, seq, body = await phone.receive()
            tries.append((seq, body[24:40]))
            if alarm is not None:
                await phone.send(2, seq, alarm)
        await phone.until_closed()

    async with phone_on(script) as (socket, _, _, _):
        trigger_id = await socket.raise_alarm("hold")
    assert tries == [(1, trigger_id.bytes), (2, trigger_id.bytes), (3, trigger_id.bytes)]


async def test_a_fresh_token_goes_over_the_open_connection_before_the_old_one_ends() -> None:
    async def script(phone: Phone) -> None:
        await phone.welcome()
        assert await phone.receive() == [7, "a2"]
        await phone.send(6, "done", {})
        await phone.until_closed()

    async with phone_on(script) as (socket, owner, server, _):
        server.answers["/v1/auth/refresh"] = [(200, tokens_body("a2"))]
        await socket.connected.wait()
        await socket.keep_token_fresh()  # far from its end: nothing is sent
        socket.account.tokens = Tokens("a1", wall_ms() + 5_000, "r1", "person", "worker")
        await socket.keep_token_fresh()
        await until(lambda: bool(owner.events))
    assert socket.account.exchanges == 1


async def test_comes_back_with_a_new_token_after_4401() -> None:
    seen: list[str] = []

    async def refuses(phone: Phone) -> None:
        await phone.receive()
        await phone.ws.close(code=4401)

    async def welcomes(phone: Phone) -> None:
        seen.append(await phone.welcome())
        await phone.until_closed()

    async with phone_on(refuses, welcomes) as (socket, _, server, _):
        server.answers["/v1/auth/refresh"] = [(200, tokens_body("a2"))]
        await socket.connected.wait()
    assert seen == ["a2"]


@pytest.mark.parametrize(("code", "why"), [(4403, "not_allowed"), (4408, "abuse"), (4409, "replaced")])
async def test_stays_away_when_sent_away_for_good(code: int, why: str) -> None:
    async def sends_away(phone: Phone) -> None:
        await phone.welcome()
        await phone.ws.close(code=code)

    async with phone_on(sends_away) as (socket, _, _, running):
        await running
    assert socket.ended == why
    assert socket.counts.close_codes[code] == 1


async def test_ends_when_the_account_is_dead() -> None:
    async def refuses(phone: Phone) -> None:
        await phone.receive()
        await phone.ws.close(code=4401)

    async with phone_on(refuses) as (socket, _, server, running):
        server.answers["/v1/auth/refresh"] = [(401, {"code": "not_signed_in", "detail": "spent"})]
        await running
    assert socket.ended == "not_signed_in"


async def test_leaves_a_server_that_speaks_something_else_and_comes_back() -> None:
    async def rubbish(phone: Phone) -> None:
        await phone.welcome()
        await phone.ws.send_bytes(b"\xff\xff")
        await phone.until_closed()

    async def stays(phone: Phone) -> None:
        await phone.welcome()
        await phone.until_closed()

    async with phone_on(rubbish, stays) as (socket, owner, _, _):
        await until(lambda: len(owner.welcomes) == 2)
    assert socket.counts.wire_faults == 1


def tokens_body(access_token: str) -> dict[str, object]:
    return {
        "access_token": access_token,
        "expires_in_s": 900,
        "refresh_token": "r2",
        "person_id": "person",
        "role": "worker",
    }


async def test_gathers_fixes_for_as_long_as_the_server_asks_and_sends_them_once_somebody_watches() -> None:
    frames: list[tuple[int, int]] = []
    is_second = asyncio.Event()

    async def script(phone: Phone) -> None:
        await phone.welcome(cadence_ms=10, batch_ms=200)
        began_s = time.monotonic()
        _, seq, body = await phone.receive()
        frames.append((seq, len(body) // 24))
        assert time.monotonic() - began_s > 0.15, "not before they are that old"
        await phone.send(9, {"cadence_ms": 10, "batch_ms": 60_000})
        is_second.set()
        _, seq, body = await phone.receive()
        frames.append((seq, len(body) // 24))
        await phone.send(2, seq, 0)
        await phone.until_closed()

    async with phone_on(script, gathers=True) as (socket, _, _, _):
        await socket.connected.wait()
        for _ in range(3):
            socket.post(records(1))
        assert not socket.is_settled
        await is_second.wait()
        await until(lambda: socket.batch_ms == 60_000)
        socket.post(records(2))
        assert socket.counts.frames_sent == 1, "gathered"
        socket._take(wire.Cadence(10, 10))
        await socket.settled()
        socket.post(records(1))
        assert socket.counts.frames_sent == 3, "each at once from now on"
    assert frames == [(1, 3), (2, 2)]


async def test_what_was_gathered_is_not_lost_with_the_connection() -> None:
    async def vanishes(phone: Phone) -> None:
        await phone.welcome(cadence_ms=10, batch_ms=60_000)
        _, _, body = await phone.receive()
        assert len(body) // 24 == 50, "a full frame goes at once"
        phone.ws._writer.transport.abort()

    async def takes_all(phone: Phone) -> None:
        await phone.welcome(cadence_ms=10, batch_ms=60_000)
        await phone.receive()
        _, seq, body = await phone.receive()
        assert len(body) // 24 == 4
        await phone.send(2, seq, 0)
        await phone.until_closed()

    async with phone_on(vanishes, takes_all, gathers=True) as (socket, _, _, _):
        await socket.connected.wait()
        socket.post(records(50))
        socket.post(records(4))
        await socket.settled()
        assert socket.counts.fixes_acknowledged == 54


async def test_puts_the_time_of_its_fixes_right_by_the_servers_clock() -> None:
    times_ms: list[int] = []

    async def script(phone: Phone) -> None:
        await phone.welcome(server_ms=wall_ms() - 120_000)
        _, seq, body = await phone.receive()
        times_ms.extend(np.frombuffer(body, wire.FIX_DTYPE)["ts_ms"].tolist())
        await phone.send(2, seq, 0)
        await phone.until_closed()

    async with phone_on(script) as (socket, _, _, _):
        fix = np.zeros(1, wire.FIX_DTYPE)
        fix["ts_ms"] = taken_ms = wall_ms()
        socket.post(fix.tobytes())  # before anybody has told the time
        await socket.settled()
    assert abs(times_ms[0] - (taken_ms - 120_000)) < 2_000


@pytest.mark.parametrize(
    ("asked_ms", "server_ms", "answered_ms", "behind_ms"),
    [
        (1_000_000, 1_000_100, 1_000_200, 0),
        (1_000_000, 1_004_000, 1_000_200, 0),
        (1_000_000, 1_060_100, 1_000_200, 60_000),
        (1_000_000, 940_100, 1_000_200, -60_000),
        (1_000_000, 1_000_100, 1_020_000, 0),
        (1_000_000, 1_019_900, 1_020_000, 0),
    ],
    ids=["right", "nearly right", "behind", "ahead", "slow answer", "slow question"],
)
def test_a_slow_answer_is_no_wrong_clock(asked_ms: int, server_ms: int, answered_ms: int, behind_ms: int) -> None:
    assert ClockCheck(asked_ms).behind_ms(server_ms, answered_ms) == behind_ms
