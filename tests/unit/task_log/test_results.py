"""A result is a message as long as that fits with all its headers, else an object."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.js.api import PubAck, RawStreamMsg
from nats.js.errors import NotFoundError
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas import headers as names
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionResult

from app.jetstream.records import UnreadableError
from app.task_log.record import Metadata, Record
from app.task_log.results import SEGMENTS_PER_STEP, ResultStore
from tests.fakes.engine import segment
from tests.fakes.messages import event, transcript
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts
from tests.fakes.task_log import InMemoryTaskLog

MAX_PAYLOAD = 100_000
NOW = datetime.now(UTC)
LAST = Record(event(), Metadata(None, 1, "tasks.transcription.high", NOW), 1)
LONGEST_HEADERS = 13 * 1024  # bytes: a name of 1,024 characters of which JSON makes twelve bytes each, and the rest


@dataclass
class FakeBucket:
    """A connection whose streams have one object at most."""

    max_payload: int = 0
    pieces: list[bytes] = field(default_factory=list)
    note: bytes | None = None

    def jetstream(self) -> "FakeBucket":
        return self

    async def get_last_msg(self, *_: str) -> RawStreamMsg:
        if self.note is None:
            raise NotFoundError
        return RawStreamMsg(data=self.note, seq=1)

    async def publish(self, subject: str, payload: bytes, **_: Any) -> PubAck:
        if subject.startswith("$O.results.C."):
            self.pieces.append(payload)
        else:
            self.note = payload
        return PubAck(stream="OBJ_results", seq=1)


@pytest.mark.parametrize("room", [0, 1, LONGEST_HEADERS])
async def test_a_result_that_leaves_no_room_for_headers_is_an_object(room: int) -> None:
    # Given a result that fits into a message by itself, but not with its headers
    log, bucket = InMemoryTaskLog(), FakeBucket(MAX_PAYLOAD)
    store = ResultStore(cast("Client", bucket), log)
    result = transcript("x" * (MAX_PAYLOAD - room - len(transcript("").model_dump_json())))
    # When it is published
    await store.publish(result, LAST)
    # Then the message names the object that holds it
    (published,) = log.outcomes("t1")
    assert isinstance(published, TranscriptionResult)
    assert published.object is not None
    assert published.text == ""
    assert b"".join(bucket.pieces) == result.model_dump_json().encode()


async def test_a_result_that_fits_is_a_message() -> None:
    log, bucket = InMemoryTaskLog(), FakeBucket(MAX_PAYLOAD)
    store = ResultStore(cast("Client", bucket), log)
    largest = MAX_PAYLOAD - HEADROOM_BYTES - len(transcript("").model_dump_json())
    await store.publish(transcript("x" * largest), LAST)
    (published,) = log.outcomes("t1")
    assert isinstance(published, TranscriptionResult)
    assert published.object is None
    assert bucket.note is None


async def test_embeddings_are_those_of_one_task_message(parts: Parts) -> None:
    # Given embeddings of a task, and a later message with its id
    record = await parts.reaching(State.RUNNING, "t1")
    owner, store = record.metadata.owner, parts.results.embeddings
    later = replace(owner, task_sequence=owner.task_sequence + 1)
    for removed_by in (owner, None):
        await store.put(b"{}", record)
        # When those of the later one are searched for, or removed, then there are none
        assert await store.find("t1", of=later) is None
        await store.delete("t1", of=later)
        assert await store.find("t1", of=owner) == b"{}"
        # And they go with their own task, or with all of this id
        await store.delete("t1", of=removed_by)
        assert await store.find("t1", of=owner) is None


@pytest.mark.parametrize(
    "headers",
    [{}, {names.CREATED_AT: "2026-11-24T09:30:00"}, {names.TASK: '{"later": true}'}, {names.TASK_SEQUENCE: "x"}],
)
async def test_embeddings_of_another_version_are_neither_missing_nor_deleted(
    parts: Parts, nats: InMemoryNats, headers: dict[str, str]
) -> None:
    # Given embeddings whose headers this version cannot read
    record = await parts.reaching(State.RUNNING, "t1")
    written = record.metadata.headers() | headers if headers else {}
    nats.streams["KV_embeddings"].publish("$KV.embeddings.t1", b"{}", written, nats.now)
    store = parts.results.embeddings
    # Then looking for them and deleting them stop
    with pytest.raises(UnreadableError, match=r"\$KV\.embeddings\.t1"):
        await store.find("t1", of=record.metadata.owner)
    with pytest.raises(UnreadableError):
        await store.delete("t1", of=record.metadata.owner)
    assert nats.streams["KV_embeddings"].messages != []


@pytest.mark.parametrize("segments", [0, 1, SEGMENTS_PER_STEP, 5 * SEGMENTS_PER_STEP + 1])
async def test_a_result_is_serialized_as_its_json(segments: int) -> None:
    # Given a result whose text resembles its JSON
    bucket = FakeBucket()
    store = ResultStore(cast("Client", bucket), InMemoryTaskLog())
    parts = [segment(number, '"segments":[]') for number in range(segments)]
    result = transcript('"segments":[]', segments=parts)
    # When it is published as an object
    await store.publish(result, LAST)
    # Then the object is its JSON
    assert b"".join(bucket.pieces).decode() == result.model_dump_json()


async def test_while_a_long_result_is_written_others_get_their_turn() -> None:
    # Given a result with many segments, and something else that continues
    bucket, turns = FakeBucket(), 0
    store = ResultStore(cast("Client", bucket), InMemoryTaskLog())
    result = transcript(segments=[segment(0)] * (10 * SEGMENTS_PER_STEP))
    publishing = asyncio.create_task(store.publish(result, LAST))
    # When it is published
    while not publishing.done():
        turns += 1
        await asyncio.sleep(0)
    await publishing
    # Then that continued between any two parts of it
    assert turns >= 10
