"""Requests get replies from the log, or errors."""

import asyncio
import json

import pytest
from nats.aio.client import Client
from natscribe.schemas.progress import State

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.integration.requests.conftest import Hold
from tests.waiting import DEADLINE


async def test_the_status_of_a_running_task(publisher: Publisher, worker: Worker, engine: FakeEngine) -> None:
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1", language="en")
    status = await publisher.request("tasks.status", task_id="t1")
    assert status["state"] == "running"
    assert status["task"]["language"] == "en"
    assert status["created_at"] <= status["started_at"]
    assert status["finished_at"] is None
    reply = await publisher.request("tasks.result", task_id="t1")
    assert reply["error"]["code"] == "not_finished"
    engine.may_go_on.set()
    await publisher.until("t1", State.COMPLETED)


async def test_subtitles_respect_the_limits_of_the_request(
    publisher: Publisher, worker: Worker, engine: FakeEngine, nc: Client
) -> None:
    # Given a sentence of 38 characters
    engine.text = "Please leave a message after the tone."
    await publisher.reaching(State.COMPLETED, "t1")
    # When subtitles with one short line are requested
    request = {"task_id": "t1", "format": "srt", "max_line_chars": 20, "max_lines": 1}
    reply = await nc.request("tasks.result", json.dumps(request).encode(), timeout=DEADLINE)
    # Then the lines are short
    assert b"\nPlease leave\n" in reply.data
    # And an invalid limit gets an error with the valid range
    answer = await publisher.request("tasks.result", task_id="t1", format="srt", max_line_chars=5)
    assert answer["error"]["code"] == "invalid_request"
    assert "max_line_chars: Input should be greater than or equal to 16" in answer["error"]["message"]


@pytest.mark.parametrize("fmt", ["txt", "srt", "vtt"])
async def test_the_text_of_a_result_without_its_object_is_not_found(
    publisher: Publisher, worker: Worker, engine: FakeEngine, fmt: str
) -> None:
    # Given a result that is too large for a message, and whose object expired before the message
    engine.windows, engine.text = 30, "word " * 10_000
    await publisher.reaching(State.COMPLETED, "t1")
    await (await publisher.js.object_store("results")).delete("t1")
    # When its text is requested
    reply = await publisher.request("tasks.result", task_id="t1", format=fmt)
    # Then the result is not found
    assert reply["error"]["code"] == "not_found"


async def test_a_slow_request_delays_no_other(publisher: Publisher, worker: Worker, hold: Hold) -> None:
    # Given a status that takes long to read
    await publisher.reaching(State.COMPLETED, "t1")
    slow = hold(worker.container.log, "last", of="slow")
    # When a client requests it
    waiting = asyncio.create_task(publisher.request("tasks.status", task_id="slow"))
    await slow.waits.wait()
    # Then another request gets its reply in the meantime
    assert (await publisher.request("tasks.status", task_id="t1"))["state"] == "completed"
    slow.may_go.set()
    assert (await waiting)["error"]["code"] == "not_found"
