"""One structured log stream of key-values with the process name; never coordinates or phone numbers."""

import logging
import re
import sys
import traceback
from typing import Final

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from config.settings import Settings

PERSONAL: Final = re.compile(r"(?<![\w.])[-+]?\d{1,3}\.\d{3,}|\+?\d[\d ()/-]{6,}\d")
"""What may be a coordinate or a phone number in the words of an error: databases and parsers quote what they refuse."""
MESSAGE_CHARS_MAX: Final = 300


def configure_logs(process: str, settings: Settings) -> None:
    """Send structlog and the standard library's records of this process to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(told),
    ]
    last: structlog.typing.Processor
    if settings.log_format == "json":
        last = structlog.processors.JSONRenderer()
    else:
        last = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    logging.getLogger("aiohttp.server").addFilter(_without_strangers_bytes)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    structlog.contextvars.bind_contextvars(process=process)


def told(exc_info: structlog.typing.ExcInfo) -> str:
    """Return what a log tells of an exception: where it happened, what kind it is, what it says without what it quotes.

    No local variables, and of each message the first line only: Postgres appends the row that it refused, pydantic the
    input.
    """
    lines: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        message = PERSONAL.sub("*", str(error).partition("\n")[0])[:MESSAGE_CHARS_MAX]
        frames = "".join(traceback.format_tb(error.__traceback__))
        lines.insert(0, f"{frames}{type(error).__name__}: {message}")
        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        lines += [told((type(one), one, one.__traceback__)) for one in members]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(lines)


def _without_strangers_bytes(record: logging.LogRecord) -> bool:
    """Make one quiet line of what is not HTTP: no defect of ours, and a traceback would quote what was sent."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args, record.exc_info = "http.malformed", (), None
    return True
