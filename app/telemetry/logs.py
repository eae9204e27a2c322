"""Logs: structured lines, readable on a terminal and JSON elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Callable

import structlog

BROKER = "natscribe.broker"  # the logger of FastStream's broker
REPEAT_AFTER_S = 30.0
WARNINGS_REMEMBERED = 64


def configure(level: str) -> None:
    """Send all log lines, also those of libraries, through structlog to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _flatten_extra,
        _leave_out_none,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
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
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    adopt_libraries()


def adopt_libraries() -> None:
    """Have the loggers of libraries log through ours; call it again after the HTTP server has set up its own."""
    for name in ("faststream", "uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # health probes come every few seconds
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger(BROKER).setLevel(logging.WARNING)  # it logs each message


class RepeatFilter:
    """Logs an equal warning only every REPEAT_AFTER_S: in an outage the same call fails each second."""

    def __init__(self, every: float = REPEAT_AFTER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._logged_at: dict[str, float] = {}

    def __call__(self, _: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Drop a warning that was logged a moment ago, with the same words and of the same task.

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


def _flatten_extra(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Move what FastStream nests under `extra` one level up."""
    extra = event.pop("extra", None)
    if isinstance(extra, dict):
        event.update({key: value for key, value in extra.items() if value})
    return event


def _leave_out_none(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}
