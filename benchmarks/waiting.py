"""Fills the queue with a large number of waiting tasks."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from nats.js.api import DeliverPolicy
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Priority, TaskType

from app.settings import Settings
from app.storage.jetstream import streams
from app.storage.jetstream.key_value import FLEET_BUCKET, key_value_subject
from app.storage.jetstream.lease import FLEET_STREAM, LeaseRecord
from app.tasks.projection.projection import RedisProjection
from app.tasks.queue.grants import Grant
from benchmarks.service import provision
from benchmarks.stack import Child, Stack

AT_ONCE = 5_000  # messages
NAMES = Settings(_env_file=None).stream_names
SUBJECT = subjects.tasks(TaskType.TRANSCRIPTION, Priority.LOW)
USERS = 1000  # each of whom has as many tasks
UNUSED_SEQUENCE = 10**9  # of no task message
Messages = Iterator[tuple[str, bytes]]


async def fill(stack: Stack, count: int) -> None:
    """Fill the low queue with this number of tasks, and register as many other tasks.

    Each user has a grant that no worker gets: with a limit of one running task, nothing of the queue starts.
    """
    await provision(stack, queue_limit=2 * count)
    await _store(stack, NAMES.tasks, _tasks(count))
    await _store(stack, NAMES.progress, _logs(count))
    await _take_as_shown(stack)
    users = range(min(USERS, count))
    grants = (Grant(subject=SUBJECT, sequence=UNUSED_SEQUENCE + user, user=f"u{user}") for user in users)
    held = ((f"ready.held.{grant.sequence}", grant.model_dump_json().encode()) for grant in grants)
    await _store(stack, NAMES.ready, held)


async def still_waiting(stack: Stack) -> int:
    """The number of tasks that have not ended yet."""
    info = await stack.nats.jetstream().stream_info(NAMES.tasks, subjects_filter=SUBJECT)
    return (info.state.subjects or {}).get(SUBJECT, 0)


async def until_read(stack: Stack, worker: Child, count: int) -> None:
    """Wait until the worker has read the low queue of `count` tasks, which delays starts for a while.

    It reads tasks in the order of their publication, in which users alternate: the last round has one of each.
    """

    async def is_read() -> bool:
        lease = await stack.nats.jetstream().get_last_msg(FLEET_STREAM, key_value_subject(FLEET_BUCKET, ">"))
        users = LeaseRecord.model_validate_json(lease.data or b"").queues.users
        return bool(users) and users[0].waiting >= count // USERS

    await worker.until(is_read, every=1.0, within=600.0)


async def _store(stack: Stack, stream: str, messages: Messages) -> None:
    """Publish without waiting for each, but not faster than the server stores."""
    js, sent = stack.nats.jetstream(), 0
    before = (await js.stream_info(stream)).state.messages
    for batch in iter(lambda: list(islice(messages, AT_ONCE)), []):
        for subject, body in batch:
            await stack.nats.publish(subject, body)
        await stack.nats.flush()
        sent += len(batch)
        while (await js.stream_info(stream)).state.messages < before + sent:  # noqa: ASYNC110 -- there is no event
            await asyncio.sleep(0.005)


def _tasks(count: int) -> Messages:
    for number in range(count):
        yield SUBJECT, b'{"task_id": "waits-%d", "audio_file_id": "none", "user_id": "u%d"}' % (number, number % USERS)


def _logs(count: int) -> Messages:
    event = ProgressEvent(
        task_id="ID",
        kind=TaskType.TRANSCRIPTION,
        state=State.QUEUED,
        max_attempts=4,
        sequence=1,
        time=datetime.now(UTC),
    )
    body = event.model_dump_json().encode()
    for number in range(count):
        task_id = f"other-{number}"
        yield subjects.append_to(subjects.progress(task_id)), body.replace(b"ID", task_id.encode(), 1)


async def _take_as_shown(stack: Stack) -> None:
    """Skip the events so far in the projection, because writing them to Redis would be measured, too."""
    js = stack.nats.jetstream()
    await RedisProjection(stack.redis).mark()
    for stream, consumer in streams.consumer_configs(Settings(_env_file=None)):
        if stream == NAMES.progress:
            await js.delete_consumer(stream, str(consumer.durable_name))
            consumer.deliver_policy = DeliverPolicy.NEW
            await js.add_consumer(stream, consumer)
