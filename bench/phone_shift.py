"""What a phone sends in a shift of eight hours, and how often its radio wakes, beside two stock trackers.

    python -m bench.phone_shift

The shift is five jobs: waiting, roaming, the way to the customer, the door, the work. Everything is counted from bytes
that the real encoders make and the real cadence asks for; nothing is sent, so the figures are the same on any machine.

Counted: the payload of TCP both ways, with the heads of websocket and HTTP, and TLS 1.3 as an estimate: 22 bytes a
record and one handshake of 3,500 bytes a connection. Not counted: TCP and IP heads and acknowledgements, which add the
same 40-odd bytes to each packet of all of them. Every phone keeps one connection for the whole shift: that is the best
case of the HTTP apps, which in truth reconnect after a minute or more of silence.

Defaults as documented. Traccar Client: a fix every 75 m, at least 30 s apart, none while standing
(github.com/traccar/traccar-client, lib/preferences.dart). OwnTracks for iOS: in move mode after 100 m or 300 s, in
significant mode after 500 m and 300 s (owntracks.org/booklet/features/location). Both are measured as they come, and
asked for as fresh a place on a job as ours.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import msgpack
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import OUT
from engine.geo.fixes import FIX, FIX_BYTES
from engine.geo.worker_table import WorkerTable
from gateway_ws.cadence import Cadences
from gateway_ws.raw import wire

START_MS: Final = 1_700_000_000_000
TLS_RECORD_BYTES: Final = 22
TLS_HANDSHAKE_BYTES: Final = 3_500
MASK_BYTES: Final = 4
TOKEN_BYTES: Final = 520
"""An access token as the API issues it."""
REFRESHES: Final = 32
"""One every 15 minutes."""
PING_EVERY_S: Final = 25
"""Two control frames, whatever else is sent."""
RATIO_MAX: Final = 1 / 3

PHASES: Final = (("waiting", 900, 0.0), ("roaming", 420, 6.0), ("driving", 1_140, 9.0), ("door", 240, 0.0),
                 ("work", 3_060, 0.0))  # fmt: skip
"""Name, seconds and metres a second of one job; five of them are eight hours."""
JOBS: Final = 5
WATCHED: Final = frozenset({"driving", "door"})


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of the shift."""

    at_s: int
    phase: str
    way_m: float
    speed_mps: float


