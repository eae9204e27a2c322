"""What is logged again and again."""

import errno
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from app.runtime.telemetry.logs import (
    BROKER,
    SERVER,
    WARNINGS_REMEMBERED,
    RepeatFilter,
    adopt_libraries,
    configure,
    summary,
)
from app.settings import VERSION, Settings

Lines = Callable[[], list[dict[str, object]]]


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seldom(clock: Clock) -> RepeatFilter:
    return RepeatFilter(30.0, clock)


def passes(seldom: RepeatFilter, event: str, level: str = "warning", **facts: object) -> bool:
    try:
        seldom(None, level, {"event": event, **facts})
    except structlog.DropEvent:
        return False
    return True


def test_an_equal_warning_is_logged_again_after_a_while(seldom: RepeatFilter, clock: Clock) -> None:
    # Given a warning that was logged
    assert passes(seldom, "nats_error_received", error="refused")
    # When it is logged every second
    passed_at = []
    for clock.now in map(float, range(1, 61)):
        passed_at.append(passes(seldom, "nats_error_received", error="refused"))
    # Then it is written every half minute
    assert [at for at, passed in enumerate(passed_at, 1) if passed] == [30, 60]


def test_a_different_warning_is_logged(seldom: RepeatFilter) -> None:
    assert passes(seldom, "nats_error_received", error="refused")
    # Another reason, another task, and what is more or less than a warning
    assert passes(seldom, "nats_error_received", error="timeout")
    with structlog.contextvars.bound_contextvars(task_id="t1"):
        assert passes(seldom, "nats_error_received", error="refused")
    with structlog.contextvars.bound_contextvars(task_id="t2"):
        assert passes(seldom, "nats_error_received", error="refused")
    assert passes(seldom, "task_started", level="info")
    assert passes(seldom, "task_started", level="info")
    assert passes(seldom, "task_broken", level="error")
    assert passes(seldom, "task_broken", level="error")


@pytest.mark.parametrize(("others", "again"), [(WARNINGS_REMEMBERED - 1, False), (WARNINGS_REMEMBERED, True)])
def test_a_limited_number_of_warnings_is_remembered(seldom: RepeatFilter, others: int, again: bool) -> None:
    assert passes(seldom, "first")
    for number in range(others):
        assert passes(seldom, "other", number=number)
    assert passes(seldom, "first") is again


@pytest.mark.parametrize(("model", "name"), [(None, "whisper-base"), ("large-v3", "large-v3")])
def test_the_first_line_names_the_model_and_the_version_of_the_service(model: str | None, name: str) -> None:
    line = summary(Settings(_env_file=None, transcription_model=model))
    assert line["model"] == name
    assert line["version"] is VERSION  # not of the client, which may have the same: so they are compared by identity


@pytest.mark.parametrize(("level", "is_logged"), [(logging.DEBUG, True), (logging.INFO, False)])
def test_each_message_of_the_broker_is_logged_for_debugging_alone(level: int, is_logged: bool) -> None:
    root, broker = logging.getLogger(), logging.getLogger(BROKER)
    before = root.level, broker.level
    try:
        root.setLevel(level)
        broker.setLevel(logging.NOTSET)
        adopt_libraries()
        assert broker.isEnabledFor(logging.INFO) is is_logged
    finally:
        root.setLevel(before[0])
        broker.setLevel(before[1])


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """The lines that a file gets, at the most talkative level."""
    written, root, server, configured = (
        io.StringIO(),
        logging.getLogger(),
        logging.getLogger(SERVER),
        structlog.get_config(),
    )
    before, level = (list(root.handlers), root.level, list(server.filters)), server.level
    monkeypatch.setattr(sys, "stderr", written)
    server.setLevel(logging.NOTSET)
    for logger in (server, logging.getLogger("uvicorn")):  # a server of an earlier test may have set them otherwise
        monkeypatch.setattr(logger, "disabled", False)
        monkeypatch.setattr(logger, "propagate", True)
    configure("debug")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.configure(**configured)
    root.handlers, root.level, server.filters = before
    server.setLevel(level)


@pytest.mark.parametrize(
    ("arguments", "port"),
    [(["faststream", "run", "app.main:app"], 8000), (["faststream", "run", "--port", "8111"], 8111)],
)
def test_a_port_in_use_is_named_with_the_option_that_changes_it(
    lines: Lines, monkeypatch: pytest.MonkeyPatch, arguments: list[str], port: int
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    # When the HTTP server finds its port in use, and another error
    logging.getLogger(SERVER).error(OSError(errno.EADDRINUSE, "Address already in use"))
    logging.getLogger(SERVER).error(OSError(errno.EACCES, "Permission denied"))
    # Then the first line says what to do, and the second is as it was
    used, denied = (line["event"] for line in lines())
    assert used == f"Port {port} is in use: choose another with --port, or stop the process that listens there."
    assert denied == "[Errno 13] Permission denied"


def test_a_line_has_no_empty_fields_and_no_repeated_error(lines: Lines) -> None:
    # When libraries and the service log what they do
    structlog.get_logger().info("received", extra={"subject": "tasks.high", "queue": ""}, error=None)
    structlog.get_logger().error("Connection broken: the monitor has said so")
    logging.getLogger(SERVER).info("Started server process [1]")
    logging.getLogger(SERVER).info("Shutting down")
    for library in ("httpx2", "httpcore2.http11"):
        logging.getLogger(library).info("GET https://files.example.com/secret-name.flac")
    # Then each line is JSON with what is known, and what is said elsewhere or names a recording is left out
    first, second = lines()
    assert {name: first[name] for name in first.keys() - {"timestamp"}} == {
        "event": "received",
        "level": "info",
        "subject": "tasks.high",
    }
    assert second["event"] == "Shutting down"


@pytest.mark.parametrize("on_terminal", [True, False])
@pytest.mark.usefixtures("lines")  # restores the loggers
def test_a_line_repeats_foreign_text_without_what_a_terminal_acts_on(
    monkeypatch: pytest.MonkeyPatch, on_terminal: bool
) -> None:
    # Given a log on a terminal, or in a file that a program prints there
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: on_terminal)
    monkeypatch.setattr(sys, "stderr", written)
    configure("debug")
    # When the service and a library log text of a message
    hostile = "\x1b]0;x\x07\x9b2J\u202e"
    error = ValueError(hostile)
    try:
        _raise(error)
    except ValueError:
        structlog.get_logger().exception(hostile, error=hostile, nested={"field": hostile}, cause=error)
    logging.getLogger("library").warning(hostile)
    # Then the printed lines have it escaped, and a traceback has its lines
    lines = written.getvalue().splitlines()
    printed = "\n".join(lines if on_terminal else [f"{value}" for line in lines for value in json.loads(line).values()])
    assert "\x1b]" not in printed
    assert not {"\x07", "\x9b", "\u202e"} & set(printed)
    assert r"\x1b]0;x\x07\x9b2J\u202e" in printed
    assert "Traceback (most recent call last):\n  File" in printed


def _raise(error: Exception) -> None:
    raise error
