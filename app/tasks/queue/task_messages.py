"""Reads and deletes the messages of the task stream: those of waiting and of running tasks."""

import json
from collections.abc import AsyncIterator
from functools import partial

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from nats.js.errors import APIError
from natscribe.jetstream import leader_reads
from natscribe.jetstream.error_codes import DELETE_FAILED
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S, retry_until_reply
from natscribe.jetstream.stream_pages import page, pages
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames

from app.storage.jetstream.server_time import StreamTimes, stream_times
from app.tasks.queue.grants import Ended, Grant
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.record import Record

DELETE = "$JS.API.STREAM.MSG.DELETE"
DELETE_TIMEOUT_S = 2.0
FIND_TIMEOUT_S = 8.0  # a cluster takes some seconds to elect the next leader of the task stream


class TaskMessages:
    """Reads and deletes the messages of the task stream."""

    def __init__(self, nats: Client, publisher: LogicPublisher, names: StreamNames) -> None:
        self._nats = nats
        self._publisher = publisher
        self._names = names

    async def find(self, subject: str | None, sequence: int) -> StoredMessage | None:
        """Return the message with a stream sequence; None if it was acknowledged or deleted, or is on another subject.

        `subject`: the subject that the message must have; None: any subject.

        Raises:
            NatsError: NATS does not answer.
        """
        read = partial(leader_reads.message_at, self._nats, self._names.tasks, subject, sequence)
        message = await retry_until_reply(read, within_s=FIND_TIMEOUT_S)
        return None if message is None else StoredMessage.fetched(message)

    async def page_after(self, subject: str, sequence: int, *, count: int) -> list[StoredMessage]:
        """Read up to `count` messages of the queue `subject` after a stream sequence, of waiting and of running tasks.

        Raises:
            NatsError: NATS does not answer.
        """
        messages = await page(self._nats, self._names.tasks, subject, start=sequence + 1, count=count)
        return [StoredMessage.fetched(message) for message in messages]

    async def pages_after(self, sequence: int, subject: str = subjects.ALL_TASKS) -> AsyncIterator[list[StoredMessage]]:
        """Yield all messages of the queue `subject` (by default, of all queues) after a stream sequence, page by page.

        Raises:
            NatsError: NATS does not answer.
        """
        async for messages in pages(self._nats, self._names.tasks, subject, after=sequence):
            yield [StoredMessage.fetched(message) for message in messages]

    async def stream_times(self) -> StreamTimes:
        """Return the current time of the NATS server, which also stamps messages, and when the task stream was created.

        Raises:
            NatsError: NATS does not answer.
        """
        return await stream_times(self._nats, self._names.tasks)

    async def is_due(self, message: StoredMessage) -> bool:
        """Return whether the task of a message may start now, according to the clock of the NATS server.

        Raises:
            NatsError: NATS does not answer.
        """
        return await self.seconds_until_due(message) == 0

    async def seconds_until_due(self, message: StoredMessage) -> float:
        """Return in how many seconds, by the clock of the NATS server, the task of a message may start; 0: now.

        Raises:
            NatsError: NATS does not answer.
        """
        due_at = message.due_at
        if due_at <= message.time:
            return 0.0
        return max((due_at - (await self.stream_times()).now).total_seconds(), 0.0)

    async def remove(self, record: Record) -> None:
        """Delete the message of the task whose log contains `record`, if the task stream still holds the message.

        Raises:
            NatsError: NATS does not answer.
        """
        message = await self.find(record.metadata.subject, record.metadata.task_sequence)
        if message is not None and message.owns(record):  # a recreated stream reuses sequences
            await self.delete(message)

    async def delete(self, message: StoredMessage, *, seconds: float | None = None, by_worker: bool = False) -> None:
        """Delete a message of the task stream, if the stream still holds it, and notify the scheduler.

        A recreated stream reuses sequences, so a different message with the same sequence is not deleted. `seconds`:
        the actual duration of the audio, with which the scheduler corrects what it has charged the user; None: unknown.
        `by_worker`: whether the caller is the worker that ran the task. If so, the notice frees the worker's slot. If
        not, JetStream also overwrites the content of the message on the disk.

        Raises:
            NatsError: NATS does not answer, or refuses to delete the message.
        """
        stored = await self.find(message.subject, message.sequence)
        try:
            delete = partial(self._delete, message.sequence, overwrite=not by_worker)
            if stored is not None and stored.time == message.time:
                await retry_until_reply(delete, within_s=DELETE_TIMEOUT_S, final=DELETE_FAILED)
        except APIError as error:
            if error.err_code not in DELETE_FAILED or await self.find(None, message.sequence) is not None:
                raise
        ended = {"seconds": seconds, "frees_slot": by_worker}
        await self.note_end(Ended.of(message.queued_task).model_copy(update=ended))

    async def note_retry(self, message: StoredMessage) -> None:
        """Notify the scheduler that an attempt at a task has failed and will be retried later.

        The notice frees the slot of the worker that ran the task.

        Raises:
            NatsError: NATS is unavailable.
        """
        retried = {"seconds": None, "frees_slot": True, "is_retried": True}
        await self.note_end(Ended.of(message.queued_task).model_copy(update=retried))

    async def note_end(self, ended: Grant) -> None:
        """Send the scheduler a notice that a task message was deleted, or that an attempt has failed: see `Ended`.

        Raises:
            NatsError: NATS is unavailable.
        """
        await self._publisher.publish(ended)

    async def _delete(self, sequence: int, *, overwrite: bool) -> None:
        request = json.dumps({"seq": sequence, "no_erase": not overwrite}).encode()
        reply = await self._nats.request(f"{DELETE}.{self._names.tasks}", request, timeout=REQUEST_TIMEOUT_S)
        if error := json.loads(reply.data).get("error"):
            APIError.from_error(error)
