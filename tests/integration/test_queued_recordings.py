"""Which recordings the tasks in the queues name: each message is read once, and nothing is missed."""

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from natscribe.jetstream import stream_pages

from app.jetstream.streams import stream_configs
from app.queue.task_messages import TaskMessages
from app.retention.queued_recordings import QueuedRecordings
from app.settings import Settings
from app.task_log.record import Owner
from tests.constants import Constants
from tests.integration.conftest import Publisher

WANTED = {"a.flac", "b.flac", "c.flac"}
TASKS = "transcription_tasks"


@pytest.fixture
async def queued(nc: Client, js: JetStreamContext, settings: Settings) -> QueuedRecordings:
    await js.add_stream(next(iter(stream_configs(settings))))
    names = settings.stream_names
    return QueuedRecordings(nc, names, TaskMessages(nc, names))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The stream sequences of all messages that were read page by page."""
    found: list[int] = []

    async def page(nats: Client, stream: str, subject: str, *, start: int, count: int) -> list[RawStreamMsg]:
        messages = await read(nats, stream, subject, start=start, count=count)
        found.extend(message.seq or 0 for message in messages)
        return messages

    read = stream_pages.page
    monkeypatch.setattr(stream_pages, "page", page)
    return found


async def test_a_recording_is_named_until_its_last_task_is_settled(
    queued: QueuedRecordings, publisher: Publisher, js: JetStreamContext, reads: list[int]
) -> None:
    # Given tasks in the queues, and a message that is no task
    await publisher.publish("t1", audio_file_id="a.flac")
    await publisher.publish("t2", audio_file_id="b.flac")
    await publisher.publish("t3", audio_file_id="b.flac")
    await publisher.publish("t4", audio_file_id="c.flac", unknown="field")
    # When it is asked which recordings they name, then they are found, each time with what has changed
    assert await queued.among(WANTED, besides=[]) == {"a.flac", "b.flac"}
    await js.delete_msg(TASKS, 1)
    await js.delete_msg(TASKS, 2)
    await publisher.publish("t5", audio_file_id="c.flac")
    assert await queued.among(WANTED, besides=[]) == {"b.flac", "c.flac"}
    # And each message was read once
    assert reads == [1, 2, 3, 4, 5]
    # And a task that is about to be erased does not count
    message = await js.get_msg(TASKS, 3)
    assert message.time is not None
    assert await queued.among(WANTED, besides=[Owner(message.time, 3)]) == {"c.flac"}


async def test_a_new_stream_is_read_from_its_beginning(
    queued: QueuedRecordings, publisher: Publisher, js: JetStreamContext, settings: Settings
) -> None:
    # Given a stream that was read, and is made again
    for task_id in ("t1", "t2"):
        await publisher.publish(task_id, audio_file_id="a.flac")
    assert await queued.among(WANTED, besides=[]) == {"a.flac"}
    await js.delete_stream(TASKS)
    await js.add_stream(next(iter(stream_configs(settings))))
    # When a task is published, then it is found, and the earlier ones are not
    await publisher.publish("t3", audio_file_id="b.flac")
    assert await queued.among(WANTED, besides=[]) == {"b.flac"}


async def test_settled_messages_are_not_remembered_for_ever(
    queued: QueuedRecordings,
    publisher: Publisher,
    js: JetStreamContext,
    reads: list[int],
    constants: Constants,
) -> None:
    # Given several messages of which all but the first are settled
    constants(SPARE=1)
    for number in range(1, 5):
        await publisher.publish(f"t{number}", audio_file_id="a.flac")
    await queued.among(WANTED, besides=[])
    for sequence in (2, 3, 4):
        await js.delete_msg(TASKS, sequence)
    # When it is asked again, then what is left is read anew
    assert await queued.among(WANTED, besides=[]) == {"a.flac"}
    assert reads == [1, 2, 3, 4, 1]
