"""One connected worker, whatever the transport: fixes in, alarms through, commands answered, events out."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
from redis.exceptions import RedisError

from config.limits import TRIGGERS_PENDING_MAX
from engine.core.errors import ClenzyError, TooMany, Unavailable
from engine.core.units import DEG_E7, NS_PER_MS, e7_to_deg
from engine.core.vocabulary import Duty, FixRefusal, IncidentKind
from engine.geo.fixes import FIX, FIX_BYTES, UNKNOWN_U16
from engine.outbox.history import Position
from engine.people.tokens import Principal
from gateway_ws.budget import FixBudget
from gateway_ws.closing import Close
from gateway_ws.connection import Connection
from gateway_ws.fan_out.event_line import Told
from gateway_ws.fan_out.message import Message
from gateway_ws.metrics import UNANNOUNCED
from gateway_ws.raw.wire import AckState, Trigger
from gateway_ws.safetap_client import TriggerAnswer
from gateway_ws.services import Services
from gateway_ws.session import NOWHERE, PhoneSession

_SESSION_EVENT = "gateway.session"
"""Told on the worker's own topic: somebody signed in as this worker, older connections end."""


class WorkerSession(PhoneSession):
    """The worker's only session here: a newer one ends it."""

    kind = "worker"

    def __init__(self, principal: Principal, token: str, connection: Connection, services: Services) -> None:
        assert principal.slot is not None
        super().__init__(principal, token, connection, services)
        self.slot: int = principal.slot
        now_ms = services.clock.now_ms()
        self._budget = FixBudget(services.clock.steady_ns() / NS_PER_MS)
        self._duty: Duty | None = None
        """Unknown until Postgres, or else the worker's cell in Redis, has told it."""
        self._is_followed = False
        self._refused: Counter[FixRefusal] = Counter()
        self._triggers: set[str] = set()
        self._age = (now_ms, services.clock.steady_ns(), str(uuid4()))

    # ------------------------------------------------------------ life

    async def closed(self) -> None:
        """Let go of everything: the connection is gone."""
        services = self._services
        services.registry.remove(self)
        services.ingest.close(self)
        if self._is_followed:
            services.counting.let_go(self.principal.person_id)
        await services.fan_out.unsubscribe(self.topic, self._hear)
        if not services.ingest.has_source(self.slot):
            services.jobs.remove(self.slot)

    # ------------------------------------------------------------ fixes

    def fixes(self, seq: int, payload: bytes) -> None:
        """Take a checked ping frame.

        Raises:
            TooMany: the connection's budget is spent; send the frame again later.
            Unavailable: nobody can tell right now whether the worker is on duty; send the frame again later.
        """
        if self._duty is None:
            raise Unavailable
        now_ns = self._services.clock.steady_ns()
        if not self._budget.spend(len(payload) // FIX_BYTES, now_ns / NS_PER_MS):
            raise TooMany("too many fixes a second")
        self._services.ingest.add(self, seq, payload, now_ns)

    def spend(self, amount: int) -> None:
        """Take from the connection's budget: one for a fix, one for a command.

        Raises:
            TooMany: it is spent.
        """
        if not self._budget.spend(amount, self._services.clock.steady_ns() / NS_PER_MS):
            raise TooMany("too many fixes a second")

    def acknowledge(self, seq: int) -> None:
        """Confirm what is in its cell."""
        self._connection.acknowledge(seq, AckState.INDEXED)

    def count_refused(self, reasons: Counter[FixRefusal]) -> None:
        """Remember refused fixes until the next report."""
        self._refused.update(reasons)

    def report_refused(self) -> None:
        """Tell the client which fixes were refused since the last report."""
        if not self._refused:
            return
        reasons, self._refused = self._refused, Counter()
        body = {"reasons": {reason.value: count for reason, count in reasons.items()}, "total": reasons.total()}
        self._connection.latest("fixes.refused", "fixes.refused", body)

    def tell_cadence(self) -> None:
        """Ask the phone to send as often as was decided last."""
        self._connection.cadence(self._services.cadences.of(self.slot).as_dict())

    # ------------------------------------------------------------ alarms

    def trigger_frame(self, trigger: Trigger) -> None:
        """Forward a raw trigger at once; its answer comes as an acknowledgement with a state."""
        trigger_id = str(trigger.trigger_id)
        if trigger_id in self._triggers:
            return  # the same one is under way already and will be answered
        if len(self._triggers) >= TRIGGERS_PENDING_MAX:
            self._connection.refuse(TooMany("these triggers are being forwarded already"), trigger.seq)
            return
        self._triggers.add(trigger_id)
        self._services.background.start(self._forward(trigger), name="safetap.forward")

    async def trigger(self, body: Mapping[str, Any]) -> TriggerAnswer:
        """Forward a trigger; from this moment on the job's customer sees no further position.

        Raises:
            ClenzyError: SafeTap refused it, or is not there.
        """
        counting, worker_id = self._services.counting, self.principal.person_id
        if body.get("kind") != IncidentKind.DRILL:
            counting.raised(worker_id)
        try:
            return await super().trigger(body)
        except Unavailable:
            raise  # the phone sends again: it needs help all the same
        except ClenzyError:
            counting.not_raised(worker_id)
            raise

    # ------------------------------------------------------------ commands

    async def command(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the worker asks for.

        Raises:
            ClenzyError: refused, and why.
        """
        if name == "state":
            state = await self._services.calls.worker_state(self.principal)
            return self._welcome_body(state)
        if name == "check.in":
            return await self.check_in(body)
        result = await self._services.calls.command(self.principal, name, body)
        if name == "duty":
            self._set_duty(Duty(result["duty"]))
        if isinstance(booking := result.get("booking"), dict):
            self._follow(booking)
        return result

    # ------------------------------------------------------------ inside

    async def _listen(self) -> bool:
        """Take over the worker: end older connections, listen, learn the newest fix."""
        self._services.registry.replace_worker(self.slot, self)
        self._services.ingest.open(self)
        is_heard = await super()._listen()
        self._is_followed = True
        await self._services.counting.follow(self.slot, self.principal.person_id, self.principal.org_id)
        await self._announce()
        await self._prime()
        return is_heard

    def _hear(self, message: Message) -> None:
        event = message.json()
        if event["kind"] != _SESSION_EVENT:
            super()._hear(message)
        elif tuple(event["body"]["age"]) > self._age:
            self._connection.close(Close.REPLACED, "connected again elsewhere")

    def _tell(self, told: Told) -> None:
        if told.kind == "duty":
            self._set_duty(Duty(told.body["duty"]), since=told.body.get("since"))
        elif told.kind == "booking":
            self._follow(told.body)
        self._connection.event(told.kind, told.body, told.seq, shared=told.shared)

    async def _state(self) -> tuple[Position, dict[str, Any]]:
        news = self._services.counting.news(self.principal.person_id)
        position, state = await self._services.calls.worker_snapshot(self.principal)
        return position, {**state, "news": news}

    def _welcome(self, state: dict[str, Any], place: Mapping[str, Any]) -> None:
        self._services.jobs.replace(self.slot, state["booking"])
        self._duty = Duty(state["duty"])
        self._services.counting.loaded(self.principal.person_id, state["tracking"], state["news"])
        self._connection.welcome({**self._welcome_body(state), **place})

    def _welcome_without_state(self) -> None:
        """Start with what Redis knows: who is in a cell is on duty."""
        if self._services.counting.believe_redis(self.slot):
            self._duty = Duty.ON
        state = {"duty": self._duty or Duty.OFF, "offer": None, "booking": None}
        self._connection.welcome({**self._welcome_body(state), **NOWHERE})

    def _set_duty(self, duty: Duty, *, since: str | None = None) -> None:
        self._duty = duty
        self._services.counting.set_duty(self.slot, duty, since=since)

    def _follow(self, booking: Mapping[str, Any]) -> None:
        if self._services.jobs.update(self.slot, booking):
            look = self._services.counting.look(self.principal.person_id)
            self._services.background.start(look, name="worker.look")
        if self._tune():
            self.tell_cadence()

    def _tune(self) -> bool:
        has_job = np.array([self.slot in self._services.jobs])
        return bool(len(self._services.cadences.tune(np.array([self.slot]), has_job)))

    def _welcome_body(self, state: Mapping[str, Any]) -> dict[str, Any]:
        self._tune()
        return {
            "slot": self.slot,
            **self._services.cadences.of(self.slot).as_dict(),
            "duty": str(state["duty"]),
            "offer": state["offer"],
            "booking": state["booking"],
            "server_ms": self._services.clock.now_ms(),
        }

    async def _announce(self) -> None:
        """End this worker's older connections, on this gateway or another one."""
        message = {"event_id": 0, "kind": _SESSION_EVENT, "body": {"age": self._age}}
        try:
            await self._services.fan_out.publish(self.topic, orjson.dumps(message))
        except (RedisError, OSError, TimeoutError):
            UNANNOUNCED.inc()  # Redis is away: whoever it tells of that will do

    async def _prime(self) -> None:
        """Know what another gateway, or this one before a restart, has accepted last."""
        try:
            record = await self._services.newest(self.slot)
        except (RedisError, OSError, TimeoutError):
            return
        self._services.table.prime(self.slot, record)

    async def _forward(self, trigger: Trigger) -> None:
        trigger_id = str(trigger.trigger_id)
        body: dict[str, Any] = {"trigger_id": trigger_id, "kind": trigger.kind.value}
        if trigger.fix is not None and (fix := _fix_body(trigger.fix)) is not None:
            body["fix"] = fix
        try:
            answer = await self.trigger(body)
        except ClenzyError as error:
            self._connection.refuse(error, trigger.seq)
        else:
            state = AckState.COMMITTED if answer.is_committed else AckState.SPOOLED
            self._connection.acknowledge(trigger.seq, state)
        finally:
            self._triggers.discard(trigger_id)


def _fix_body(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON of a trigger's fix; none where it is nonsense: a bad place must not cost the alarm."""
    fix = np.frombuffer(raw, FIX)[0]
    if abs(int(fix["lat_e7"])) > 90 * DEG_E7 or abs(int(fix["lng_e7"])) > 180 * DEG_E7 or fix["ts_ms"] <= 0:
        return None
    body: dict[str, Any] = {
        "lat": e7_to_deg(int(fix["lat_e7"])),
        "lng": e7_to_deg(int(fix["lng_e7"])),
        "ts_ms": int(fix["ts_ms"]),
    }
    if fix["accuracy_dm"] != UNKNOWN_U16:
        body["accuracy_m"] = int(fix["accuracy_dm"]) / 10
    return body
