"""Logs: structured lines, for people on a terminal and as JSON elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Callable

import structlog

BROKER = "natscribe.broker"  # the logger that FastStream speaks through
REPEAT_AFTER_S = 30.0
WARNINGS_REMEMBERED = 64  # warnings that are remembered


def configure(level: str) -> None:
    """Send all log lines, the libraries' too, through structlog to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _flatten_extra,
        _leave_out_what_is_not_known,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            Seldom(),
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
    """Have the libraries' loggers speak through ours; once more after the HTTP server has set up its own."""
    for name in ("faststream", "uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # probes ask every few seconds
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger(BROKER).setLevel(logging.WARNING)  # it tells of its own tasks


class Seldom:
    """Lets a warning pass once in a while, however often it is said: an outage is tried against every second."""

    def __init__(self, every: float = REPEAT_AFTER_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, _: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Drop what was said a moment ago, word for word and of the same task (structlog.DropEvent)."""
        if level != "warning":
            return event
        line = str(sorted({**structlog.contextvars.get_contextvars(), **event}.items(), key=lambda item: item[0]))
        now = self._clock()
        if now - self._said.get(line, -math.inf) < self._every:
            raise structlog.DropEvent
        self._said.pop(line, None)
        self._said[line] = now
        if len(self._said) > WARNINGS_REMEMBERED:
            del self._said[next(iter(self._said))]
        return event


def _flatten_extra(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """FastStream nests what it adds under `extra`."""
    extra = event.pop("extra", None)
    if isinstance(extra, dict):
        event.update({key: value for key, value in extra.items() if value})
    return event


def _leave_out_what_is_not_known(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}
