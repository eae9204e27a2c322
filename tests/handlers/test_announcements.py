"""Accepted tasks: copies of stored tasks are announced to the registration, and never get a reply."""

import pytest
from faststream.nats import NatsBroker
from natscribe.schemas import subjects
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.wire import Priority, TaskType

from app.tasks.queue.registration import Announcement
from tests.handlers.conftest import Parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

TASK = {"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7}
HEADERS = {"Nats-Subject": "tasks.transcription.normal", "Nats-Sequence": "12"}

INVALID = {
    "no JSON": b"\xff",
    "no object": b"[]",
    "no task": b"{}",
    "an unknown field": b'{"task_id": "t1", "audio_file_id": "a", "user_id": 7, "more": 1}',
    "deeper than Python reads": b"[" * 100_000,
}
invalid = pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)


@pytest.mark.parametrize("kind", TaskType)
@pytest.mark.parametrize("priority", Priority)
@pytest.mark.parametrize("replay", [{}, {REPLAY_OF: "7"}], ids=["new", "replayed"])
async def test_a_stored_task_is_registered(
    broker: NatsBroker, parts: Parts, kind: TaskType, priority: Priority, replay: dict[str, str]
) -> None:
    # When the task stream has stored a task, and publishes a copy with headers of the server
    await broker.publish(TASK, f"accepted.{subjects.tasks(kind, priority)}", headers=HEADERS | replay)
    # Then the message is announced to the registration
    announced = Announcement("t1", HEADERS["Nats-Subject"], 12)
    parts.registration.announce.assert_awaited_once_with(announced, replayed=bool(replay))


@invalid
@pytest.mark.parametrize("kind", TaskType)
async def test_an_invalid_task_is_left_to_the_worker_that_receives_it(
    broker: NatsBroker, parts: Parts, kind: TaskType, body: bytes
) -> None:
    await broker.publish(
        body, f"accepted.{subjects.tasks(kind, Priority.HIGH)}", headers=HEADERS | {"content-type": "application/json"}
    )
    parts.registration.announce.assert_not_awaited()


async def test_a_copy_with_invalid_headers_is_ignored(broker: NatsBroker, parts: Parts) -> None:
    # Given headers that name no message of a task queue
    parts.registration.announce.side_effect = ValueError("the headers name no message of a task queue")
    # When a copy with invalid or no headers arrives, then nothing is raised
    for headers in (HEADERS, HEADERS | {"Nats-Sequence": "twelve"}, {}):
        await broker.publish(TASK, f"accepted.{subjects.tasks(TaskType.TRANSCRIPTION, Priority.HIGH)}", headers=headers)
