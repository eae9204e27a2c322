"""Objects in the NATS Object Store: stored only if the name is free, and deleted together with their metadata."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import BinaryIO, Final
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMetaOptions
from nats.js.errors import BadRequestError, DigestMismatchError, NotFoundError
from natscribe.jetstream import leader_reads, stream_pages
from natscribe.jetstream.repeated_requests import RETRY_FOR_S, retry_until_reply

from app.runtime.cancellation import discard_all
from app.storage.jetstream.stream_log import WRONG_LAST_SEQUENCE

CHUNK_BYTES: Final = 128 * 1024  # the size that the client libraries use
CHUNKS_AT_ONCE: Final = 8  # chunks of one request: 1 MiB at CHUNK_BYTES
_LEADER_AFTER_S: Final = 2.0  # a server that has not answered a Direct Get within this time may be frozen


async def put_if_absent(
    js: JetStreamContext, bucket: str, name: str, body: BinaryIO, *, description: str
) -> ObjectInfo:
    """Store an object unless the bucket has one of that name; return the metadata of the object in the bucket.

    `body`: a file with the content, which is read from its start.

    The `put` of nats-py replaces an object: a worker that was frozen in `put` and resumes would replace the object that
    another worker has stored in the meantime. The bucket's TTL removes chunks to which no metadata refers.
    """
    mine: ObjectInfo | None = None
    while True:
        existing, after = await retry_until_reply(partial(_read_meta, js, bucket, name))
        if existing is not None:
            if mine is not None and existing.nuid != mine.nuid:
                await js.purge_stream(stream_of(bucket), subject=chunks_of(bucket, mine.nuid))
            return existing
        mine = mine or replace(await _store_chunks(js, bucket, name, body), description=description)
        expected = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            meta = json.dumps(mine.as_dict()).encode()
            await retry_until_reply(partial(js.publish, _meta_subject(bucket, name), meta, headers=expected))
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise


def stream_of(bucket: str) -> str:
    """Return the name of the stream in which JetStream stores the objects of a bucket."""
    return f"OBJ_{bucket}"


def chunks_of(bucket: str, nuid: str) -> str:
    """Return the subject on which the chunks of an object are stored.

    `nuid`: the field `nuid` of the object's metadata.
    """
    return f"$O.{bucket}.C.{nuid}"


def digest(sha256_hash: bytes) -> str:
    """Return a SHA-256 hash as text, in the format of the field `digest` of an object's metadata."""
    return f"SHA-256={base64.urlsafe_b64encode(sha256_hash).decode()}"


async def download(
    nats: Client,
    bucket: str,
    info: ObjectInfo,
    write: Callable[[bytes], object],
    *,
    stalled_s: float = RETRY_FOR_S,
) -> bytes:
    """Pass each chunk of an object to `write`, and return the SHA-256 of the object.

    With the `get` of nats-py the server pushes the whole object at once, and disconnects a worker that reads several
    large objects in this way. This function requests CHUNKS_AT_ONCE chunks at a time, and needs no consumer, which
    would be lost with its server. A thread hashes and writes chunks during the next request, so that memory holds few
    chunks and the event loop is not blocked.

    Raises:
        NatsError: The object is damaged, or NATS has not answered for `stalled_s` seconds.
    """
    digest_so_far = sha256()

    def process(chunks: list[bytes]) -> None:
        for chunk in chunks:
            digest_so_far.update(chunk)
            write(chunk)

    async with aclosing(_chunks(nats, bucket, info, stalled_s)) as chunk_lists:
        async for chunks in chunk_lists:
            await asyncio.to_thread(process, chunks)
    if digest(digest_so_far.digest()).rstrip("=") != (info.digest or "").rstrip("="):  # some clients write no padding
        raise DigestMismatchError
    return digest_so_far.digest()


