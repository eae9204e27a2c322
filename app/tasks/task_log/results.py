"""Stores the results of tasks as messages; a result too large for a message is stored as an object."""

import asyncio
import re
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO

from nats.aio.client import Client
from nats.js.api import ObjectInfo
from nats.js.errors import NotFoundError
from natscribe.jetstream.large_results import HEADROOM_BYTES, result_reference
from natscribe.jetstream.streams import RESULTS_BUCKET
from natscribe.schemas.kinds import RESULT, Result

from app.runtime.errors import FencedError
from app.speech.redacted_audio import audio_name
from app.speech.updates import RedactedAudio
from app.storage.jetstream import objects
from app.storage.jetstream.records import parse_stored
from app.tasks.task_log.embeddings import EmbeddingStore
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import NoResult, Record, TaskMessageId

STALLED_S = 2.0  # without a chunk, after which reading an object fails: clients wait 5 s for a reply
SEGMENTS_PER_STEP = 100  # serialized at once; serializing a day of speech would block the event loop for 0.15 s
OWNER = "of the task message with the stream sequence {}, stored at {}"  # the description of an object
OWNER_PATTERN = re.compile(OWNER.format(r"(\d+)", r"(\S+\+00:00)"), re.ASCII)
NO_OWNER = TaskMessageId(datetime.min.replace(tzinfo=UTC), 0)  # older than every task message
NO_SEGMENTS = b'"segments":[]'  # does not occur in a text, where JSON escapes quotes


class ResultStore:
    """Stores, finds and deletes the results of tasks: as messages, or as objects if they are too large."""

    def __init__(self, nats: Client, log: TaskLog) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._log = log
        self.embeddings = EmbeddingStore(nats)
        self._largest = nats.max_payload - HEADROOM_BYTES
        self._finding = asyncio.Lock()  # many results parsed in a row would block the event loop for half a second

    async def publish(self, result: Result, last: Record) -> None:
        """Store the result of the task whose log ends with the record `last`; clients receive it immediately.

        If the result is too large for a message, it is stored as an object, and the message refers to the object.

        Raises:
            FencedError: Another outcome of the task is already stored.
            TransientError: JetStream does not answer.
        """
        body = await _serialized(result)
        if len(body) > self._largest:
            body = (await self.store_object(result, body, of=last.metadata.owner)).model_dump_json().encode()
        await self._log.append_result(body, last)

    async def find(self, last: Record) -> Result | None:
        """Return the result of the task whose log ends with the record `last`; None if the task has no result.

        A result that is stored as an object has no segments, but refers to the object.
        """
        async with self._finding:
            outcome = await self._log.outcome(last)
        return None if isinstance(outcome, NoResult) else outcome

    async def load_segments(self, result: Result) -> Result:
        """Return a result with its segments: if the result refers to an object, read the whole result from there.

        Raises:
            NatsError: The object is damaged, or NATS refuses the request.
            NotFoundError: The object has expired.
            TimeoutError: NATS does not answer.
        """
        if result.object is None:
            return result
        info = await objects.get_info(self._js, RESULTS_BUCKET, result.object.name)
        if info is None:
            raise NotFoundError
        return await self._read(info)

    async def delete(self, task_id: str, *, of: TaskMessageId | None = None) -> None:
        """Delete the result of a task: its message, its object and its speaker embeddings.

        `of`: delete only what belongs to this task message, because another task may have the same id; None: delete
        all.
        """
        await self._log.purge_outcome(task_id, of=of)
        await self.delete_object(task_id, of=of)

    async def delete_object(self, task_id: str, *, of: TaskMessageId | None = None) -> None:
        """Delete the objects and the speaker embeddings of a task's result; the message in the stream of results stays.

        `of`: delete only what belongs to this task message, because another task may have the same id; None: delete the
        object and the embeddings in any case.
        """
        await self.embeddings.delete(task_id, of=of)
        for name in (task_id, audio_name(task_id)):
            info = await objects.get_info(self._js, RESULTS_BUCKET, name)
            if info is not None and (of is None or _owner(info).is_same_as(of)):
                await self._erase(name)

    async def store_object(self, result: Result, body: bytes, *, of: TaskMessageId) -> Result:
        """Store a result as an object; return a copy of it with a reference to the object instead of its segments.

        `body`: the result as JSON. `of`: the task message to which the result belongs. If an earlier attempt at the
        task has already stored an object, that object stays, and the copy is made of the result in that object. An
        object of an earlier task with the same id is replaced.

        Raises:
            FencedError: A later task has the same id.
        """
        info = await self._put(result.task_id, BytesIO(body), of)
        if info.digest != objects.digest(sha256(body).digest()):
            result = await self._read(info)
        return result_reference(result, info)

    async def store_audio(self, audio: RedactedAudio, last: Record) -> None:
        """Store the redacted recording of the task whose log ends with the record `last`, in place of an earlier one.

        Raises:
            FencedError: A later task has the same id.
            NatsError: NATS does not answer.
        """
        name, of = audio_name(last.event.task_id), last.metadata.owner
        file = await asyncio.to_thread(audio.path.open, "rb")
        with file:
            info = await self._put(name, file, of)
            if info.digest != objects.digest(bytes.fromhex(audio.sha256)):  # by an attempt of another version
                await self._erase(name)
                await self._put(name, file, of)

    async def _put(self, name: str, body: BinaryIO, of: TaskMessageId) -> ObjectInfo:
        """Store an object of a task message in place of one of an earlier message, unless it has stored one already.

        Raises:
            FencedError: A later task has the same id.
        """
        description = OWNER.format(of.task_sequence, of.created_at.isoformat())
        info = await objects.put_if_absent(self._js, RESULTS_BUCKET, name, body, description=description)
        owner = _owner(info)
        if of.is_older_than(owner):
            raise FencedError(name)
        if owner.is_older_than(of):
            await self._erase(name)
            return await self._put(name, body, of)
        return info

    async def _erase(self, task_id: str) -> None:
        with suppress(NotFoundError):
            await objects.delete(self._js, RESULTS_BUCKET, task_id)

    async def _read(self, info: ObjectInfo) -> Result:
        body = bytearray()
        await objects.download(self._nats, RESULTS_BUCKET, info, body.extend, stalled_s=STALLED_S)
        return await asyncio.to_thread(parse_stored, RESULT, bytes(body), RESULTS_BUCKET)


def _owner(info: ObjectInfo) -> TaskMessageId:
    """Return the id of the task message to which an object belongs; NO_OWNER if the object's description has none."""
    match = OWNER_PATTERN.fullmatch(info.description or "")
    with suppress(ValueError):
        return TaskMessageId(datetime.fromisoformat(match[2]), int(match[1])) if match else NO_OWNER
    return NO_OWNER


async def _serialized(result: Result) -> bytes:
    """Return a result as JSON; after every SEGMENTS_PER_STEP segments, let the event loop run other work."""
    empty = result.model_copy(update={"segments": []}).model_dump_json().encode()
    before, after = empty.split(NO_SEGMENTS)
    parts: list[bytes] = []
    for start in range(0, len(result.segments), SEGMENTS_PER_STEP):
        part = result.segments[start : start + SEGMENTS_PER_STEP]
        parts.append(b",".join(segment.model_dump_json().encode() for segment in part))
        await asyncio.sleep(0)
    return b"".join((before, b'"segments":[', b",".join(parts), b"]", after))
