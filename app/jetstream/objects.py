"""Objects: what NATS' Object Store keeps, how it is made to keep the first, and how it is made to forget."""

import base64
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from uuid import uuid4

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMetaOptions
from nats.js.errors import BadRequestError, NotFoundError

from app.jetstream.stream_log import WRONG_LAST_SEQUENCE

CHUNK_BYTES: Final = 128 * 1024  # bytes: as the client libraries cut


async def keep(js: JetStreamContext, bucket: str, name: str, body: bytes, *, description: str) -> ObjectInfo:
    """Put an object unless one of that name is there; what is there afterwards.

    The library's own `put` replaces: a worker that was frozen in it would, coming back, take away what another one
    has published meanwhile. Pieces without a name go with the bucket's TTL.
    """
    mine: ObjectInfo | None = None
    while True:
        found, after = await _named(js, bucket, name)
        if found is not None:
            if mine is not None and found.nuid != mine.nuid:
                await js.purge_stream(stream_of(bucket), subject=chunks_of(bucket, mine.nuid))
            return found
        mine = mine or replace(await _pieces(js, bucket, name, body), description=description)
        expected = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            await js.publish(_note(bucket, name), json.dumps(mine.as_dict()).encode(), headers=expected)
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise


def stream_of(bucket: str) -> str:
    """The stream that holds a bucket's objects."""
    return f"OBJ_{bucket}"


def chunks_of(bucket: str, nuid: str) -> str:
    """The subject of an object's chunks."""
    return f"$O.{bucket}.C.{nuid}"


def digest(sha256_of_it: bytes) -> str:
    """The digest of an object, as its note tells it."""
    return f"SHA-256={base64.urlsafe_b64encode(sha256_of_it).decode()}"


async def find(js: JetStreamContext, bucket: str, name: str) -> ObjectInfo | None:
    """What is kept under a name, None where nothing is."""
    return (await _named(js, bucket, name))[0]


async def erase(js: JetStreamContext, bucket: str, name: str) -> None:
    """Remove an object, and the note with its name that a deleted one leaves behind (NotFoundError)."""
    await (await js.object_store(bucket)).delete(name)
    await js.purge_stream(stream_of(bucket), subject=_note(bucket, name))


async def _named(js: JetStreamContext, bucket: str, name: str) -> tuple[ObjectInfo | None, int]:
    """The object of that name, and the stream sequence of the note that says so."""
    try:
        note = await js.get_last_msg(stream_of(bucket), _note(bucket, name))
    except NotFoundError:
        return None, 0
    info = ObjectInfo.from_response(json.loads(note.data or b""))
    return None if info.deleted else info, note.seq or 0


async def _pieces(js: JetStreamContext, bucket: str, name: str, body: bytes) -> ObjectInfo:
    """Store what an object holds; nobody finds it before its note is there."""
    nuid = uuid4().hex
    pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    try:
        for piece in pieces:
            await js.publish(chunks_of(bucket, nuid), piece)
    except BaseException:  # cancelled: without a note nobody would find them to delete them
        with suppress(NatsError):
            await js.purge_stream(stream_of(bucket), subject=chunks_of(bucket, nuid))
        raise
    return ObjectInfo(
        name=name,
        bucket=bucket,
        nuid=nuid,
        size=len(body),
        chunks=len(pieces),
        digest=digest(sha256(body).digest()),
        mtime=datetime.now(UTC).isoformat(),
        options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES),
    )


def _note(bucket: str, name: str) -> str:
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