async def _chunks(nats: Client, bucket: str, info: ObjectInfo, stalled_s: float) -> AsyncGenerator[list[bytes]]:
    """Yield the chunks of an object in lists; while the caller handles a list, the next one is read.

    Raises:
        NatsError: NATS has not answered for `stalled_s` seconds, or a chunk is missing.
    """

    def read_from(start: int) -> asyncio.Task[stream_pages.Messages]:
        read = partial(_next_chunks, nats, bucket, info.nuid or "", start)
        return asyncio.create_task(retry_until_reply(read, within_s=stalled_s))

    left, reading = info.size or 0, read_from(1)
    try:
        while left > 0:
            messages = await reading
            chunks = [message.data or b"" for message in messages]
            left -= sum(map(len, chunks))
            if left > 0:
                reading = read_from((messages[-1].seq or 0) + 1)
            yield chunks
    finally:
        await discard_all([reading])


async def _next_chunks(nats: Client, bucket: str, nuid: str, start: int) -> stream_pages.Messages:
    """Read the next chunks of an object, from the stream sequence `start` on.

    Any server may reply to this read (Direct Get), which spares the leader of the stream. If no chunks arrive within
    _LEADER_AFTER_S, because that server is frozen or lacks them, one chunk is read from the leader.

    Raises:
        NotFoundError: A chunk is missing.
    """
    stream, subject = stream_of(bucket), chunks_of(bucket, nuid)
    with suppress(NatsError, TimeoutError):
        async with asyncio.timeout(_LEADER_AFTER_S):
            chunks = await stream_pages.page(nats, stream, subject, start=start, count=CHUNKS_AT_ONCE)
        if chunks:
            return chunks
    chunk = await leader_reads.next_from(nats, stream, subject, start)
    if chunk is None:
        raise NotFoundError
    return [chunk]


async def get_info(js: JetStreamContext, bucket: str, name: str) -> ObjectInfo | None:
    """Return the metadata of an object; None if the bucket has no object of this name."""
    return (await _read_meta(js, bucket, name))[0]


async def delete(js: JetStreamContext, bucket: str, name: str) -> None:
    """Delete the chunks of an object and its metadata, which nats-py's own deletion would leave in the bucket.

    The metadata, which names the chunks, is deleted last, so that an interrupted deletion can be repeated.

    Raises:
        NotFoundError: The bucket has no such object.
    """
    meta = await js.get_last_msg(stream_of(bucket), _meta_subject(bucket, name))
    info = ObjectInfo.from_response(json.loads(meta.data or b""))
    await js.purge_stream(stream_of(bucket), subject=chunks_of(bucket, info.nuid or ""))
    await js.purge_stream(stream_of(bucket), subject=_meta_subject(bucket, name), seq=(meta.seq or 0) + 1)


async def _read_meta(js: JetStreamContext, bucket: str, name: str) -> tuple[ObjectInfo | None, int]:
    """Return the metadata of an object, and the stream sequence of the metadata; None and 0 if there is none.

    When nats-py deletes an object, it leaves metadata that is marked as deleted: then return None and its stream
    sequence.
    """
    try:
        meta = await js.get_last_msg(stream_of(bucket), _meta_subject(bucket, name))
    except NotFoundError:
        return None, 0
    info = ObjectInfo.from_response(json.loads(meta.data or b""))
    return None if info.deleted else info, meta.seq or 0


async def _store_chunks(js: JetStreamContext, bucket: str, name: str, body: BinaryIO) -> ObjectInfo:
    """Store the chunks of an object, and return the metadata of the object for the caller to store.

    Readers find the chunks only once the metadata is stored. If a chunk cannot be stored, the others are deleted.
    """
    nuid, hashed, size, number = uuid4().hex, sha256(), 0, 0
    body.seek(0)
    try:
        while chunk := await asyncio.to_thread(body.read, CHUNK_BYTES):
            once = {"Nats-Msg-Id": f"{nuid}-{number}"}  # JetStream drops a repeated publish
            await retry_until_reply(partial(js.publish, chunks_of(bucket, nuid), chunk, headers=once))
            hashed.update(chunk)
            size, number = size + len(chunk), number + 1
    except BaseException:  # cancellation too: without metadata, no later deletion would find the chunks
        with suppress(NatsError):
            await js.purge_stream(stream_of(bucket), subject=chunks_of(bucket, nuid))
        raise
    return ObjectInfo(
        name=name,
        bucket=bucket,
        nuid=nuid,
        size=size,
        chunks=number,
        digest=digest(hashed.digest()),
        mtime=datetime.now(UTC).isoformat(),
        options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES),
    )


def _meta_subject(bucket: str, name: str) -> str:
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
