"""Reads GPX tracks. Files come from strangers: a document type, and with it every entity, is refused unread."""

import math
from typing import IO, Final
from xml.etree.ElementTree import ParseError, XMLParser

from sim.replay.recording import Recording, RecordingBuilder
from sim.replay.times import parse_time_ms

GPX_BYTES_MAX: Final = 256 * 1024 * 1024
GPX_POINTS_MAX: Final = 5_000_000
DEPTH_MAX: Final = 32
CHUNK_BYTES: Final = 65_536


def read_gpx(file: IO[bytes], *, source: str) -> Recording:
    """Return the recording of a GPX file: every `trk` is a worker, named by its `name`.

    Points without a time are skipped and counted: nobody can say when somebody was there.

    Raises:
        ValueError: not GPX, larger than the limits, or with a document type.
    """
    target = _Track(source)
    parser = XMLParser(target=target)  # noqa: S314 - the target refuses document types, so there are no entities
    size = 0
    try:
        while chunk := file.read(CHUNK_BYTES):
            size += len(chunk)
            if size > GPX_BYTES_MAX:
                raise ValueError(f"{source}: larger than {GPX_BYTES_MAX} bytes")
            parser.feed(chunk)
        parser.close()
    except ParseError as error:
        raise ValueError(f"{source}: not XML: {error}") from error
    return target.builder.build()


class _Track:
    """Takes the parser's events; keeps no tree, so that memory does not grow with nesting or comments."""

    def __init__(self, source: str) -> None:
        self.builder = RecordingBuilder(source)
        self._source = source
        self._path: list[str] = []
        self._text: list[str] = []
        self._tracks = 0
        self._name = ""
        self._point: dict[str, str] = {}

    def doctype(self, name: str, _pubid: str | None, _system: str | None) -> None:
        raise ValueError(f"{self._source}: a document type ({name}) is not accepted")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag.rpartition("}")[2])
        if len(self._path) > DEPTH_MAX:
            raise ValueError(f"{self._source}: nested deeper than {DEPTH_MAX}")
        self._text.clear()
        if self._path[-1] == "trk":
            self._tracks += 1
            self._name = f"track {self._tracks}"
        elif self._path[-1] == "trkpt":
            self._point = dict(attributes)

    def data(self, text: str) -> None:
        self._text.append(text)

    def end(self, _tag: str) -> None:
        tag, text = self._path.pop(), "".join(self._text).strip()
        self._text.clear()
        parent = self._path[-1] if self._path else ""
        if parent == "trk" and tag == "name" and text:
            self._name = text
        elif parent == "trkpt" and tag in {"time", "speed", "course"}:
            self._point[tag] = text
        elif tag == "trkpt":
            self._take_point()

    def close(self) -> None:
        return

    def _take_point(self) -> None:
        if self.builder.fixes >= GPX_POINTS_MAX:
            raise ValueError(f"{self._source}: more than {GPX_POINTS_MAX} points")
        try:
            ts_ms = parse_time_ms(self._point["time"])
            lat_deg, lng_deg = float(self._point["lat"]), float(self._point["lon"])
        except (KeyError, ValueError):
            self.builder.skipped["point without a time or place"] += 1
            return
        worker = self.builder.worker(self._name)
        speed_mps, heading_deg = _number(self._point.get("speed")), _number(self._point.get("course"))
        if self.builder.add(worker, ts_ms, lat_deg, lng_deg, speed_mps=speed_mps, heading_deg=heading_deg):
            self.builder.mark(worker, ts_ms, lat_deg, lng_deg)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
