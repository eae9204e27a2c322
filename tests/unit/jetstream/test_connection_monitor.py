"""The connection monitor notes what becomes of the connection."""

import math
import os
from typing import cast

import pytest
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import SlowConsumerError, UnexpectedEOF
from natscribe.schemas.errors import ErrorCode, ErrorReply
from structlog.testing import capture_logs

from app.storage.jetstream.connection_monitor import ConnectionMonitor
from tests.fakes.nats import InMemoryNats
from tests.publishers import broker_on


def monitor_of_a_worker() -> ConnectionMonitor:
    """The monitor of a worker that has started."""
    monitor = ConnectionMonitor()
    with monitor.call_on_refusal(lambda: None):
        return monitor


async def test_a_new_monitor_has_no_connection_and_no_outage() -> None:
    monitor = ConnectionMonitor()
    assert (monitor.seconds_since_connected, monitor.seconds_since_restored) == (math.inf, math.inf)
    monitor.connected(broker_on(InMemoryNats().client))
    assert monitor.seconds_since_connected < 5
    assert monitor.seconds_since_restored == math.inf


async def test_the_end_of_an_outage_is_noted() -> None:
    monitor = ConnectionMonitor()
    await monitor.on_disconnected()
    await monitor.on_reconnected()
    assert monitor.seconds_since_restored < 5


async def test_a_closed_connection_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monitor = monitor_of_a_worker()
    with capture_logs() as lines:
        await monitor.on_closed()
    assert codes == [1]
    assert [line["event"] for line in lines] == ["nats_closed"]


async def test_a_worker_that_shuts_down_expects_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monitor = monitor_of_a_worker()
    monitor.expect_close()
    with capture_logs() as lines:
        await monitor.on_disconnected()
        await monitor.on_closed()
    assert (codes, lines) == ([], [])


async def test_a_connection_without_a_worker_may_close(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a connection to publish one message, as `faststream publish` has it
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monitor = ConnectionMonitor()
    # When it closes, then the process continues, and the log has nothing
    with capture_logs() as lines:
        await monitor.on_disconnected()
        await monitor.on_closed()
    assert (codes, lines) == ([], [])


async def test_a_lost_connection_is_one_line_with_its_reason() -> None:
    # Given a worker that is connected
    monitor = monitor_of_a_worker()
    with capture_logs() as lines:
        # When its server closes the connection, and two others are unavailable
        await monitor.on_error(UnexpectedEOF())
        await monitor.on_disconnected()
        for _ in range(2):
            await monitor.on_error(ConnectionRefusedError("Connect call failed"))
        await monitor.on_reconnected()
    # Then one line warns of it, and another one says that it is over
    assert lines == [
        {"event": "nats_disconnected", "log_level": "warning", "error": "NATS closed the connection"},
        {"event": "nats_reconnected", "log_level": "info"},
    ]


async def test_a_dropped_request_gets_an_error_if_its_reply_is_an_inbox() -> None:
    # Given a worker that is connected, and a subscriber of everything
    nats, monitor = InMemoryNats(), ConnectionMonitor()
    monitor.connected(broker_on(nats.client))
    replies: list[Msg] = []

    async def receive(message: Msg) -> None:
        replies.append(message)

    await nats.subscribe(">", cb=receive)
    # When nats-py drops requests, a copy of a task, and a request whose reply would be a task
    with capture_logs() as lines:
        for reply in ("_INBOX.a.1", "_INBOX.a.2", "", "tasks.transcription.high"):
            await monitor.on_error(SlowConsumerError("tasks.status", reply, 1, cast("Subscription", None)))
    # Then the replies say to wait, and the log has one line about all of them
    assert [message.subject for message in replies] == ["_INBOX.a.1", "_INBOX.a.2"]
    assert {ErrorReply.model_validate_json(message.data).error.code for message in replies} == {ErrorCode.INTERNAL}
    assert lines == [{"event": "messages_dropped", "log_level": "warning", "subject": "tasks.status"}]
