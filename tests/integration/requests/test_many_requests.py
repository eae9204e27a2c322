"""Many concurrent requests for large results: each gets a reply in time, and the running task continues."""

import asyncio
import json
import re
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import REPLY_TIMEOUT_S

from app.command.embedded import NatsServer, ValkeyServer
from app.requests.result_writer import MAX_FORMATTED_BYTES
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata
from app.tasks.task_log.results import ResultStore
from tests.fakes.messages import event, transcript
from tests.fakes.worker import STARTED
from tests.programs import line_with, started
from tests.publishers import publishers
from tests.waiting import eventually, patiently

ROOT = Path(__file__).parents[3]
AT_ONCE = 40
FLOOD = 5000
ANSWERED_WITHIN = 15.0  # seconds: three times the timeout of clients, because tests share their machine
LONGEST_SILENCE = 10.0  # seconds
NOW = datetime.now(UTC)
MB = 1024**2
A_FEW_RESULTS = 250 * MB  # in memory, where a result takes many times its size


@pytest.fixture
async def worker(nats_server: NatsServer, valkey: ValkeyServer, recordings_folder: Path) -> AsyncIterator[Process]:
    """A worker in its own process, so that its memory can be measured."""
    settings = [f"REDIS_URL={valkey.url}", f"AUDIO_STORE={recordings_folder.as_uri()}", "CACHE_TTL=0"]
    command = ["env", *settings, sys.executable, "-m", "tests.fakes.worker"]
    async with started(nats_server.url, *command, cwd=ROOT) as process:
        await line_with(process, STARTED)
        yield process


@pytest.fixture
async def client(nats_server: NatsServer, worker: Process) -> AsyncIterator[Client]:
    connection = await nats.connect(nats_server.url)
    yield connection
    await connection.close()


def segments(size: int) -> str:
    """Segments of ten words, as JSON of about this many bytes."""
    texts, length, at = [], 0, 0.0
    while length < size:
        words = [
            {
                "start": round(at + 0.3 * n, 3),
                "end": round(at + 0.3 * n + 0.25, 3),
                "word": " words",
                "probability": 0.9,
            }
            for n in range(10)
        ]
        segment = {"start": at, "end": at + 2.95, "text": "words " * 10, "language": "en", "words": words}
        texts.append(json.dumps(segment | {"confidence": 0.9, "avg_logprob": -0.1, "no_speech_prob": 0.0}))
        length, at = length + len(texts[-1]) + 1, at + 3
    return ",".join(texts)


async def complete(client: Client, task_id: str, size: int) -> None:
    """Store a completed task with a result of this size, as a worker does."""
    log = TaskLog(client, publishers(client), Settings(_env_file=None).stream_names, "w")
    results = ResultStore(client, log)
    last = await log.append(event(task_id=task_id), Metadata(None, 1, "tasks.transcription.high", NOW), after=0)
    result = transcript(task_id=task_id)
    body = result.model_dump_json().replace('"segments":[]', f'"segments":[{segments(size)}]').encode()
    if size > MB:
        body = (await results.store_object(result, body, of=last.metadata.owner)).model_dump_json().encode()
    await log.append_result(body, last)
    assert (await log.end(last)).event.state is State.COMPLETED


def peak(process: Process) -> int:
    """The largest resident memory of a process so far, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024


async def follow(client: Client, task_id: str) -> list[datetime]:
    """The times of the events of a task, as they come."""
    times: list[datetime] = []

    async def note(message: Msg) -> None:
        times.append(ProgressEvent.model_validate_json(message.data).time)

    await client.subscribe(subjects.progress(task_id), cb=note)
    return times


def kind_of(reply: Msg) -> str:
    """The kind of a reply: text, a reference to an object, or an error code."""
    if (reply.headers or {})["content-type"] == "text/plain":
        return "text"
    body = json.loads(reply.data)
    return str(body["error"]["code"]) if "error" in body else "object" if body["object"] else "json"


LARGE = {  # the size of each result, and the possible kinds of replies
    "whole_day": (27 * MB, {"object", "internal"}),
    "meeting": (MAX_FORMATTED_BYTES - MB, {"text", "object", "internal"}),
    "call": (500_000, {"text", "internal"}),
}


async def test_many_requests_for_large_results_stop_nothing(
    client: Client, worker: Process, nats_server: NatsServer
) -> None:
    # Given a worker with large results, which runs a task
    for task_id, (size, _) in LARGE.items():
        await complete(client, task_id, size)
    times = await follow(client, "busy")
    task = {"task_id": "busy", "audio_file_id": "meeting.flac", "user_id": 7}
    await client.jetstream().publish("tasks.transcription.high", json.dumps(task).encode())
    await eventually(lambda: len(times) > 3)
    before = peak(worker)
    # When forty clients request each of them as text at once
    for task_id, (_, expected) in LARGE.items():
        request = json.dumps({"task_id": task_id, "format": "srt"}).encode()
        requests = [client.request("tasks.result", request, timeout=patiently(ANSWERED_WITHIN)) for _ in range(AT_ONCE)]
        # Then each gets a reply in time
        assert {kind_of(reply) for reply in await asyncio.gather(*requests)} <= expected
    # And the task continues
    after = len(times)
    await eventually(lambda: len(times) > after + 2)
    assert max((later - earlier).total_seconds() for earlier, later in pairwise(times)) < LONGEST_SILENCE
    # And the worker took no more memory than for a few results, and was never disconnected
    assert peak(worker) - before < A_FEW_RESULTS
    assert "Slow Consumer" not in (nats_server.folder / "server.log").read_text(encoding="utf-8")


async def test_a_flood_of_requests_delays_no_later_request(client: Client, worker: Process) -> None:
    # Given a worker that receives far more status requests than it can handle
    replies: list[str] = []

    async def count(message: Msg) -> None:
        replies.append(kind_of(message))

    await client.subscribe("_INBOX.flood", cb=count)
    for _ in range(FLOOD):
        await client.publish(subjects.STATUS, b'{"task_id": "unknown"}', reply="_INBOX.flood")
    # Then requests on another subject get their replies in the meantime
    await client.request(subjects.TASK_QUEUES, b"{}", timeout=patiently(ANSWERED_WITHIN))

    async def all_have_replies() -> bool:
        return len(replies) == FLOOD

    # And each request of the flood gets a reply: a result or an immediate error
    await eventually(all_have_replies, within=60)
    assert set(replies) == {"not_found", "internal"}
    # And a later request gets its reply in time
    began = time.monotonic()
    reply = await client.request(subjects.STATUS, b'{"task_id": "unknown"}', timeout=patiently(ANSWERED_WITHIN))
    assert (kind_of(reply), time.monotonic() - began < REPLY_TIMEOUT_S) == ("not_found", True)
