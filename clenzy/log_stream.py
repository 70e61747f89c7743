"""One stream of structured log lines out of every process's own: in a file, and to whoever watches."""

import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

FILE_BYTES_MAX: Final = 32 * 1024 * 1024
"""A longer log file is set aside as `.1`, replacing the one before."""
TAIL_LINES_MAX: Final = 20
"""Lines kept of each process, to say why it ended."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one process. A line that is not structured, such as a traceback's, has no level of its own."""

    process: str
    level: str
    event: str
    fields: dict[str, Any]
    is_structured: bool

    @property
    def severity(self) -> int:
        """The level as a number, greater is worse."""
        return LEVELS.get(self.level, 20)


@dataclass(slots=True)
class LogStream:
    """Writes `folder/clenzy.log` and hands each line to `watch`."""

    folder: Path
    watch: Callable[[LogLine], None]
    _tails: dict[str, deque[str]] = field(default_factory=dict)
    _written: int = 0

    def __post_init__(self) -> None:
        """Make the folder; go on in a file that is there."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self._written = self.path.stat().st_size

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / "clenzy.log"

    def take(self, process: str, raw: bytes) -> None:
        """Add a line that `process` wrote."""
        text = raw.decode(errors="replace").rstrip()
        if not text:
            return
        line = _parsed(process, text)
        self._tails.setdefault(process, deque(maxlen=TAIL_LINES_MAX)).append(_short(line))
        self._write(line)
        self.watch(line)

    def say(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Add a line of the supervisor's own."""
        stamp = {"level": level, "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z")}
        self.take("supervisor", json.dumps({"event": event, **fields, **stamp}, default=str).encode())

    def tail(self, process: str) -> str:
        """Return the last lines of `process`."""
        return "\n".join(self._tails.get(process, ()))

    def forget(self, process: str) -> None:
        """Start a new tail: the process starts anew."""
        self._tails.pop(process, None)

    def _write(self, line: LogLine) -> None:
        data = json.dumps({**line.fields, "process": line.process, "level": line.level, "event": line.event}) + "\n"
        encoded = data.encode()
        if self._written + len(encoded) > FILE_BYTES_MAX:
            self.path.replace(self.path.with_suffix(".log.1"))
            self._written = 0
        # Opened for each line: few lines a second, and nothing is lost when we are killed.
        with self.path.open("ab") as file:
            file.write(encoded)
        self._written += len(encoded)


def _parsed(process: str, text: str) -> LogLine:
    with suppress(ValueError):
        fields = json.loads(text)
        if isinstance(fields, dict) and "event" in fields:
            fields.pop("process", None)
            return LogLine(
                process, str(fields.pop("level", "info")), str(fields.pop("event")), fields, is_structured=True
            )
    return LogLine(process, "info", text, {}, is_structured=False)


def _short(line: LogLine) -> str:
    shown = {key: value for key, value in line.fields.items() if key not in {"timestamp", "logger"}}
    return " ".join([line.event, *(f"{key}={value}" for key, value in shown.items())])
