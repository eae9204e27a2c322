"""Results: published as a message, or as an object where they are too large for one."""

import asyncio
from contextlib import suppress
from hashlib import sha256

from nats.js import JetStreamContext
from nats.js.api import ObjectInfo
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from app.errors import FencedError
from app.jetstream import objects
from app.jetstream.streams import RESULTS_BUCKET
from app.task_log.log import TaskLog
from app.task_log.record import RESULT, Metadata, NoResult
from app.updates import Result
from schemas.transcription import TranscriptionResult
from schemas.wire import Object

HEADERS_AND_ENVELOPE = 16 * 1024  # bytes left free below max_payload
AT_ONCE = 100  # segments; to write those of a whole day at once would hold the event loop for .15 s
OWNER = "of the task message with the stream sequence "
NO_SEGMENTS = b'"segments":[]'  # inside of a text its quotes would be escaped


class ResultStore:
    """Writes a result once and finds it again, wherever it lies."""

    def __init__(self, js: JetStreamContext, log: TaskLog, *, max_payload: int) -> None:
        self._js = js
        self._log = log
        self._largest = max_payload - HEADERS_AND_ENVELOPE

    async def publish(self, result: Result, metadata: Metadata) -> None:
        """Publish the result; a large one as an object that the message refers to (FencedError)."""
        body = await _written(result)
        if len(body) > self._largest:
            body = (await self.claim_check(result, body, of=metadata.task_sequence)).model_dump_json().encode()
        await self._log.append_result(result.task_id, body, metadata)

    async def find(self, task_id: str, *, of: int) -> Result | None:
        """The result of the task message `of` as it was published: with a reference where it lies in the bucket."""
        outcome = await self._log.outcome(task_id, of=of)
        return None if isinstance(outcome, NoResult) else outcome

    async def whole(self, result: Result) -> Result:
        """The result with all its segments (NotFoundError where the object is gone)."""
        if result.object is None:
            return result
        bucket = await self._bucket()
        found = await bucket.get(result.object.name)
        return await asyncio.to_thread(RESULT.validate_json, found.data or b"")

    async def delete(self, task_id: str, *, of: int | None = None) -> None:
        """Delete the result, wherever it lies; with `of` only what is of that task message."""
        await self._log.purge_outcome(task_id, of=of)
        await self.delete_object(task_id, of=of)

    async def delete_object(self, task_id: str, *, of: int | None = None) -> None:
        """Delete what no message refers to; with `of` only what is of that task message."""
        kept = await objects.find(self._js, RESULTS_BUCKET, task_id)
        if kept is not None and of in (None, _owner(kept)):
            await self._erase(task_id)

    async def claim_check(self, result: Result, body: bytes, *, of: int) -> Result:
        """Put the result of the task message `of` into the bucket and give the reference in its stead (FencedError).

        The first one there stays: where an overtaken worker was faster, its result is the one to refer to. But what is
        of an earlier task of this id goes.
        """
        task_id = result.task_id
        info = await objects.keep(self._js, RESULTS_BUCKET, task_id, body, description=f"{OWNER}{of}")
        if (owner := _owner(info)) > of:
            raise FencedError(task_id)
        if owner < of:
            await self._erase(task_id)
            return await self.claim_check(result, body, of=of)
        if info.digest != objects.digest(sha256(body).digest()):
            found = await (await self._bucket()).get(task_id)
            result = await asyncio.to_thread(RESULT.validate_json, found.data or b"")
        reference = Object(bucket=RESULTS_BUCKET, name=task_id, digest=info.digest or "", size=info.size or 0)
        emptied: dict[str, object] = {"object": reference, "segments": []}
        if isinstance(result, TranscriptionResult):
            emptied["text"] = ""
        return result.model_copy(update=emptied)

    async def _erase(self, task_id: str) -> None:
        with suppress(NotFoundError):
            await objects.erase(self._js, RESULTS_BUCKET, task_id)

    async def _bucket(self) -> ObjectStore:
        return await self._js.object_store(RESULTS_BUCKET)


def _owner(kept: ObjectInfo) -> int:
    """The sequence of the task message whose result an object is, 0 where it does not say."""
    said = (kept.description or "").removeprefix(OWNER)
    return int(said) if said.isdecimal() else 0


async def _written(result: Result) -> bytes:
    """The result as JSON, written so that others get their turn."""
    empty = result.model_copy(update={"segments": []}).model_dump_json().encode()
    before, after = empty.split(NO_SEGMENTS)
    parts: list[bytes] = []
    for at in range(0, len(result.segments), AT_ONCE):
        part = result.segments[at : at + AT_ONCE]
        parts.append(b",".join(segment.model_dump_json().encode() for segment in part))
        await asyncio.sleep(0)
    return b"".join((before, b'"segments":[', b",".join(parts), b"]", after))
