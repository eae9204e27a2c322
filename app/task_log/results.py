"""Results: publish a result as a message, or as an object if it is too large for a message."""

import asyncio
import re
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256

from nats.aio.client import Client
from nats.js.api import ObjectInfo
from nats.js.errors import NotFoundError
from natscribe.jetstream.large_results import HEADROOM_BYTES, referring
from natscribe.jetstream.streams import RESULTS_BUCKET
from natscribe.schemas.kinds import RESULT, Result

from app.errors import FencedError
from app.jetstream import objects
from app.jetstream.records import parse_stored
from app.task_log.embeddings import EmbeddingStore
from app.task_log.log import TaskLog
from app.task_log.record import NoResult, Owner, Record

STALLED_S = 2.0  # reading an object fails after this time without a chunk: clients wait five seconds for a reply
SEGMENTS_A_TURN = 100  # serialised without a pause; a whole day of speech would block the event loop for 0.15 s
OWNER = "of the task message with the stream sequence {}, stored at {}"  # the description of an object
OWNER_PATTERN = re.compile(OWNER.format(r"(\d+)", r"(\S+\+00:00)"), re.ASCII)
NO_OWNER = Owner(datetime.min.replace(tzinfo=UTC), 0)  # is older than every task message
NO_SEGMENTS = b'"segments":[]'  # cannot occur in a text, where JSON escapes quotes


class ResultStore:
    """Publishes, finds and deletes the results of tasks, as messages or objects."""

    def __init__(self, nats: Client, log: TaskLog) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._log = log
        self.embeddings = EmbeddingStore(nats)
        self._largest = nats.max_payload - HEADROOM_BYTES
        self._finding = asyncio.Lock()  # reading many results in a row would block the event loop for half a second

    async def publish(self, result: Result, last: Record) -> None:
        """Publish a result; a large result is stored as an object, and its message refers to the object.

        `last` is the last record of the task's log.

        Raises:
            FencedError: Another outcome of the task is stored already.
            TransientError: JetStream does not answer.
        """
        body = await _written(result)
        if len(body) > self._largest:
            body = (await self.store_object(result, body, of=last.metadata.owner)).model_dump_json().encode()
        await self._log.append_result(body, last)

    async def find(self, last: Record) -> Result | None:
        """Return the result of a task, given the last record of the task's log; None if there is none.

        A large result has only a reference to its object in place of its segments.
        """
        async with self._finding:
            outcome = await self._log.outcome(last)
        return None if isinstance(outcome, NoResult) else outcome

    async def load_segments(self, result: Result) -> Result:
        """Return a result with all its segments, read from its object if it refers to one.

        Raises:
            NatsError: The object is damaged, or NATS does not answer.
            NotFoundError: The object has expired.
            TimeoutError: NATS does not answer.
        """
        if result.object is None:
            return result
        info = await objects.get_info(self._js, RESULTS_BUCKET, result.object.name)
        if info is None:
            raise NotFoundError
        return await self._read(info)

    async def delete(self, task_id: str, *, of: Owner | None = None) -> None:
        """Delete message, object and embeddings of a result; with `of`, only what that task message owns."""
        await self._log.purge_outcome(task_id, of=of)
        await self.delete_object(task_id, of=of)

    async def delete_object(self, task_id: str, *, of: Owner | None = None) -> None:
        """Delete object and embeddings of a result, not its message; with `of`, only what that task message owns."""
        await self.embeddings.delete(task_id, of=of)
        kept = await objects.get_info(self._js, RESULTS_BUCKET, task_id)
        if kept is not None and (of is None or _owner(kept).is_same_as(of)):
            await self._erase(task_id)

    async def store_object(self, result: Result, body: bytes, *, of: Owner) -> Result:
        """Store a result as an object, and return a result without segments that refers to the object.

        `of` is the task message that owns the result. If an earlier attempt of the task has stored an object, the
        returned result refers to that object. The object of an earlier task with the same id is replaced.

        Raises:
            FencedError: A later task has this id.
        """
        task_id = result.task_id
        description = OWNER.format(of.task_sequence, of.created_at.isoformat())
        info = await objects.put_if_absent(self._js, RESULTS_BUCKET, task_id, body, description=description)
        owner = _owner(info)
        if of.is_older_than(owner):
            raise FencedError(task_id)
        if owner.is_older_than(of):
            await self._erase(task_id)
            return await self.store_object(result, body, of=of)
        if info.digest != objects.digest(sha256(body).digest()):
            result = await self._read(info)
        return referring(result, info)

    async def _erase(self, task_id: str) -> None:
        with suppress(NotFoundError):
            await objects.delete(self._js, RESULTS_BUCKET, task_id)

    async def _read(self, info: ObjectInfo) -> Result:
        body = bytearray()
        await objects.download(self._nats, RESULTS_BUCKET, info, body.extend, stalled_s=STALLED_S)
        return await asyncio.to_thread(parse_stored, RESULT, bytes(body), RESULTS_BUCKET)


def _owner(kept: ObjectInfo) -> Owner:
    """Return the owner of the object, which is the task message whose result it holds; NO_OWNER if it names none."""
    named = OWNER_PATTERN.fullmatch(kept.description or "")
    with suppress(ValueError):
        return Owner(datetime.fromisoformat(named[2]), int(named[1])) if named else NO_OWNER
    return NO_OWNER


async def _written(result: Result) -> bytes:
    """Write a result as JSON, in parts between which the event loop runs other work."""
    empty = result.model_copy(update={"segments": []}).model_dump_json().encode()
    before, after = empty.split(NO_SEGMENTS)
    parts: list[bytes] = []
    for at in range(0, len(result.segments), SEGMENTS_A_TURN):
        part = result.segments[at : at + SEGMENTS_A_TURN]
        parts.append(b",".join(segment.model_dump_json().encode() for segment in part))
        await asyncio.sleep(0)
    return b"".join((before, b'"segments":[', b",".join(parts), b"]", after))
