"""Headers that no library would write: a task ends nevertheless, and the next request gets a reply."""

import json

import pytest
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus

from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import HOSTILE_HEADERS, publish_bytes
from tests.servers import Servers
from tests.waiting import eventually

pytestmark = pytest.mark.foreign
hostile = pytest.mark.parametrize("head", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS)


@hostile
async def test_a_task_with_unreadable_headers_ends_like_any_other(
    publisher: Publisher, servers: Servers, task_id: str, head: bytes
) -> None:
    # Given a task whose headers no library would write
    task = json.dumps({"task_id": f"{task_id}-hostile", "audio_file_id": "meeting.flac", "user_id": 7})
    await publish_bytes(servers.nats_url, "tasks.transcription.high", head, task.encode())
    # When another one is published behind it
    await publisher.publish(task_id)
    # Then both are done, and the queue is empty
    await publisher.until(task_id, State.COMPLETED)
    await publisher.until(f"{task_id}-hostile", State.COMPLETED)
    await eventually(lambda: queue_is_empty(publisher.js))


@hostile
async def test_a_request_with_unreadable_headers_stops_no_worker(
    publisher: Publisher, servers: Servers, task_id: str, head: bytes
) -> None:
    # Given a worker that has done a task
    await publisher.reaching(State.COMPLETED, task_id)
    # When it receives a request with headers that no library would write
    await publish_bytes(servers.nats_url, "tasks.status", head, json.dumps({"task_id": task_id}).encode())
    # Then it replies to the next request
    assert TaskStatus.model_validate(await publisher.request("tasks.status", task_id=task_id)).state is State.COMPLETED


async def test_a_request_whose_reply_subject_is_not_utf_8_stops_no_worker(
    publisher: Publisher, servers: Servers
) -> None:
    # When a worker gets a request whose reply subject is no UTF-8
    await publish_bytes(servers.nats_url, b"tasks.status _INBOX.\xff\xfe", b"NATS/1.0\r\n\r\n", b"{}")
    # Then it replies to the next one
    assert "error" in await publisher.request("tasks.status", task_id="unknown")
