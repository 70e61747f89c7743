"""The document of the sockets is whole, and says what the code and docs/protocol.md say."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.core.vocabulary import SENT_KINDS, FixRefusal
from gateway_ws.closing import Close
from gateway_ws.raw import wire
from gateway_ws.raw.wire import FrameType
from gateway_ws.socketio.console_ns import ConsoleNamespace
from gateway_ws.socketio.customer_ns import CustomerNamespace
from gateway_ws.socketio.namespace import SessionNamespace
from gateway_ws.socketio.worker_ns import WorkerNamespace
from safetap_door import live_desks

ROOT = Path(__file__).resolve().parents[2]
NAMESPACES: dict[str, type[SessionNamespace[Any]]] = {
    "worker": WorkerNamespace,
    "customer": CustomerNamespace,
    "console": ConsoleNamespace,
}
IN_EVERY_NAMESPACE = {"token", "error", "welcome"}

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()


def resolved(value: Any) -> Any:
    """Follow references until there is something to read."""
    while isinstance(value, Mapping) and "$ref" in value:
        target: Any = DOCUMENT
        for step in value["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        value = target
    return value


def references(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def messages(channel: str, action: str) -> list[dict[str, Any]]:
    """What the server receives or sends on a channel."""
    return [
        resolved(message)
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == action and operation["channel"]["$ref"] == f"#/channels/{channel}"
        for message in operation["messages"]
    ]


def names(channel: str, action: str) -> set[str]:
    return {message["name"] for message in messages(channel, action)}


def frames(action: str) -> dict[int, list[Any]]:
    return {payload["items"][0]["const"]: payload["items"] for payload in map(payload_of, messages("ping", action))}


def payload_of(message: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = resolved(message["payload"])
    return payload


def paragraph(start: str, end: str) -> str:
    return PROTOCOL[PROTOCOL.index(start) : PROTOCOL.index(end, PROTOCOL.index(start))]


def sent_by_the_gateway() -> set[str]:
    """Names that the gateway gives to events of its own: the first argument of `event`, the second of `latest`."""
    found = set()
    for path in (ROOT / "gateway_ws").rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                place = {"event": 0, "latest": 1}.get(node.func.attr)
                name = node.args[place] if place is not None and len(node.args) > place else None
                text = constants.get(name.id) if isinstance(name, ast.Name) else getattr(name, "value", None)
                if isinstance(text, str):
                    found.add(text)
    return found


def told_by_the_engine(*, to: str) -> set[str]:
    """Kinds of the outbox's events by their topic: `user` or `desk`."""
    found = set()
    for path in (ROOT / "engine").rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(rf"topic={to}_topic\(.*?\), kind=\"([a-z.]+)\"", text, re.DOTALL))
        found |= set(re.findall(rf"Event\({to}_topic\(.*?\)+, \"([a-z.]+)\"", text))
        found |= set(re.findall(rf"'{to}:' \|\| i\.org_id, '([a-z.]+)'", text))
    return found


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    wanted = set()
    for reference in references(DOCUMENT):
        assert resolved(reference) is not None
        wanted.add(reference["$ref"])
    for kind, parts in DOCUMENT["components"].items():
        assert {part for part in parts if f"#/components/{kind}/{part}" not in wanted} == set()
    for channel, described in DOCUMENT["channels"].items():
        unused = {one for one in described["messages"] if f"#/channels/{channel}/messages/{one}" not in wanted}
        assert unused == set(), channel


def test_the_addresses_are_the_routes() -> None:
    gateway = (ROOT / "gateway_ws" / "gateway.py").read_text()
    for channel in ("ping", *NAMESPACES):
        assert f'"{DOCUMENT["channels"][channel]["address"]}"' in gateway
    door = (ROOT / "safetap_door" / "__main__.py").read_text()
    assert f'"{DOCUMENT["channels"]["live"]["address"]}"' in door