@dataclass(slots=True)
class Spent:
    """What one phone cost, and how old the newest known place was while a customer watched the way."""

    name: str
    bytes_up: int = 0
    bytes_down: int = 0
    wakes: int = 0
    fixes: int = 0
    ages_s: list[float] = field(default_factory=list)
    errors_m: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Bytes both ways."""
        return self.bytes_up + self.bytes_down

    def connect(self, up: int, down: int) -> None:
        """Count a new connection."""
        self.bytes_up += up
        self.bytes_down += down + TLS_HANDSHAKE_BYTES
        self.wakes += 1

    def exchange(self, up: int, down: int, *, fixes: int) -> None:
        """Count a message and its answer, each in a TLS record of its own."""
        self.bytes_up += up + TLS_RECORD_BYTES
        self.bytes_down += down + TLS_RECORD_BYTES
        self.wakes += 1
        self.fixes += fixes


def shift() -> Iterator[Moment]:
    """Return the shift, second by second; traffic makes the speed swing around its mean."""
    at_s, way_m = 0, 0.0
    for _ in range(JOBS):
        for phase, seconds, mean_mps in PHASES:
            for second in range(seconds):
                speed_mps = mean_mps * (1 + 0.5 * ((second // 30) % 3 - 1))
                way_m += speed_mps
                yield Moment(at_s, phase, way_m, speed_mps)
                at_s += 1


def ours(moments: list[Moment]) -> Spent:
    """Return what our own phone spends: raw websocket, told by the real cadence how often to send."""
    spent, table = Spent("Clenzy, raw websocket"), WorkerTable()
    table.set_duty(0, 0)
    cadences, has_job = Cadences(table), False
    hello = wire.pack(0, "x" * TOKEN_BYTES, {"client": "app"})
    spent.connect(
        _upgrade_bytes() + _up(hello), 129 + _down(wire.pack(0, 1, {"cadence_ms": 5_000, "server_ms": START_MS}))
    )
    cadences.tune(np.zeros(1, np.int64), np.array([has_job]))
    gathered: list[tuple[int, ...]] = []
    next_fix_s = next_frame_s = seq = 0
    known = moments[0]
    for moment in moments:
        has_job = moment.phase in WATCHED
        if len(cadences.tune(np.zeros(1, np.int64), np.array([has_job]))):
            spent.bytes_down += _down(wire.pack(9, cadences.of(0).as_dict())) + TLS_RECORD_BYTES
            next_fix_s = next_frame_s = moment.at_s
        cadence = cadences.of(0)
        if moment.at_s >= next_fix_s:
            gathered.append(_fix(moment))
            _note(table, moment)
            next_fix_s = moment.at_s + cadence.cadence_ms // 1_000
        if gathered and moment.at_s >= next_frame_s:
            seq += 1
            frame = wire.pack(1, seq, np.array(gathered, FIX).tobytes())
            spent.exchange(_up(frame), _down(wire.ack_frame(seq)), fixes=len(msgpack.unpackb(frame)[2]) // FIX_BYTES)
            gathered = []
            next_frame_s, known = moment.at_s + cadence.batch_ms // 1_000, moment
        _see(spent, moment, known)
    spent.bytes_up += REFRESHES * (_up(wire.pack(7, "x" * TOKEN_BYTES)) + TLS_RECORD_BYTES)
    beats = moments[-1].at_s // PING_EVERY_S
    spent.bytes_up += beats * (2 + MASK_BYTES + TLS_RECORD_BYTES)
    spent.bytes_down += beats * (2 + TLS_RECORD_BYTES)
    return spent


def by_http(
    name: str, moments: list[Moment], request: Callable[[Moment], bytes], answer: bytes,
    is_due: Callable[[Moment, Moment], bool],
) -> Spent:  # fmt: skip
    """Return what a tracker spends that posts each fix and says by itself when one is due."""
    spent, known = Spent(name), moments[0]
    spent.connect(0, 0)
    for moment in moments:
        if moment is moments[0] or is_due(moment, known):
            spent.exchange(len(request(moment)), len(answer), fixes=1)
            known = moment
        _see(spent, moment, known)
    return spent


def traccar_request(moment: Moment) -> bytes:
    """Return one POST of Traccar Client 9, by its template."""
    lat, lng = _place(moment)
    body = json.dumps(
        {
            "location": {
                "timestamp": "2023-11-14T22:13:20.000Z",
                "coords": {"latitude": lat, "longitude": lng, "accuracy": 5.2, "speed": round(moment.speed_mps, 2),
                           "heading": 91.3, "altitude": 84.1},
                "is_moving": moment.speed_mps > 0,
                "odometer": round(moment.way_m, 1),
                "event": "motionchange",
                "battery": {"level": 0.81, "is_charging": False},
                "activity": {"type": "in_vehicle"},
                "extras": {},
                "_": f"&id=12345678&lat={lat}&lon={lng}&timestamp=2023-11-14T22:13:20.000Z&",
            },
            "device_id": "x" * 43,
        },
        separators=(",", ":"),
    )  # fmt: skip
    return _post("/ingest/traccar", body)


def owntracks_request(moment: Moment) -> bytes:
    """Return one POST of OwnTracks in HTTP mode."""
    lat, lng = _place(moment)
    said = {"_type": "location", "BSSID": "00:00:00:00:00:00", "SSID": "net", "acc": 5, "alt": 84, "batt": 81, "bs": 1,
            "cog": 91, "conn": "m", "created_at": 1_700_000_001, "lat": lat, "lon": lng, "m": 1, "t": "t", "tid": "ab",
            "topic": "owntracks/worker/phone", "tst": 1_700_000_000, "vac": 3,
            "vel": round(moment.speed_mps * 3.6)}  # fmt: skip
    basic = "Authorization: Basic " + "x" * 64 + "\r\nX-Limit-U: worker\r\nX-Limit-D: phone\r\n"
    return _post("/ingest/owntracks", json.dumps(said, separators=(",", ":")), basic)


def measured() -> list[Spent]:
    """Return what our phone spends, then what the others do: with their defaults, and as fresh as ours."""
    moments = list(shift())
    empty = _answer(b"")
    return [
        ours(moments),
        by_http("Traccar Client, defaults", moments, traccar_request, empty,
                _after(75, "and", 30)),
        by_http("OwnTracks, move mode", moments, owntracks_request, _answer(b"[]"),
                _after(100, "or", 300)),
        by_http("OwnTracks, significant", moments, owntracks_request, _answer(b"[]"),
                _after(500, "and", 300)),
        by_http("Traccar Client, as fresh as ours", moments, traccar_request, empty, _as_fresh),
        by_http("OwnTracks, as fresh as ours", moments, owntracks_request, _answer(b"[]"), _as_fresh),
    ]  # fmt: skip


def main() -> int:
    """Print the table, write it as JSON, and return whether the target was met."""
    phones = measured()
    mine = phones[0]
    rows = [
        {
            "phone": each.name,
            "kB": round(each.total / 1_000),
            "bytes_up": each.bytes_up,
            "wakes": each.wakes,
            "fixes": each.fixes,
            "age_mean_s": round(float(np.mean(each.ages_s)), 1),
            "age_max_s": max(each.ages_s),
            "behind_p95_m": round(float(np.percentile(each.errors_m, 95))),
            "ours_is": round(mine.total / each.total, 2),
        }
        for each in phones
    ]
    table = Table(title="A phone's shift of 8 h; age and distance of the newest known place on the way to a customer")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "phone" else "right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    OUT.mkdir(exist_ok=True)
    (OUT / "phone_shift.json").write_text(json.dumps(rows, indent=1))
    return 0 if all(mine.total <= RATIO_MAX * each.total for each in phones[-2:]) else 1


def _after(metres: float, link: Literal["and", "or"], seconds: int) -> Callable[[Moment, Moment], bool]:
    def is_due(now: Moment, last: Moment) -> bool:
        is_far, is_old = now.way_m - last.way_m >= metres, now.at_s - last.at_s >= seconds
        return is_far and is_old if link == "and" else is_far or is_old

    return is_due


def _as_fresh(now: Moment, last: Moment) -> bool:
    return now.at_s - last.at_s >= (2 if now.phase in WATCHED and now.speed_mps > 0 else 15)


def _see(spent: Spent, moment: Moment, known: Moment) -> None:
    if moment.phase == "driving":
        spent.ages_s.append(moment.at_s - known.at_s)
        spent.errors_m.append(moment.way_m - known.way_m)


def _fix(moment: Moment) -> tuple[int, ...]:
    lat, lng = _place(moment)
    ts_ms = START_MS + moment.at_s * 1_000
    return ts_ms, round(lat * 1e7), round(lng * 1e7), 52, round(moment.speed_mps * 100), 9_130, 81, 0


def _note(table: WorkerTable, moment: Moment) -> None:
    """Do what the acceptance does to the row of a worker who stands or moves."""
    table.last[0]["ts_ms"] = START_MS + moment.at_s * 1_000
    table.last[0]["battery_pct"] = 81
    if moment.speed_mps > 0 or table.moved_ms[0] == 0:
        table.moved_ms[0] = table.last[0]["ts_ms"]


def _place(moment: Moment) -> tuple[float, float]:
    return round(41.15 + moment.way_m / 111_319.49 % 0.1, 7), -8.6100123


def _upgrade_bytes() -> int:
    head = ("GET /ws/ping HTTP/1.1", "Host: gateway.example.com", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Key: " + "x" * 24, "Sec-WebSocket-Version: 13", "User-Agent: clenzy/1", "", "")  # fmt: skip
    return len("\r\n".join(head))


def _up(frame: bytes) -> int:
    return len(wire.websocket_frame(frame)) + MASK_BYTES


def _down(frame: bytes) -> int:
    return len(wire.websocket_frame(frame))


def _post(path: str, body: str, more: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: gateway.example.com\r\nContent-Type: application/json\r\n{more}"
        f"Content-Length: {len(body)}\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\n"
        f"User-Agent: okhttp/4.12.0\r\n\r\n{body}"
    ).encode()


def _answer(body: bytes) -> bytes:
    head = (b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Content-Length: %d" % len(body),
            b"Date: Tue, 14 Nov 2023 22:13:20 GMT", b"Server: Python/3.11 aiohttp/3.14.0", b"", body)  # fmt: skip
    return b"\r\n".join(head)


if __name__ == "__main__":
    sys.exit(main())
