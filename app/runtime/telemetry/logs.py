"""Logs: structured lines, as plain text on a terminal and as JSON elsewhere."""

import errno
import logging
import math
import re
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog
from natscribe.schemas.printable import printable
from natscribe.settings import without_login

from app.settings import VERSION, Settings

DEFAULT_LEVEL: Final = "INFO"
SERVER: Final = "uvicorn.error"  # the logger of the HTTP server, for all lines except those of requests
HIDDEN: Final = ("Started server process", "Waiting for application startup")  # `worker_configured` is the first line
BROKER = "natscribe.broker"  # the logger of FastStream's broker
REPEAT_AFTER_S = 30.0  # how long equal warnings are dropped after the first one
WARNINGS_REMEMBERED = 64  # the latest different warnings, whose repetitions are dropped


log = structlog.get_logger()


def configure(level: str = DEFAULT_LEVEL) -> None:
    """Send all log lines, including those of libraries, to standard error, with structlog as their formatter."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _flatten_extra,
        _drop_none,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _drop_broken_connection,
            RepeatFilter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _make_printable,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for adapt in (_is_shown, _name_port):
        logging.getLogger(SERVER).addFilter(adapt)
    adopt_libraries()


def adopt_libraries() -> None:
    """Let the root logger handle the log lines of libraries; hide the lines that they log for each request or message.

    Call this function again after the HTTP server has configured its loggers.
    """
    for name in ("faststream", "uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # hides the frequent health probes
    for name in ("httpx2", "httpcore2"):  # they log the addresses of recordings
        logging.getLogger(name).setLevel(logging.WARNING)
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger(BROKER).setLevel(logging.WARNING)  # the broker logs two lines for each message


def summary(settings: Settings) -> dict[str, str]:
    """Return the fields of the first log line: version, servers, model and device."""
    return {
        "version": VERSION,
        "nats": settings.nats_addresses,
        "redis": without_login(settings.redis_url),
        "model": settings.transcription_model or "whisper-base",
        "device": settings.engine_device,
    }


def end_with_start_error(error: str) -> None:
    """Log why the worker cannot start, and disable the HTTP server's logger, which would add a traceback."""
    log.critical("worker_start_failed", error=error)
    logging.getLogger(SERVER).disabled = True


class RepeatFilter:
    """A structlog processor that drops repeated warnings, of which an outage would cause many.

    A warning is dropped if the same task has logged the same warning within the last REPEAT_AFTER_S seconds.
    """

    def __init__(self, every: float = REPEAT_AFTER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def __call__(self, _: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Drop a warning if an equal one of the same task was logged recently; return every other event.

        Raises:
            structlog.DropEvent: The warning is dropped.
        """
        if level != "warning":
            return event
        line = str(sorted({**structlog.contextvars.get_contextvars(), **event}.items(), key=lambda item: item[0]))
        now = self._clock()
        if now - self._logged_at.get(line, -math.inf) < self._every:
            raise structlog.DropEvent
        self._logged_at.pop(line, None)
        self._logged_at[line] = now
        if len(self._logged_at) > WARNINGS_REMEMBERED:
            del self._logged_at[next(iter(self._logged_at))]
        return event


def _is_shown(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(HIDDEN)


def _name_port(record: logging.LogRecord) -> bool:
    """Replace the HTTP server's error about a port in use by a message that names the option `--port`.

    As a filter of a logger, it returns True for every record, so that the record is logged.
    """
    if isinstance(record.msg, OSError) and record.msg.errno == errno.EADDRINUSE:
        port = next(iter(re.findall(r"--port[ =](\d+)", " ".join(sys.argv))), "8000")
        record.msg = f"Port {port} is in use: choose another with --port, or stop the process that listens there."
    return True


def _drop_broken_connection(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Drop FastStream's traceback of a lost connection to NATS, which the connection monitor has logged in one line."""
    if str(event["event"]).startswith("Connection broken"):
        raise structlog.DropEvent
    return event


def _flatten_extra(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Move the fields that FastStream nests under `extra` one level up."""
    extra = event.pop("extra", None)
    if isinstance(extra, dict):
        event.update({key: value for key, value in extra.items() if value})
    return event


def _drop_none(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _make_printable(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what a terminal might act on: a line may repeat text of a message. Only a traceback has several lines."""
    return {
        key: printable(value, keep="\n" if key == "exception" else "") if isinstance(value, str) else value
        for key, value in event.items()
    }