def test_frames_are_those_of_the_code_and_of_the_protocol() -> None:
    from_phone, from_server = set(frames("receive")), set(frames("send"))
    assert from_phone | from_server == set(FrameType)
    assert from_phone == set(wire._FROM_PHONE)
    sending = (ROOT / "gateway_ws" / "raw" / "connection.py").read_text()
    assert from_server == {FrameType[each] for each in re.findall(r"FrameType\.([A-Z]+)", sending)}
    table = paragraph("| from | frame | meaning |", "Fix record,")
    for who, described in (("phone", from_phone), ("server", from_server)):
        assert {int(each) for each in re.findall(rf"\| {who} \| `\[(\d)", table)} == described


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_events_of_clients_are_those_that_the_namespace_takes(namespace: str) -> None:
    assert names(namespace, "receive") == NAMESPACES[namespace].events


def test_events_of_the_server_are_those_that_the_code_sends() -> None:
    to_worker, to_customer, to_console = (names(namespace, "send") for namespace in NAMESPACES)
    assert to_worker | to_customer | to_console == (
        sent_by_the_gateway() | told_by_the_engine(to="user") | told_by_the_engine(to="desk")
    )
    assert told_by_the_engine(to="user") <= to_worker
    assert told_by_the_engine(to="desk") <= to_console


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_events_are_those_of_the_protocol(namespace: str) -> None:
    known = set().union(*(names(each, action) for each in NAMESPACES for action in ("send", "receive")))
    text = {
        "worker": paragraph("Commands: ", "Fixes are refused") + paragraph("**`/worker`**", "**`/customer`**"),
        "customer": paragraph("**`/customer`**", "**`/console`**"),
        "console": paragraph("**`/console`**", "## 4. SafeTap"),
    }[namespace]
    # A name with its object is an event's for certain; a bare one is where some namespace has an event of that name.
    told = set(re.findall(r"`([a-z][a-z.]*) \{", text))
    told |= {bare for bare in re.findall(r"`([a-z][a-z.]*)`", text) if bare in known}
    assert told | IN_EVERY_NAMESPACE == names(namespace, "send") | names(namespace, "receive")
    assert all(f"`{name} {{" in PROTOCOL or f"`{name}`" in PROTOCOL for name in IN_EVERY_NAMESPACE)


def test_commands_events_and_reasons_of_the_frames_are_the_same_words() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["CommandName"]["enum"]) == WorkerNamespace.events - {"ping", "safetap", "token"}
    assert set(schemas["WorkerEventName"]["enum"]) == names("worker", "send") - {"welcome", "ack", "cadence", "error"}
    assert set(schemas["FixRefusal"]["enum"]) == set(FixRefusal)
    assert schemas["Trigger"]["properties"]["kind"]["enum"] == list(SENT_KINDS)


def test_close_codes_are_those_of_the_code_and_of_the_protocol() -> None:
    ping = DOCUMENT["channels"]["ping"]["x-close-codes"]
    assert ping == {reason.code: reason.websocket_code for reason in Close}
    live = DOCUMENT["channels"]["live"]["x-close-codes"]
    assert live == {
        **live_desks.CLOSE_CODES,
        "malformed_frame": live_desks.MALFORMED,
        "slow_reader": live_desks.SLOW_READER,
        "going_away": live_desks.GOING_AWAY,
    }
    refusals = paragraph("Refusals and close codes:", "## 3. Socket.IO")
    assert all(f"`{code}`" in refusals and str(number) in refusals for code, number in ping.items())
    stream = paragraph("`GET /v1/safetap/live`", "Acknowledging works on")
    assert {int(number) for number in re.findall(r"\b(1001|4\d{3})\b", stream)} == set(live.values())


def test_messages_of_the_live_stream_are_those_of_the_code_and_of_the_protocol() -> None:
    code = (ROOT / "safetap_door" / "live_desks.py").read_text()
    assert names("live", "send") == set(re.findall(r'\{"type": "([a-z]+)"', code))
    assert names("live", "receive") == {*re.findall(r'fields\.get\("type"\) == "([a-z]+)"', code), "token"}
    stream = paragraph("`GET /v1/safetap/live`", "Acknowledging works on")
    typed = set(re.findall(r'\{"type": "([a-z]+)"', stream))
    assert typed | {"token"} == names("live", "send") | names("live", "receive")
